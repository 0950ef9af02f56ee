"""The service as it runs in production: Gunicorn, its configuration file, several workers."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spirit.healthcheck import UnixConnection
from spirit.version import VERSION

APP = Path(__file__).parent.parent / "app"
START_SECONDS = 20


def ask(socket, path):
    with closing(UnixConnection(str(socket))) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture
def server(tmp_path):
    socket = tmp_path / "api.sock"
    environ = os.environ | {
        "CAIRN_SOCKET": str(socket),
        "WEB_CONCURRENCY": "3",
        "RUNTIME_DIRECTORY": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", APP / "gunicorn.conf.py", "spirit.main:app"],
            cwd=tmp_path,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Workers outlive a master that is killed: they are ended as a group.
            start_new_session=True,
        )
    try:
        wait_for_start(process, socket, log)
        yield process, socket, environ, log
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_start(process, socket, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            ask(socket, "/health")
            return
        time.sleep(0.05)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


def test_it_serves_checks_counts_logs_and_stops(server):
    process, socket, environ, log = server

    status, body = ask(socket, "/health")
    assert (status, json.loads(body)["version"]) == (200, VERSION)

    check = [sys.executable, "-m", "spirit.healthcheck"]
    assert subprocess.run(check, cwd=APP, env=environ, check=False).returncode == 0

    # Spread over the workers, and still counted together.
    for _ in range(30):
        assert ask(socket, "/api/v1/tours/nowhere")[0] == 404
    families = text_string_to_metric_families(ask(socket, "/metrics")[1])
    counted = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "http_requests_total"
        and sample.labels["route"] == "/api/v1/tours/{tour_id}"
    ]
    assert counted == [30]

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    output = log.read_text()
    lines = [json.loads(line) for line in output.splitlines()]
    assert sum(line["logger"] == "spirit.access" for line in lines) == 30
    assert not socket.exists()

    refused = subprocess.run(
        check, cwd=APP, env=environ, check=False, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert str(socket) in refused.stderr
