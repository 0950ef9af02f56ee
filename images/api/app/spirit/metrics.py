"""Counts requests and their time, and shows them to Prometheus at `/metrics`.

With more than one worker process each holds its own numbers, and a scrape would see whichever
worker answers. `gunicorn.conf.py` then sets `PROMETHEUS_MULTIPROC_DIR`, every worker writes its
numbers to a file there, and a scrape adds all files up.

Requests are labelled with the *template* of their path (`/api/v1/tours/{tour_id}`), never the path
itself: a client could otherwise make as many time series as it can think of addresses.
"""

import os
import time

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spirit.version import VERSION

# Seconds. Dense around what a request in memory takes, up to the proxy's patience.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
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
        self.requests = Counter(
            "http_requests_total",
            "Requests answered, by route template and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in METHODS else "OTHER"
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry) + BUILD_INFO

    def router(self) -> APIRouter:
        router = APIRouter(tags=["operations"])

        @router.get("/metrics", response_class=Response)
        async def metrics() -> Response:
            return Response(self.text(), headers={"content-type": CONTENT_TYPE_LATEST})

        return router


class RequestMetrics:
    """Measures every HTTP request that passes; WebSockets and lifespan pass unmeasured."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        # What the client gets when the application fails before it answers.
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - start
            self.metrics.observe(scope["method"], route_of(scope), status, seconds)


def route_of(scope: Scope) -> str:
    """The template of the route that answered, or `(none)` for an unknown address."""
    return getattr(scope.get("route"), "path", UNMATCHED)
