"""Waiting for what happens by itself."""

import time


def eventually(check, seconds: float = 10, evidence=lambda: ""):
    """The first true answer of `check`; an assertion with the evidence if none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {evidence()}"
        time.sleep(0.05)
    return answer
