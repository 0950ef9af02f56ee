"""Uvicorn as a Gunicorn worker, with what differs from its defaults."""

import logging
from typing import Any

from uvicorn.workers import UvicornWorker


class Worker(UvicornWorker):
    CONFIG_KWARGS: dict[str, Any] = {
        # Named, not "auto": a wheel that is missing must stop the start, not slow the service down.
        "loop": "uvloop",
        "http": "httptools",
        # `spirit.access_log` writes the line, with the route and the request id.
        "access_log": False,
        "server_header": False,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Uvicorn takes over the handlers of Gunicorn's logger, which has none of its own here.
        logging.getLogger("uvicorn.error").propagate = True
