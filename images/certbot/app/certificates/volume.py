"""The volume that is shared with the proxy, and how a certificate is put in place.

    live/NAME              a link to the folder in force; the proxy reads it
    versions/NAME.SERIAL/  fullchain.pem and privkey.pem, never changed once they are there
    status.json            what happened last

The link is replaced by a rename: certificate and key change together or not at all.
"""

import os
import shutil
from pathlib import Path

VOLUME = Path("/var/lib/certificates")
FILES = ["fullchain.pem", "privkey.pem"]
# The group is the proxy's: it reads the files, and may put a link where none is yet.
FOLDER_MODE = 0o770
VERSION_MODE = 0o750
FILE_MODE = 0o640


class Volume:
    def __init__(self, root: Path = VOLUME):
        self.root = root
        self.live = root / "live"
        self.versions = root / "versions"

    def in_force(self, name: str) -> Path | None:
        """The certificate that is served; `None` if there is none, or one that the proxy made itself."""
        link = self.live / name
        target = link.resolve()
        if target.name.endswith(".self-made") or not (target / FILES[0]).exists():
            return None
        return target / FILES[0]

    def publish(self, name: str, serial: int, lineage: Path) -> None:
        """Puts the files of a lineage of Certbot in force."""
        for folder in [self.live, self.versions]:
            self.make(folder, FOLDER_MODE)
        version = self.versions / f"{name}.{serial:x}"
        if not version.exists():
            making = self.versions / f".{name}.making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(VERSION_MODE)
            for file in FILES:
                write(making / file, (lineage / file).read_bytes(), FILE_MODE)
            making.chmod(VERSION_MODE)
            sync(making)
            making.rename(version)
        # A name of its own, should two of these ever run.
        link = self.live / f".{name}.{os.getpid()}"
        link.unlink(missing_ok=True)
        before = (self.live / name).resolve()
        link.symlink_to(f"../versions/{version.name}")
        link.replace(self.live / name)
        sync(self.live)
        self.tidy(name, {version, before})

    def tidy(self, name: str, keep: set[Path]) -> None:
        """Removes versions before the last one. The one before is kept for whoever has it open."""
        for version in self.versions.glob(f"{name}.*"):
            if version not in keep and version.resolve() not in keep:
                shutil.rmtree(version, ignore_errors=True)

    @staticmethod
    def make(folder: Path, mode: int) -> None:
        if not folder.exists():
            folder.mkdir()
            folder.chmod(mode)


def write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and on disk."""
    making = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
