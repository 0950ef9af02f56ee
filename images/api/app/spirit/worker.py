"""Uvicorn as a Gunicorn worker, with what differs from its defaults."""

import gc
import logging
import socket
import sys
from typing import Any

from gunicorn.arbiter import Arbiter
from starlette.applications import Starlette
from uvicorn.config import Config
from uvicorn.main import Server
from uvicorn.workers import UvicornWorker


# What is left of the time for a stop when live streams are ended: for them to say so.
LAST_SECONDS = 2.0


class GracefulServer(Server):
    """Ends live streams when it is told to stop, and counts the connections that are open.

    A server that stops waits for every answer to end. A stream of events has no end of its own:
    without a word to it, a stop would last until the process is killed. It goes on for as long as a
    stop may take, so that a new version does not send all who look on away at once.
    """

    def __init__(self, config: Config, app: Starlette) -> None:
        super().__init__(config)
        self.state = app.state
        self.connections = 0

    async def on_tick(self, counter: int) -> bool:
        if (connections := len(self.server_state.connections)) != self.connections:
            self.connections = connections
            self.state.metrics.connections.set(connections)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        patience = self.state.settings.graceful_timeout.total_seconds() - LAST_SECONDS
        await self.state.live.run_out(patience)
        self.state.live.end()
        await super().shutdown(sockets)


class Worker(UvicornWorker):
    CONFIG_KWARGS: dict[str, Any] = {
        # Named, not "auto": a wheel that is missing must stop the start, not slow the service down.
        "loop": "uvloop",
        "http": "httptools",
        "ws": "websockets",
        # Longer than any proxy keeps a connection: only who asks knows that nothing is on its way.
        "timeout_keep_alive": 75,
        # Clients send nothing to us on a WebSocket.
        "ws_max_size": 4096,
        # `spirit.access_log` writes the line, with the route and the request id.
        "access_log": False,
        "server_header": False,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Uvicorn takes over the handlers of Gunicorn's logger, which has none of its own here.
        logging.getLogger("uvicorn.error").propagate = True

    async def _serve(self) -> None:
        # As the base class has it, but with a server of ours.
        self.config.app = self.wsgi
        server = GracefulServer(self.config, self.wsgi)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        # What is still there goes with the process: a search for cycles would only make the end late.
        gc.freeze()
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
