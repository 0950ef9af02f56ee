"""`python -m certificates`: one attempt, or one every so often.

Ends with 0 when a certificate for the names is in force and not due, else with 1.
"""

import argparse
import os
import random
import re
import signal
import sys
import time

from .attempt import attempt
from .settings import Settings, SettingsError
from .volume import Volume

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# After a failure it tries again sooner, within the limits that authorities set.
RETRY_SECONDS = 3600


def seconds(text: str) -> int:
    if not (match := re.fullmatch(r"(\d+)([smhd])", text)):
        raise argparse.ArgumentTypeError(f"`{text}` is not a duration; write 30s, 5m, 12h or 1d")
    return int(match[1]) * UNITS[match[2]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="certificates", description=__doc__)
    parser.add_argument("--every", type=seconds, metavar="TIME", help="go on, with an attempt each TIME")
    parser.add_argument("--renew-now", action="store_true", help="renew although it is not due: the key is known to others")
    parser.add_argument("--check", action="store_true", help="read the settings, ask nobody for anything, and end")
    options = parser.parse_args()
    if options.check:
        return check()

    # Files for the group, nothing for others; the modes of the volume say so again.
    os.umask(0o027)
    if options.every is None:
        return report(options.renew_now)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    renew_now = options.renew_now
    while True:
        failed = report(renew_now)
        renew_now = renew_now and failed
        pause = min(options.every, RETRY_SECONDS) if failed else options.every
        # Not all hosts at once.
        time.sleep(pause * random.uniform(0.9, 1.1))


def check() -> int:
    try:
        Settings.read()
    except SettingsError as error:
        print(f"certificates: {error}", file=sys.stderr)
        return 1
    return 0


def report(renew_now: bool) -> int:
    volume = Volume()
    status = attempt(volume, renew_now)
    status.report(volume.root)
    return 1 if status.result == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
