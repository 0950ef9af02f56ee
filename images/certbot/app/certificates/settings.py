"""What to ask for, of whom: the host's file, and above it the environment."""

import os
import re
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

CONFIG = Path("/run/cairn/config/certbot.conf")
NAME = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsError(Exception):
    """A setting that cannot be used; says which and why."""


@dataclass(frozen=True)
class Settings:
    # Folder of the certificate below `live/`.
    name: str
    # The first is the main one.
    names: list[str]
    # Address of the ACME server's directory.
    server: str
    # Where the authority writes before a certificate ends; empty: no address is given.
    email: str
    # Root certificates to trust the server by; empty: those of the system.
    ca_file: str
    # A certificate with less time left is renewed.
    renew_before: timedelta

    @classmethod
    def read(cls, file: Path = CONFIG, environment: dict[str, str] | None = None) -> "Settings":
        environment = os.environ if environment is None else environment
        values = {"email": "", "ca_file": "", "renew_days": 30}
        if file.exists():
            try:
                values |= tomllib.loads(file.read_text())
            except tomllib.TOMLDecodeError as error:
                raise SettingsError(f"{file}: {error}") from error
        for key, variable in {
            "server": "ACME_SERVER",
            "ca_file": "ACME_CA_FILE",
            "email": "ACME_EMAIL",
            "name": "CERTIFICATE_NAME",
        }.items():
            values[key] = environment.get(variable, values.get(key))
        if "CERTIFICATE_NAMES" in environment:
            values["names"] = environment["CERTIFICATE_NAMES"].split()
        return cls.check(values, file)

    @classmethod
    def check(cls, values: dict, file: Path) -> "Settings":
        names = values.get("names")
        if not names or not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
            raise SettingsError(f"{file}: `names` is {names!r}; write host names in lower case, as in [\"example.com\"]")
        name = values.get("name") or names[0]
        if not NAME.fullmatch(name):
            raise SettingsError(f"{file}: `name` is {name!r}; it names a folder, as in \"example.com\"")
        server = values.get("server")
        if not server or not server.startswith("https://"):
            raise SettingsError(f"{file}: `server` is {server!r}; write the https address of an ACME directory")
        days = values["renew_days"]
        if not isinstance(days, int) or days < 1:
            raise SettingsError(f"{file}: `renew_days` is {days!r}; write a number of days")
        return cls(name, names, server, values["email"] or "", values["ca_file"] or "", timedelta(days=days))
