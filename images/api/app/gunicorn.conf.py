"""How Gunicorn runs the service: `gunicorn -c /app/gunicorn.conf.py spirit.main:app`.

| variable           | meaning                                            | default |
|--------------------|----------------------------------------------------|---------|
| `CAIRN_SOCKET`, `BIND` | where to listen, see `spirit/settings.py`      |         |
| `WEB_CONCURRENCY`  | worker processes                                   | 4       |
| `GRACEFUL_TIMEOUT` | seconds that running requests get at a stop        | 25      |
| `LOG_LEVEL`        | `debug`, `info`, `warning`, `error`                | `info`  |
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The working directory is not ours to count on under systemd.
chdir = str(HERE)
sys.path.insert(0, chdir)

from spirit import logs  # noqa: E402
from spirit.settings import bind_address  # noqa: E402

bind = bind_address()
worker_class = "spirit.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY", "4"))
graceful_timeout = int(os.environ.get("GRACEFUL_TIMEOUT", "25"))


def memory_folder():
    """A writable folder that is in memory wherever there is one."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    for folder in ("/dev/shm", runtime):
        if folder and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return tempfile.gettempdir()


# A worker that has not shown life for this long is killed. Its sign of life is a file that it
# touches; in memory, because on a busy disk the touch itself can wait longer than the limit.
timeout = 30
worker_tmp_dir = memory_folder()

# Of the socket: anyone who reaches it may connect. Who that is, its folder decides.
umask = 0o111

# The proxy opens a connection for each request, and only the proxy reaches a UNIX socket: the
# client's address in its headers is to be believed. On TCP anyone may connect.
forwarded_allow_ips = "*" if bind.startswith("unix:") else "127.0.0.1"

logconfig_dict = logs.configuration(os.environ.get("LOG_LEVEL", "info").upper())

# Nothing is written beside the code, and no pid file: systemd and the container engine know the
# process already.
pidfile = None


def on_starting(server):
    """More than one worker: their metrics meet in files, in a folder of this process alone."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if server.cfg.workers > 1:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(
            prefix="spirit-metrics-", dir=worker_tmp_dir
        )


def on_exit(server):
    if folder := os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None):
        shutil.rmtree(folder, ignore_errors=True)
