"""Arguments in, lines and an exit code out."""

import argparse
import sys

import httpx

from smoke import certificate
from smoke.checks import Smoke
from smoke.report import Fault, Report

TIMEOUT_SECONDS = 15.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m smoke", description="Checks a deployed service from outside."
    )
    parser.add_argument("--url", required=True, help="as in https://api.example:8443")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--ca", metavar="FILE", help="believe the certificates in this file")
    trust.add_argument(
        "--insecure", action="store_true", help="believe any certificate, and still look at it"
    )
    parser.add_argument(
        "--min-days", type=int, default=7, help="that the certificate must still last [%(default)s]"
    )
    wanted = parser.parse_args(arguments)

    report = Report()
    url = httpx.URL(wanted.url)
    if url.scheme not in ("http", "https") or not url.host:
        parser.error(f"{wanted.url!r} is no http or https address")
    trusted = certificate.Trust(wanted.ca, wanted.insecure)
    try:
        context = trusted.context()
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 1
    try:
        if url.scheme == "https":
            with report.check("TLS") as said:
                said(certificate.facts(url.host, url.port or 443, trusted, wanted.min_days))
        with httpx.Client(base_url=url, verify=context, timeout=TIMEOUT_SECONDS) as client:
            Smoke(client, report).run()
    except Fault as fault:
        # Later checks need what this one did not find.
        print(f"stopped: {fault}", file=sys.stderr)
    if report.faults:
        print(f"\n{len(report.faults)} of {report.count} checks failed:", file=sys.stderr)
        for fault in report.faults:
            print(f"  {fault}", file=sys.stderr)
        return 1
    print(f"all {report.count} checks hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
