"""One line for each check, as it ends, and all faults at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx


class Fault(Exception):
    """What is not as it should be, in one sentence."""


class Report:
    def __init__(self) -> None:
        self.count = 0
        self.faults: list[str] = []

    @contextmanager
    def check(self, name: str, needed: bool = False) -> Iterator[Callable[[str], None]]:
        """The block says what it found, or raises. After a `needed` one that fails, none runs."""
        self.count += 1
        found: list[str] = []
        try:
            yield found.append
        except (Fault, httpx.HTTPError, OSError, KeyError, ValueError) as error:
            sentence = f"{name}: {str(error) or type(error).__name__}"
            self.faults.append(sentence)
            print(f"FAIL  {sentence}", flush=True)
            if needed:
                raise Fault(f"what follows needs `{name}`") from None
        else:
            print(f"ok    {name}: {'; '.join(found)}", flush=True)
