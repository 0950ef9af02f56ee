"""One log line for each request, with an id that the proxy, this service and the client share."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spirit.logs import request_id_of_now
from spirit.metrics import route_of

log = logging.getLogger("spirit.access")

# Probes come every few seconds from every side; their lines would bury the others.
QUIET = frozenset({"/health", "/ready", "/metrics"})
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class AccessLog:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        request_id = id_of(scope)
        # Of this task, and so of every line that the request causes.
        request_id_of_now.set(request_id)
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return

        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        start = time.perf_counter()
        try:
            await self.app(scope, receive, watched)
        finally:
            level = logging.DEBUG if scope["path"] in QUIET and status < 400 else logging.INFO
            log.log(
                level,
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "route": route_of(scope),
                    "status": status,
                    "milliseconds": round((time.perf_counter() - start) * 1000, 2),
                    "client": scope["client"][0] if scope.get("client") else None,
                },
            )


def id_of(scope: Scope) -> str:
    """The id the proxy gave; a new one if there is none, or one that could not stand in a log."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
