"""Errors reach Sentry: a server that takes what the client library sends."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import sentry_sdk
from pydantic import SecretStr

from spirit import sentry
from spirit.version import VERSION

# Not written out below: the lines around an error are part of its report.
HIDDEN = "hidden"


@pytest.fixture
def reports():
    """What arrives, and the address to send it to."""
    arrived = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            arrived.append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield arrived, f"http://key@127.0.0.1:{server.server_port}/1"
        sentry_sdk.Hub.current.client.close(timeout=2)
        sentry_sdk.Hub.current.bind_client(None)
        server.shutdown()
        thread.join()


def test_without_an_address_nothing_is_started(machine):
    assert sentry.start(machine.settings()) is False
    assert sentry_sdk.Hub.current.client is None


def test_an_error_is_reported_with_its_request_and_without_secrets(reports, start):
    arrived, dsn = reports
    client = start(raise_server_exceptions=False)
    assert sentry.start(client.app.state.settings.model_copy(update={"sentry_dsn": SecretStr(dsn)}))

    @client.app.post("/crash")
    async def crash():
        password = HIDDEN
        raise RuntimeError(f"on purpose, {len(password)}")

    answer = client.post(
        "/crash",
        json={"password": HIDDEN},
        headers={
            "x-request-id": "abcdef012345",
            "authorization": f"Bearer {HIDDEN}",
            "x-api-key": HIDDEN,
            "cookie": f"session={HIDDEN}",
        },
    )
    assert answer.status_code == 500
    sentry_sdk.flush(timeout=5)
    # The crash, and perhaps its line in the log.
    (event,) = [
        json.loads(line) for body in arrived for line in body.splitlines() if b'"exception"' in line
    ]
    assert event["exception"]["values"][-1]["value"] == "on purpose, 6"
    assert event["release"] == f"spirit@{VERSION}"
    assert event["environment"] == "production"
    assert event["tags"]["request_id"] == "abcdef012345"
    assert HIDDEN.encode() not in b"".join(arrived)
