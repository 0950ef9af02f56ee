"""Throw-away servers: a real PostgreSQL and a real Redis, on UNIX sockets in a folder of their own.

PostgreSQL does not run as root, so under root both run as `nobody`. They end with the tests, also
if those are killed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

START_SECONDS = 30
PASSWORD = "throw-away"
NOBODY = 65534
POSTGRES_PROGRAMS = Path("/usr/lib/postgresql/15/bin")


def program(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{POSTGRES_PROGRAMS}:{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise RuntimeError(f"{name} is missing: apt-get install --no-install-recommends {package}")
    return found


def unprivileged(*command: str) -> list[str]:
    setpriv = [program("setpriv", "util-linux"), "--pdeathsig", "INT"]
    if os.getuid() == 0:
        setpriv += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*setpriv, "--", *command]


@contextmanager
def folder() -> Iterator[Path]:
    """A short path (a socket's has at most 107 bytes) that the servers may write to."""
    path = Path(tempfile.mkdtemp(prefix="spirit-", dir="/tmp"))
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(
    command: list[str], log: Path, answers: Callable[[], object], stop: signal.Signals
) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd="/")
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                answers()
                break
            except (psycopg.OperationalError, redis.RedisError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[-1]}: {error}\n{log.read_text()}") from error
                time.sleep(0.05)
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgres() -> Iterator[Path]:
    """Gives the folder of the socket; user `spirit`, who is superuser, with `PASSWORD`."""
    with folder() as home:
        data, password = home / "data", home / "password"
        password.write_text(PASSWORD)
        initdb = [program("initdb", "postgresql-15"), "-D", str(data), "-U", "spirit"]
        initdb += ["--pwfile", str(password), "--auth=scram-sha-256", "--no-sync"]
        initdb += ["--encoding=UTF8", "--locale=C.UTF-8"]
        made = subprocess.run(
            unprivileged(*initdb), capture_output=True, text=True, cwd="/", check=False
        )
        if made.returncode:
            raise RuntimeError(made.stderr)
        server = [program("postgres", "postgresql-15"), "-D", str(data), "-k", str(home)]
        for setting in ("listen_addresses=", "fsync=off", "full_page_writes=off", "port=5432"):
            server += ["-c", setting]
        with running(
            unprivileged(*server),
            home / "log",
            lambda: psycopg.connect(conninfo(home, "postgres")).close(),
            # At once: nothing of it is kept.
            signal.SIGQUIT,
        ):
            yield home


def conninfo(home: Path, database: str) -> str:
    return f"host={home} user=spirit password={PASSWORD} dbname={database}"


@contextmanager
def redis_server(socket: Path | None = None) -> Iterator[Path]:
    """Gives the path of the socket; password `PASSWORD`; keeps nothing."""
    with folder() as home:
        socket = socket or home / "redis.sock"
        server = [program("redis-server", "redis-server"), "--port", "0"]
        server += ["--unixsocket", str(socket), "--dir", str(home), "--save", ""]
        server += ["--requirepass", PASSWORD]

        def answers() -> None:
            with redis.Redis(unix_socket_path=str(socket), password=PASSWORD) as client:
                client.ping()

        with running(unprivileged(*server), home / "log", answers, signal.SIGINT):
            yield socket
