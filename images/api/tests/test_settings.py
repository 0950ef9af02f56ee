from pathlib import Path

import pytest

from spirit.settings import PACKAGED_TOURS, Settings, SettingsError, bind_address


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_environment({}) == Settings("production", PACKAGED_TOURS)


def test_values_are_read():
    read = Settings.from_environment(
        {"SPIRIT_ENVIRONMENT": "staging", "SPIRIT_TOURS_FILE": "/t.json"}
    )
    assert read == Settings("staging", Path("/t.json"))


def test_an_unknown_environment_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"'prod'.*development, staging, production"):
        Settings.from_environment({"SPIRIT_ENVIRONMENT": "prod"})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "unix:/run/spirit/api.sock"),
        ({"BIND": "0.0.0.0:8000"}, "0.0.0.0:8000"),
        ({"BIND": ""}, "unix:/run/spirit/api.sock"),
        (
            {"CAIRN_SOCKET": "/run/cairn/api/x/1.sock", "BIND": "0.0.0.0:8000"},
            "unix:/run/cairn/api/x/1.sock",
        ),
    ],
)
def test_the_hosts_socket_goes_before_bind(environ, expected):
    assert bind_address(environ) == expected
