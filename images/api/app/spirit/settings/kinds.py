"""Types of values as `config.toml` names them: the same words mean the same on both sides."""

import re
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

DURATION = re.compile(r"(\d+)(ms|s|m|h)")
MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (found := DURATION.fullmatch(value)):
        raise ValueError("write a whole number and ms, s, m or h, as in 30s")
    return timedelta(milliseconds=int(found[1]) * MILLISECONDS[found[2]])


def flag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in ("true", "false"):
        raise ValueError("write true or false")
    return value == "true"


def comma_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def url(value: str) -> str:
    if not is_url(value):
        raise ValueError("write an http or https address")
    return value


def secret_url(value: SecretStr) -> SecretStr:
    url(value.get_secret_value())
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Flag = Annotated[bool, BeforeValidator(flag)]
# NoDecode: the library would want JSON here.
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_list)]
Url = Annotated[str, AfterValidator(url)]
SecretUrl = Annotated[SecretStr, AfterValidator(secret_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
