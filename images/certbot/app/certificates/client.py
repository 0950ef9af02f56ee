"""One run of Certbot."""

import os
import subprocess
from pathlib import Path

from .settings import Settings

STATE = Path("/var/lib/certbot")
WEBROOT = Path("/var/lib/acme")
CERTBOT = "/usr/bin/certbot"
# The server looks at each name by itself, and may take its time.
TIMEOUT_SECONDS = 600
# Lines that say nothing of the cause.
NOISE = ("Ask for help", "See the logfile", "Saving debug log", "Hint:", "Some challenges have failed")


class ClientError(Exception):
    """Certbot could not get a certificate; says why in its words."""


def lineage(name: str) -> Path:
    """Where Certbot keeps the certificate itself, with the account key beside it."""
    return STATE / "config/live" / name


def obtain(settings: Settings, renew: bool) -> None:
    """Gets a certificate for the names. What is there stays until a new one has been issued."""
    (WEBROOT / ".well-known/acme-challenge").mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HOME": str(STATE)}
    if settings.ca_file:
        environment["REQUESTS_CA_BUNDLE"] = settings.ca_file
    try:
        result = subprocess.run(
            arguments(settings, renew),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClientError(f"{settings.server} has not finished within {TIMEOUT_SECONDS} s") from error
    if result.returncode != 0:
        raise ClientError(f"{settings.server}: {cause(result.stdout)}")


def arguments(settings: Settings, renew: bool) -> list[str]:
    account = ["--email", settings.email] if settings.email else ["--register-unsafely-without-email"]
    domains = [part for name in settings.names for part in ["--domain", name]]
    return [
        CERTBOT, "certonly", "--webroot", "--webroot-path", str(WEBROOT),
        "--non-interactive", "--agree-tos", *account,
        "--server", settings.server, "--cert-name", settings.name, *domains,
        "--key-type", "ecdsa", "--renew-with-new-domains",
        "--force-renewal" if renew else "--keep-until-expiring",
        "--config-dir", str(STATE / "config"), "--work-dir", str(STATE / "work"), "--logs-dir", "/tmp/certbot",
    ]  # fmt: skip


def cause(output: str) -> str:
    """What Certbot says of a failure, without its advice."""
    lines = (line.strip() for line in output.splitlines())
    told = [line for line in lines if line.strip("- ") and not line.startswith(NOISE)]
    return " ".join(told)[-2000:] or "certbot failed without a word"
