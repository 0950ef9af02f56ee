"""How Gunicorn runs the service: `gunicorn -c /app/gunicorn.conf.py spirit.main:app`.

`WEB_CONCURRENCY`, `GRACEFUL_TIMEOUT` and `LOG_LEVEL` are settings like any other; where to listen
says `spirit/bind.py`. A wrong setting is told here, once, before a worker starts. (Gunicorn reads
`WEB_CONCURRENCY` too, before this file: what is no number at all ends with its own trace.)
"""

import math
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
from spirit.bind import bind_address  # noqa: E402
from spirit.settings import Settings, SettingsError  # noqa: E402

# As sysexits.h has it.
CONFIGURATION_ERROR = 78

try:
    settings = Settings.read()
except SettingsError as error:
    print(f"these variables are wrong:\n{error}", file=sys.stderr)
    sys.exit(CONFIGURATION_ERROR)

bind = bind_address()
worker_class = "spirit.worker.Worker"
workers = settings.web_concurrency
# What running requests get at a stop.
graceful_timeout = math.ceil(settings.graceful_timeout.total_seconds())


def memory_folder():
    """A writable folder that is in memory wherever there is one."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    # Only a fresh folder below it is used.
    for folder in ("/dev/shm", runtime):  # nosec
        if folder and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return tempfile.gettempdir()


# A worker that has not shown life for this long is killed. Its sign of life is a file that it
# touches; in memory, because on a busy disk the touch itself can wait longer than the limit.
timeout = 30
worker_tmp_dir = memory_folder()

# Of the socket: anyone who reaches it may connect. Who that is, its folder decides.
umask = 0o111

# Only the proxy reaches a UNIX socket: the client's address in its headers is to be believed. On
# TCP anyone may connect.
forwarded_allow_ips = "*" if bind.startswith("unix:") else "127.0.0.1"

logconfig_dict = logs.configuration(settings.log_level.upper())

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
        # Now: the library looks for the folder when it is imported, and `child_exit` runs in a
        # signal handler, which can interrupt an import of its own.
        import prometheus_client.multiprocess  # noqa: F401


def child_exit(server, worker):
    """What a dead worker counted stays; what it held (gauges) does not."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        sys.modules["prometheus_client.multiprocess"].mark_process_dead(worker.pid)


def on_exit(server):
    if folder := os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None):
        shutil.rmtree(folder, ignore_errors=True)
