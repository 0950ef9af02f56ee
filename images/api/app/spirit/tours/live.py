"""News of availability, to every client that looks on, whichever worker it is connected to.

Whoever changes seats publishes the new availability in Redis; each worker listens once and hands
it to its own subscribers. A subscriber holds at most one piece of news, the newest: a slow client
costs no memory and misses nothing that still holds.

While Redis is away nothing arrives. When it is back, subscribers are told to `RELOAD`, since
something may have changed meanwhile.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from time import monotonic

from redis.asyncio import Redis
from redis.exceptions import RedisError

from spirit.tours.tour import Availability

log = logging.getLogger("spirit.live")
CHANNEL = "spirit:availability"
RECONNECT_SECONDS = 1.0


class News(Enum):
    """What a subscriber can hear beside an `Availability`."""

    RELOAD = "reload"
    NOTHING = "nothing"
    # The server stops: the stream must end.
    END = "end"


class Full(Exception):
    """There are as many streams as this worker takes."""


class Subscription:
    def __init__(self) -> None:
        self.newest: Availability | News = News.NOTHING
        self.there = asyncio.Event()

    def tell(self, news: Availability | News) -> None:
        if self.newest is not News.END:
            self.newest = news
        self.there.set()

    async def next(self, patience: float) -> Availability | News:
        """The newest, or `NOTHING` after so many seconds."""
        try:
            await asyncio.wait_for(self.there.wait(), patience)
        except TimeoutError:
            return News.NOTHING
        news = self.newest
        if news is not News.END:
            self.newest = News.NOTHING
            self.there.clear()
        return news


class Live:
    def __init__(self, redis: Redis, limit: int) -> None:
        self.redis = redis
        self.limit = limit
        self.ended = False
        self.subscribers: defaultdict[str, set[Subscription]] = defaultdict(set)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.listen(), name="availability")

    async def stop(self) -> None:
        self.end()
        # More than once: redis 8.1 loses a cancellation that comes while it connects.
        while self.task and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task], timeout=0.2)

    async def run_out(self, seconds: float) -> None:
        """Until the last stream has ended by itself, so long at most."""
        deadline = monotonic() + seconds
        while any(self.subscribers.values()) and monotonic() < deadline:
            await asyncio.sleep(0.05)

    def end(self) -> None:
        """Every stream ends, and no new one begins."""
        self.ended = True
        self.tell_all(News.END)

    def is_full(self) -> bool:
        return sum(map(len, self.subscribers.values())) >= self.limit

    @contextmanager
    def subscribe(self, tour_id: str) -> Iterator[Subscription]:
        """The first news is `RELOAD`: what is read before one listens may be old already."""
        if self.is_full():
            raise Full
        subscription = Subscription()
        subscription.tell(News.END if self.ended else News.RELOAD)
        self.subscribers[tour_id].add(subscription)
        try:
            yield subscription
        finally:
            self.subscribers[tour_id].discard(subscription)
            if not self.subscribers[tour_id]:
                del self.subscribers[tour_id]

    async def publish(self, news: Availability | None) -> None:
        """After the commit. That Redis is away does not undo what the database has."""
        if news is None:
            return
        try:
            await self.redis.publish(CHANNEL, news.model_dump_json())
        except RedisError as error:
            log.warning("cannot publish: %s", error)

    def tell_all(self, news: News) -> None:
        for group in self.subscribers.values():
            for subscription in group:
                subscription.tell(news)

    async def listen(self) -> None:
        while not self.ended:
            try:
                async with self.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    self.tell_all(News.RELOAD)
                    while not self.ended:
                        # `listen()` would end on the connection's own time limit.
                        message = await channel.get_message(timeout=30.0)
                        if message is not None:
                            self.hand_on(message["data"])
            except (RedisError, OSError) as error:
                log.warning("cannot listen, trying again: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS)

    def hand_on(self, data: str) -> None:
        try:
            news = Availability.model_validate_json(data)
        except ValueError:
            # A newer version's news, in a form that this one does not know.
            self.tell_all(News.RELOAD)
            return
        for subscription in self.subscribers.get(news.tour, ()):
            subscription.tell(news)
