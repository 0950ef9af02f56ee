"""The application behind the server that the workers use, in a thread, on a port of its own."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from uvicorn.config import Config

from spirit.application import create_app
from spirit.settings import Settings
from spirit.worker import GracefulServer, Worker

START_SECONDS = 20


@dataclass
class Running:
    address: str
    server: GracefulServer
    thread: threading.Thread

    def stop(self) -> None:
        """As on SIGTERM; returns when the last answer has ended."""
        self.server.should_exit = True
        self.thread.join(timeout=15)
        assert not self.thread.is_alive(), "the server did not stop"


@contextmanager
def serve(settings: Settings, **more) -> Iterator[Running]:
    app = create_app(settings)
    config = Config(app, **(Worker.CONFIG_KWARGS | {"loop": "none", "log_config": None} | more))
    server = GracefulServer(config, app)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def run() -> None:
            with asyncio.Runner() as runner:
                runner.run(server.serve([listener]))

        thread = threading.Thread(target=run)
        thread.start()
        running = Running(address, server, thread)
        for _ in range(START_SECONDS * 50):
            if server.started or not thread.is_alive():
                break
            thread.join(0.02)
        assert server.started
        try:
            yield running
        finally:
            running.stop()
