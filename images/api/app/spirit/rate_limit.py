"""Limits by client: how much one address may ask, and less where credentials are taken.

| limit   | of                     | covers                                          |
|---------|------------------------|-------------------------------------------------|
| `api`   | an address             | every route below `/api/`                       |
| `auth`  | an address             | POST below `/api/v1/auth/`, beside `api`        |
| `login` | an address and account | passwords tried; asked for by the login's route |

Counters stand in Redis, so that all workers and replicas count together. **When Redis is away,
each worker counts by itself**: limits still hold, for each worker apart, so a client gets at most
workers times replicas as much. It then asks Redis again after some seconds, not with every request.

A sliding window: what was used in the last window counts in proportion to how much of it still
lies within one window's length from now.
"""

import logging
import math
import time
from ipaddress import IPv6Address, ip_address

from fastapi import HTTPException
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from spirit.errors import answer
from spirit.metrics import Metrics
from spirit.settings import Settings

log = logging.getLogger("spirit.limits")
ALONE_SECONDS = 5.0
NETWORK_BITS = 64


def client_of(address: str | None) -> str:
    """Whom a request counts for. One IPv6 client owns a network of 64 bits."""
    if not address:
        return "local"
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> NETWORK_BITS << NETWORK_BITS)}/{NETWORK_BITS}"
    return str(parsed)


class Limiter:
    def __init__(self, settings: Settings, redis: Redis, metrics: Metrics) -> None:
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix="spirit:limit",
            connection_pool=redis.connection_pool,
        )
        self.limits: dict[str, RateLimitItem] = {
            "api": parse(settings.rate_limit_api),
            "auth": parse(settings.rate_limit_auth),
            "login": parse(settings.rate_limit_login),
        }
        self.metrics = metrics
        self.together = SlidingWindowCounterRateLimiter(storage)
        self.alone = SlidingWindowCounterRateLimiter(MemoryStorage())
        self.alone_until = 0.0

    async def wait_seconds(self, name: str, *who: str) -> int:
        """Counts one request: 0 if it may pass, else the seconds until one may."""
        item = self.limits[name]
        if time.monotonic() >= self.alone_until:
            try:
                return await self.count(self.together, item, name, *who)
            except (RedisError, OSError) as error:
                self.alone_until = time.monotonic() + ALONE_SECONDS
                log.warning("Redis is away, this worker counts alone: %s", error)
        self.metrics.limiter_alone.inc()
        return await self.count(self.alone, item, name, *who)

    async def count(
        self, limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, name: str, *who: str
    ) -> int:
        if await limiter.hit(item, name, *who):
            return 0
        self.metrics.limited.labels(name).inc()
        reset, _ = await limiter.get_window_stats(item, name, *who)
        return max(1, math.ceil(reset - time.time()))

    async def demand(self, name: str, *who: str) -> None:
        """For a route: 429 if it may not pass."""
        if wait := await self.wait_seconds(name, *who):
            raise HTTPException(429, too_many(wait), {"retry-after": str(wait)})


def too_many(wait: int) -> str:
    return f"too many requests; try again in {wait} s"


class RateLimit:
    """The middleware: `api` and `auth`. Probes and metrics are not below `/api/`."""

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name in limits_of(scope):
            client = scope.get("client")
            wait = await self.limiter.wait_seconds(name, client_of(client[0] if client else None))
            if wait and scope["type"] == "websocket":
                # Before it is accepted this is a 403; the protocol has no header to say more.
                await send({"type": "websocket.close", "code": 1013})
                return
            if wait:
                refusal = answer(429, too_many(wait), {"retry-after": str(wait)})
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def limits_of(scope: Scope) -> tuple[str, ...]:
    if scope["type"] not in ("http", "websocket") or not scope["path"].startswith("/api/"):
        return ()
    if scope.get("method") == "POST" and scope["path"].startswith("/api/v1/auth/"):
        return ("auth", "api")
    return ("api",)


def client_key(connection: HTTPConnection) -> str:
    return client_of(connection.client.host if connection.client else None)
