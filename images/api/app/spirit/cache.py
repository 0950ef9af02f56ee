"""Answers kept in Redis for a short time, and forgotten all at once when something changes.

The cache is never needed: when Redis is away, everything is read from the database.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from spirit.metrics import Metrics

log = logging.getLogger("spirit.cache")
Kept = TypeVar("Kept", bound=BaseModel)


class Cache:
    """One subject's answers. Keys carry the subject's edition; `forget` begins a new one."""

    def __init__(self, redis: Redis, metrics: Metrics, subject: str, ttl: timedelta) -> None:
        self.redis = redis
        self.metrics = metrics
        self.edition = f"spirit:cache:{subject}:edition"
        self.prefix = f"spirit:cache:{subject}"
        self.ttl = ttl

    async def get(self, key: str, model: type[Kept], load: Callable[[], Awaitable[Kept]]) -> Kept:
        if not self.ttl:
            return await load()
        try:
            full = f"{self.prefix}:{await self.redis.get(self.edition) or 0}:{key}"
            kept = await self.redis.get(full)
        except RedisError as error:
            self.metrics.cache.labels("error").inc()
            log.warning("cannot read: %s", error)
            return await load()
        if kept is not None:
            self.metrics.cache.labels("hit").inc()
            return model.model_validate_json(kept)
        self.metrics.cache.labels("miss").inc()
        # The edition was read before the rows: what changes meanwhile lands in an edition that
        # nobody reads any more.
        loaded = await load()
        try:
            await self.redis.set(full, loaded.model_dump_json(), px=self.ttl)
        except RedisError as error:
            log.warning("cannot keep: %s", error)
        return loaded

    async def forget(self) -> None:
        try:
            await self.redis.incr(self.edition)
        except RedisError as error:
            log.warning("cannot forget, answers are old for up to %s: %s", self.ttl, error)
