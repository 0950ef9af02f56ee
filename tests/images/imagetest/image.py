"""An image layout as `deploy build` prints it, unpacked to a folder."""

import json
import os
import platform
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    root: Path
    uid: int
    gid: int
    environment: dict[str, str]
    workdir: str
    command: list[str]
    health: list[str]

    @classmethod
    def build(cls, name: str, into: Path) -> "Image":
        """Builds `images.NAME` of this project and unpacks it below `into`."""
        deploy = os.environ.get("DEPLOY", "deploy")
        command = [deploy, "--project", str(PROJECT), "--json", "build", f"images.{name}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return cls.open(Path(json.loads(result.stdout)["targets"][0]["file"]), into)

    @classmethod
    def open(cls, layout: Path, into: Path) -> "Image":
        def blob(descriptor):
            return layout / "blobs" / descriptor["digest"].replace(":", "/")

        def document(descriptor):
            return json.loads(blob(descriptor).read_text())

        wanted = ARCHITECTURES[platform.machine()]
        index = json.loads((layout / "index.json").read_text())
        manifests = list(flatten(index["manifests"], document))
        manifest = next(
            m for m in manifests if m.get("platform", {}).get("architecture", wanted) == wanted
        )
        manifest = document(manifest)
        for layer in manifest["layers"]:
            with tarfile.open(blob(layer)) as archive:
                archive.extractall(into, filter="fully_trusted")
        config = document(manifest["config"])["config"]
        uid, _, gid = config["User"].partition(":")
        variables = (variable.partition("=") for variable in config.get("Env", []))
        return cls(
            root=into,
            uid=int(uid),
            gid=int(gid or uid),
            environment={key: value for key, _, value in variables},
            workdir=config.get("WorkingDir") or "/",
            command=config.get("Entrypoint", []) + config.get("Cmd", []),
            health=config.get("Healthcheck", {}).get("Test", [])[1:],
        )


def flatten(descriptors, document):
    """An index may hold an index for its platforms."""
    for descriptor in descriptors:
        if descriptor["mediaType"].endswith(".index.v1+json"):
            yield from flatten(document(descriptor)["manifests"], document)
        elif "artifactType" not in descriptor:
            yield descriptor
