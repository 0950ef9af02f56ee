"""`python -m spirit.healthcheck`: asks the service on this machine for `/health`.

For the image's health check. Only the standard library, so that it starts fast; exit code 0 means
healthy, anything else comes with a line on standard error.
"""

import http.client
import socket
import sys
from contextlib import closing

from spirit.bind import bind_address

TIMEOUT_SECONDS = 2.5
# Where to ask a server that listens on all addresses.
ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}  # nosec


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connection_to(bind: str) -> http.client.HTTPConnection:
    if bind.startswith("unix:"):
        return UnixConnection(bind.removeprefix("unix:"))
    host, _, port = bind.rpartition(":")
    host = ANYWHERE.get(host, host.strip("[]"))
    return http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_SECONDS)


def main() -> int:
    bind = bind_address()
    try:
        with closing(connection_to(bind)) as connection:
            connection.request("GET", "/health")
            status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"no answer from {bind}: {error}", file=sys.stderr)
        return 1
    if status != 200:
        print(f"{bind} answered /health with {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
