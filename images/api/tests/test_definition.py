"""The image's own files say the same thing: settings, schema, requirements."""

import re
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from spirit.bind import DEFAULT_BIND
from spirit.settings import Settings
from spirit.settings.kinds import comma_list, duration, flag, secret_url, url
from spirit.settings.sources import is_secret

IMAGE = Path(__file__).parent.parent
SCHEMA = tomllib.loads((IMAGE / "config.toml").read_text())
FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}
# Read before there are settings, and by the health check without them.
BESIDE = {"BIND"}

CATEGORIES = set(
    "application database redis security cors email payments monitoring ai aws social backup"
    " features".split()
)
TYPES = set("string integer number boolean url email host port duration list choice".split())
KEYS = set(
    "category type help required secret default pattern min max min_length choices example".split()
)


def optional_part(annotation):
    """`X` of `X | None`."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return parts[0] if type(None) in get_args(annotation) else annotation


def constraints(field):
    """Of the field, its type, and the type inside `X | None`."""
    inner = optional_part(field.annotation)
    found = [*field.metadata, *getattr(inner, "__metadata__", ())]
    for each in list(found):
        found += getattr(each, "metadata", [])
    return found


def bound(field, name):
    values = [getattr(each, name) for each in constraints(field) if hasattr(each, name)]
    return next((value for value in values if value is not None), None)


def type_of(field):
    inner = optional_part(field.annotation)
    made_by = {getattr(each, "func", None) for each in constraints(field)}
    for function, word in ((duration, "duration"), (flag, "boolean"), (comma_list, "list")):
        if function in made_by:
            return word
    if made_by & {url, secret_url}:
        return "url"
    if get_origin(inner) is Literal:
        return "choice"
    base = getattr(inner, "__origin__", inner)
    if base is int:
        return "port" if (bound(field, "ge"), bound(field, "le")) == (1, 65535) else "integer"
    return {str: "string", float: "number", SecretStr: "string"}[base]


def test_the_schema_is_what_the_deploy_tool_reads():
    assert len(SCHEMA) >= 50
    assert {entry["category"] for entry in SCHEMA.values()} == CATEGORIES
    for name, entry in SCHEMA.items():
        assert re.fullmatch("[A-Z][A-Z0-9_]*", name)
        assert set(entry) <= KEYS, name
        assert entry["type"] in TYPES, name
        assert entry["help"], name
        assert isinstance(entry.get("default", ""), str), name
        assert (entry["type"] == "choice") == ("choices" in entry), name
        assert not {"min", "max"} & entry.keys() or entry["type"] in ("integer", "number", "port")
        if entry.get("secret"):
            assert not {"default", "example"} & entry.keys(), name
        if "pattern" in entry and "default" in entry:
            assert re.search(entry["pattern"], entry["default"]), name


def test_everything_that_is_read_stands_in_the_schema():
    assert set(FIELDS) | BESIDE <= set(SCHEMA)
    assert SCHEMA["BIND"]["default"] == DEFAULT_BIND


@pytest.mark.parametrize("name", FIELDS)
def test_settings_and_schema_agree(name, monkeypatch):
    field, entry = FIELDS[name], SCHEMA[name]
    # A host's name is a string to us.
    assert type_of(field) == {"host": "string"}.get(entry["type"], entry["type"])
    assert is_secret(field) == entry.get("secret", False)
    assert field.is_required() == entry.get("required", False)
    assert bound(field, "min_length") == entry.get("min_length")
    assert bound(field, "pattern") == entry.get("pattern")
    if entry["type"] in ("integer", "number"):
        assert (bound(field, "ge"), bound(field, "le")) == (entry.get("min"), entry.get("max"))
    if entry["type"] == "choice":
        assert list(get_args(optional_part(field.annotation))) == entry["choices"]

    if "default" in entry:
        monkeypatch.setenv(name, entry["default"])
        read = Settings(jwt_secret=SecretStr("x" * 32))
        assert getattr(read, name.lower()) == field.default
    else:
        assert field.default in (None, PydanticUndefined)


@pytest.mark.parametrize(
    ("name", "entry"), [(name, entry) for name, entry in SCHEMA.items() if "example" in entry]
)
def test_an_example_is_a_good_value(name, entry, monkeypatch):
    if "pattern" in entry:
        assert re.search(entry["pattern"], entry["example"])
    if name in FIELDS:
        monkeypatch.setenv(name, entry["example"])
        Settings(jwt_secret=SecretStr("x" * 32))


def test_only_what_the_service_needs_goes_into_the_image():
    kinds = {file.suffix for file in (IMAGE / "app").rglob("*") if file.is_file()}
    assert kinds == {".py", ".ini", ".json", ".mako"}


def test_there_are_nineteen_requirements_pinned_and_repeated_for_development():
    image = tomllib.loads((IMAGE / "image.toml").read_text())["python"]["requirements"]
    assert len(image) == 19
    assert all(re.fullmatch(r"[a-z0-9-]+(\[[a-z]+\])?==[0-9.]+", each) for each in image)
    development = [
        line
        for line in (IMAGE / "requirements-dev.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert development[:19] == image
    for pinned in ("fastapi==0.109.0", "gunicorn==21.2.0", "uvicorn[standard]==0.25.0"):
        assert pinned in image


# What a requirement installs, where it is not named like it.
MODULES = {
    "pyjwt": "jwt",
    "argon2-cffi": "argon2",
    "sentry-sdk": "sentry_sdk",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
}


@pytest.mark.parametrize(
    "requirement", tomllib.loads((IMAGE / "image.toml").read_text())["python"]["requirements"]
)
def test_no_requirement_is_idle(requirement):
    name = re.split(r"[\[=]", requirement)[0]
    code = "\n".join(file.read_text() for file in (IMAGE / "app").rglob("*.py"))
    if name == "hiredis":
        from redis.asyncio.connection import DefaultParser

        assert "Hiredis" in DefaultParser.__name__
    elif name == "python-multipart":
        assert "OAuth2PasswordRequestForm" in code
    elif name == "gunicorn":
        assert "from gunicorn" in code
    else:
        module = MODULES.get(name, name)
        assert re.search(rf"^\s*(from|import) {module}\b", code, re.MULTILINE), module
