"""What the environment may say, typed and checked once, at the start.

| variable             | meaning                                   | default                     |
|----------------------|-------------------------------------------|-----------------------------|
| `CAIRN_SOCKET`       | UNIX socket to listen on, set by the host |                             |
| `BIND`               | `host:port` or `unix:/path`               | `unix:/run/spirit/api.sock` |
| `SPIRIT_ENVIRONMENT` | `development`, `staging` or `production`  | `production`                |
| `SPIRIT_TOURS_FILE`  | JSON file with the tours                  | the one in the package      |

What only the server process needs (workers, time limits) is read in `gunicorn.conf.py`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = ("development", "staging", "production")
DEFAULT_BIND = "unix:/run/spirit/api.sock"
PACKAGED_TOURS = Path(__file__).parent / "tours" / "tours.json"


class SettingsError(ValueError):
    """A variable has a value that the service cannot work with."""


@dataclass(frozen=True)
class Settings:
    environment: str = "production"
    tours_file: Path = PACKAGED_TOURS

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        environment = environ.get("SPIRIT_ENVIRONMENT", cls.environment)
        if environment not in ENVIRONMENTS:
            known = ", ".join(ENVIRONMENTS)
            raise SettingsError(f"SPIRIT_ENVIRONMENT is {environment!r}; it must be one of {known}")
        return cls(
            environment=environment,
            tours_file=Path(environ.get("SPIRIT_TOURS_FILE", cls.tours_file)),
        )


def bind_address(environ: Mapping[str, str] = os.environ) -> str:
    """Where to listen, as Gunicorn writes it: `unix:/path` or `host:port`.

    The host's word goes first, so that an image with a `BIND` of its own runs under systemd
    without a change.
    """
    if socket := environ.get("CAIRN_SOCKET"):
        return f"unix:{socket}"
    return environ.get("BIND") or DEFAULT_BIND
