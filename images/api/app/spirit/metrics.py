"""What the service counts, and shows to Prometheus at `/metrics`.

With more than one worker process each holds its own numbers, and a scrape would see whichever
worker answers. `gunicorn.conf.py` then sets `PROMETHEUS_MULTIPROC_DIR`, every worker writes its
numbers to a file there, and a scrape adds all files up.

Requests are labelled with the *template* of their path (`/api/v1/tours/{tour_id}`), never the path
itself: a client could otherwise make as many time series as it can think of addresses.
"""

import os
import time
from contextlib import contextmanager
from typing import Any

from fastapi import Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from sqlalchemy import Engine, event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spirit.routing import operations_router
from spirit.version import VERSION

# Seconds. Dense around what a request in memory takes, up to the proxy's patience.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OPERATIONS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
UNMATCHED = "(none)"

# Written by hand: the library refuses info metrics when several processes share their files.
BUILD_INFO = f"""\
# HELP spirit_build_info The version that answers.
# TYPE spirit_build_info gauge
spirit_build_info{{version="{VERSION}"}} 1.0
""".encode()


class Metrics:
    """The service's own metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self.counter(
            "http_requests_total",
            "Requests answered, by route template and status.",
            "method",
            "route",
            "status",
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.errors = self.counter(
            "http_errors_total", "Requests that an exception ended.", "route", "exception"
        )
        self.active = self.gauge("http_requests_active", "Requests being answered now.")
        self.connections = self.gauge("http_connections_open", "Connections that clients hold.")
        self.streams = self.gauge("spirit_streams_open", "Live streams, by kind.", "kind")
        self.pool_size = self.gauge(
            "spirit_database_pool_size", "Connections that the pools may open."
        )
        self.pool_used = self.gauge(
            "spirit_database_pool_in_use", "Connections that requests hold now."
        )
        self.query_seconds = Histogram(
            "spirit_database_query_seconds",
            "Time that the database takes for a statement.",
            ["operation"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.cache = self.counter(
            "spirit_cache_requests_total", "Look-ups: hit, miss, or error.", "result"
        )
        self.logins = self.counter("spirit_logins_total", "Passwords tried.", "result")
        self.limited = self.counter(
            "spirit_rate_limited_total", "Requests answered with 429.", "limit"
        )
        self.limiter_alone = self.counter(
            "spirit_limiter_fallback_total", "Requests counted by a worker alone: Redis was away."
        )

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        # With several processes: the sum of those that live.
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode="livesum")

    @contextmanager
    def stream(self, kind: str):
        """Counts a live stream for as long as the block lasts."""
        gauge = self.streams.labels(kind)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def watch_database(self, engine: Engine, size: int) -> None:
        """Counts the pool's connections and times every statement."""
        self.pool_size.set(size)
        self.pool_used.set(0)
        listen = event.listens_for

        @listen(engine, "checkout")
        def taken(*_: Any) -> None:
            self.pool_used.inc()

        @listen(engine, "checkin")
        def given_back(*_: Any) -> None:
            self.pool_used.dec()

        @listen(engine, "before_cursor_execute")
        def begins(_connection, _cursor, _statement, _parameters, context, _many) -> None:
            context.spirit_start = time.perf_counter()

        @listen(engine, "after_cursor_execute")
        def ends(_connection, _cursor, statement, _parameters, context, _many) -> None:
            word = statement.lstrip()[:6].upper()
            self.query_seconds.labels(word if word in OPERATIONS else "OTHER").observe(
                time.perf_counter() - context.spirit_start
            )

    def count(self, method: str, route: str, status: int) -> None:
        self.requests.labels(known(method), route, str(status)).inc()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self.count(method, route, status)
        self.seconds.labels(known(method), route).observe(seconds)

    def text(self) -> bytes:
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry) + BUILD_INFO


router = operations_router()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    numbers: Metrics = request.app.state.metrics
    return Response(numbers.text(), headers={"content-type": CONTENT_TYPE_LATEST})


class RequestMetrics:
    """Measures every HTTP request that passes; WebSockets and lifespan pass unmeasured.

    A stream of events is counted when it begins, and not timed: how long a client looks on says
    nothing about how fast we are.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        # What the client gets when the application fails before it answers.
        status = 500
        streaming = False

        async def watched(message: Message) -> None:
            nonlocal status, streaming
            if message["type"] == "http.response.start":
                status = message["status"]
                if is_stream(message):
                    streaming = True
                    self.metrics.active.dec()
                    self.metrics.count(scope["method"], route_of(scope), status)
            await send(message)

        start = time.perf_counter()
        self.metrics.active.inc()
        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            self.metrics.errors.labels(route_of(scope), type(error).__name__).inc()
            raise
        finally:
            if not streaming:
                self.metrics.active.dec()
                seconds = time.perf_counter() - start
                self.metrics.observe(scope["method"], route_of(scope), status, seconds)


def is_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start["headers"]
    )


def known(method: str) -> str:
    return method if method in METHODS else "OTHER"


def route_of(scope: Scope) -> str:
    """The template of the route that answered, or `(none)` for an unknown address."""
    return getattr(scope.get("route"), "path", UNMATCHED)
