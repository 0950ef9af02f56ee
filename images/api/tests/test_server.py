"""The service as it runs in production: Gunicorn, its configuration file, several workers.

Under the rule that systemd's `MemoryDenyWriteExecute=` sets (no memory that is written may become
executable), which some libraries break.
"""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import unix_connect

from conftest import APP
from spirit import healthcheck
from spirit.version import VERSION

START_SECONDS = 40
# Two are enough to count together.
WORKERS = 2
PR_GET_MDWE = 66
# Sets the rule (PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN) and becomes the program that is named: the
# rule stays with it and goes on to its children.
REFUSING_NEW_CODE = [
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])",
]

# Linux 6.3 has it; before, the tests run without.
KERNEL_HAS_RULE = ctypes.CDLL(None).prctl(PR_GET_MDWE, 0, 0, 0, 0) >= 0


class UnixConnection(http.client.HTTPConnection):
    """By the standard library: httpx leaves its socket open when nobody listens yet."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path_of_socket, path, method="GET", body=None, headers=None):
    with closing(UnixConnection(path_of_socket)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def gunicorn(environment, **more):
    command = [sys.executable, "-m", "gunicorn", "-c", str(APP / "gunicorn.conf.py")]
    return subprocess.Popen(
        [*REFUSING_NEW_CODE, *command, "spirit.main:app"],
        cwd="/",
        env=os.environ | environment,
        stderr=subprocess.STDOUT,
        # Workers outlive a master that is killed: they are ended as a group.
        start_new_session=True,
        **more,
    )


@contextmanager
def running(machine, tmp_path, **environment):
    path = tmp_path / "api.sock"
    given = machine.environment() | {
        "CAIRN_SOCKET": str(path),
        "WEB_CONCURRENCY": str(WORKERS),
        "RUNTIME_DIRECTORY": str(tmp_path),
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = gunicorn(given | environment, stdout=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                ask(path, "/health")
                break
            if time.monotonic() > deadline or process.poll() is not None:
                pytest.fail(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield process, path, given | environment, log
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_workers(path):
    """The first one answers; each adds its pool to the sum when it has started."""
    wanted = f"spirit_database_pool_size {WORKERS * 20}.0"
    deadline = time.monotonic() + START_SECONDS
    while wanted not in ask(path, "/metrics")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_lock(sql):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    deadline = time.monotonic() + 10
    while not sql.execute(waiting).fetchone()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def events(path):
    """A client of the stream of events: its connection, after the first of them."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(15)
    client.connect(str(path))
    client.sendall(
        b"GET /api/v1/tours/walk/availability/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
    )
    received = b""
    while b"data: " not in received:
        received += client.recv(4096)
    return client


def rest_of(client):
    received = b""
    while chunk := client.recv(4096):
        received += chunk
    return received


def test_it_serves_checks_counts_logs_and_stops(clean, tmp_path, sql):
    with running(clean, tmp_path, GRACEFUL_TIMEOUT="4s") as (process, path, environ, log):
        status, body = ask(path, "/health")
        assert (status, json.loads(body)["version"]) == (200, VERSION)
        status, body = ask(path, "/ready")
        assert (status, json.loads(body)["status"]) == (200, "ready"), body

        check = [sys.executable, "-m", "spirit.healthcheck"]
        assert subprocess.run(check, cwd=APP, env=environ, check=False).returncode == 0

        wait_for_workers(path)
        # Each library that might want new code at run time: argon2, JSON, tokens, the database.
        account = json.dumps(
            {"email": "a@example.com", "name": "A", "password": "correct horse battery"}
        )
        json_type = {"content-type": "application/json"}
        made = ask(path, "/api/v1/auth/register", "POST", account, json_type)
        assert made[0] == 201, made
        credentials = json.dumps({"email": "a@example.com", "password": "correct horse battery"})
        assert ask(path, "/api/v1/auth/login", "POST", credentials, json_type)[0] == 200

        # Spread over the workers, and still counted together.
        for _ in range(30):
            assert ask(path, "/api/v1/tours/nowhere")[0] == 404
        families = list(text_string_to_metric_families(ask(path, "/metrics")[1]))
        values = {
            (sample.name, sample.labels.get("route")): sample.value
            for family in families
            for sample in family.samples
        }
        assert values[("http_requests_total", "/api/v1/tours/{tour_id}")] == 30
        assert values[("spirit_database_pool_in_use", None)] == 0

        # Live streams are open, and a registration waits for a lock, when the stop comes.
        looking = events(path)
        answers = []
        registering = threading.Thread(
            target=lambda: answers.append(
                ask(path, "/api/v1/auth/register", "POST", account.replace("a@", "b@"), json_type)
            )
        )
        with unix_connect(
            str(path), "ws://localhost/api/v1/tours/walk/availability/socket"
        ) as client:
            client.recv(10)
            with clean.connect() as holder, holder.transaction():
                holder.execute("LOCK TABLE users IN EXCLUSIVE MODE")
                registering.start()
                wait_for_lock(sql)
                start = time.monotonic()
                process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed) as closed:
                    client.recv(10)
                assert closed.value.rcvd.code == 1012
                # The last chunk: an answer that ended, not one that broke.
                assert rest_of(looking).endswith(b"0\r\n\r\n")
                looking.close()
                assert (process.poll(), answers) == (None, [])
        registering.join()
        assert [status for status, _ in answers] == [201]
        assert process.wait(timeout=20) == 0, log.read_text()
        assert time.monotonic() - start < 10

        lines = [json.loads(line) for line in log.read_text().splitlines()]
        requests = [line for line in lines if line["logger"] == "spirit.access"]
        assert sum(line["route"] == "/api/v1/tours/{tour_id}" for line in requests) == 30
        assert all(len(line["request_id"]) == 32 for line in requests)
        assert not [line for line in lines if line["level"] in ("warning", "error")], lines
        assert "correct horse" not in log.read_text()
        assert not path.exists()

        refused = subprocess.run(
            check, cwd=APP, env=environ, check=False, capture_output=True, text=True
        )
        assert refused.returncode == 1
        assert str(path) in refused.stderr


def test_wrong_variables_are_all_told_before_a_worker_starts(clean, tmp_path):
    environment = clean.environment() | {
        "CAIRN_SOCKET": str(tmp_path / "api.sock"),
        "JWT_SECRET": "short",
        "WEB_CONCURRENCY": "100",
        "REDIS_PORT": "0",
    }
    process = gunicorn(environment, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 78
    faults = [line for line in output.splitlines() if line.split(":")[0].isupper()]
    assert sorted(line.split(":")[0] for line in faults) == [
        "JWT_SECRET",
        "REDIS_PORT",
        "WEB_CONCURRENCY",
    ]
    assert "short" not in output.replace("too short", "")


@pytest.mark.skipif(not KERNEL_HAS_RULE, reason="this kernel cannot refuse new code")
def test_the_rule_of_these_tests_holds():
    """That it is really set: memory that was written must not become executable."""
    program = (
        "import ctypes, mmap; page = mmap.mmap(-1, 4096);"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page));"
        "print(ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), 4096, 5))"
    )
    for rule, expected in ((REFUSING_NEW_CODE, "-1"), ([], "0")):
        command = [*rule, sys.executable, "-c", program]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == expected


@pytest.mark.parametrize(
    ("bind", "where"),
    [
        ("0.0.0.0:8000", ("127.0.0.1", 8000)),
        (":8000", ("127.0.0.1", 8000)),
        ("[::]:80", ("::1", 80)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_the_health_check_asks_where_the_server_listens(bind, where):
    with healthcheck.client_of(bind) as client:
        assert (client.base_url.host, client.base_url.port or 80) == where


def test_the_health_check_refuses_another_answer(monkeypatch, capsys, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        monkeypatch.setenv("CAIRN_SOCKET", str(path))

        def answer():
            client, _ = listener.accept()
            with client:
                client.recv(1024)
                client.sendall(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert healthcheck.main() == 1
        thread.join()
    assert "answered /health with 500" in capsys.readouterr().err
