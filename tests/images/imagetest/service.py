"""One run of an image's program, in namespaces of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .image import Image
from .wait import eventually

ENTER = Path(__file__).with_name("enter.py")


class Service:
    """What a host gives a service: folders for its state, its configuration, its secrets, its sockets."""

    def __init__(self, image: Image, folder: Path, volumes: list[str] = ()):
        self.image = image
        self.folder = folder
        self.config = self.make("config", (0, 0), 0o755)
        self.credentials = self.make("credentials", self.owner, 0o500)
        self.sockets = self.make("self", self.owner, 0o750)
        # Where a run mounts its root; each does so in a namespace of its own.
        self.view = self.make("view", (0, 0), 0o755)
        self.binds = {
            "/run/cairn/config": (self.config, False),
            "/run/cairn/credentials": (self.credentials, False),
            "/run/cairn/self": (self.sockets, True),
        }
        for volume in volumes:
            self.mount(volume, self.make(f"volumes{volume}", self.owner, 0o750))
        self.environment = image.environment | {
            "CREDENTIALS_DIRECTORY": "/run/cairn/credentials",
            "CAIRN_SOCKET": "/run/cairn/self/1.sock",
            "PATH": "/usr/sbin:/usr/bin",
        }
        self.log = folder / "log"
        self.process = None
        self.answer = None

    @property
    def owner(self) -> tuple[int, int]:
        return self.image.uid, self.image.gid

    def make(self, name: str, owner: tuple[int, int], mode: int) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, *owner)
        path.chmod(mode)
        return path

    def mount(self, at: str, source: Path, writable: bool = True) -> None:
        self.binds[at] = (source, writable)

    def secret(self, name: str, value: str) -> None:
        path = self.credentials / name
        path.unlink(missing_ok=True)
        path.write_text(value)
        os.chown(path, *self.owner)
        path.chmod(0o400)

    def start(self, command: list[str] | None = None, pass_fds: tuple[int, ...] = ()) -> "Service":
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.arguments(command or self.image.command, pass_fds),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )
        return self

    def run(self, *command: str, stdin: str = "", environment: dict[str, str] | None = None):
        """Runs a command to its end, in a view of its own of the same folders."""
        return subprocess.run(
            self.arguments(list(command), (), environment or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def healthy(self) -> bool:
        self.answer = self.run(*self.image.health)
        return self.answer.returncode == 0

    def wait_healthy(self, seconds: float = 30) -> "Service":
        def ready():
            assert self.process.poll() is None, f"it has ended:\n{self.log.read_text()}"
            return self.healthy()

        eventually(ready, seconds, lambda: f"{self.answer}\n{self.log.read_text()}")
        return self

    @property
    def pid(self) -> int:
        """The main process, by its id outside of its namespace."""
        return child(child(self.process.pid))

    def kill(self, number: signal.Signals) -> int:
        """Sends a signal to the main process and waits for the end of everything."""
        os.kill(self.pid, number)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """Ends what still runs. The kernel takes the whole namespace with its first process."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def arguments(self, command: list[str], fds, environment: dict[str, str] | None = None) -> list[str]:
        plan = {
            "root": str(self.image.root),
            "view": str(self.view),
            "owner": self.owner,
            "workdir": self.image.workdir,
            "binds": [(at, str(source), writable) for at, (source, writable) in self.binds.items()],
            "environment": self.environment | (environment or {}),
            "command": command,
            "keep": list(fds),
        }
        unshare = shutil.which("unshare")
        return [
            unshare, "--mount", "--pid", "--fork", "--kill-child=SIGKILL",
            sys.executable, "-I", str(ENTER), json.dumps(plan),
        ]  # fmt: skip


def child(pid: int) -> int:
    return int(eventually(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), 10)[0])


def scratch() -> Path:
    """A folder that users of services may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="image-"))
    path.chmod(0o755)
    return path
