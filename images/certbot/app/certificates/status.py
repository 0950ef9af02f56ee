"""What happened: one line of JSON, and the same in a file of the volume for monitoring."""

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from .order import Certificate
from .volume import write


@dataclass(frozen=True)
class Status:
    # `issued`, `renewed`, `kept` or `failed`.
    result: str
    time: str
    name: str
    names: list[str]
    # End of the certificate that is in force now, whatever happened; empty if there is none.
    not_after: str
    error: str

    @classmethod
    def of(cls, result: str, name: str, names: list[str], in_force: Certificate | None, error: str = "") -> "Status":
        end = in_force.not_after.isoformat() if in_force else ""
        return cls(result, datetime.now(UTC).isoformat(timespec="seconds"), name, names, end, error)

    def report(self, folder: Path) -> None:
        line = json.dumps(asdict(self))
        print(line, flush=True)
        try:
            write(folder / "status.json", f"{line}\n".encode(), 0o640)
        except OSError as error:
            print(f"certificates: cannot write {folder}/status.json: {error}", file=sys.stderr, flush=True)
