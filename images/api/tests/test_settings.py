from datetime import timedelta

import pytest
from pydantic import SecretStr

from spirit.bind import bind_address
from spirit.settings import DatabaseSettings, Settings, SettingsError
from spirit.settings.sources import credential_name

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """The environment of whoever runs the tests is not ours to read."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return monkeypatch


def faults(read=Settings.read):
    with pytest.raises(SettingsError) as caught:
        read()
    return caught.value.faults


def test_only_the_secret_must_be_given(nothing_set):
    nothing_set.setenv("JWT_SECRET", SECRET)
    read = Settings.read()
    assert read == Settings(jwt_secret=SecretStr(SECRET))
    assert read.database_pool_size == 20
    assert read.web_concurrency == 4


def test_all_faults_are_told_at_once_and_none_shows_a_value(nothing_set):
    wrong = {
        "JWT_SECRET": "too short to sign",
        "DATABASE_PORT": "70000",
        "DATABASE_POOL_SIZE": "many",
        "GRACEFUL_TIMEOUT": "25",
        "REDIS_TLS": "yes please",
        "LOG_LEVEL": "loud",
        "RATE_LIMIT_AUTH": "a lot",
        "SENTRY_DSN": "hidden.example/1",
        "SENTRY_TRACES_SAMPLE_RATE": "1.5",
    }
    for name, value in wrong.items():
        nothing_set.setenv(name, value)
    told = faults()
    assert sorted(line.split(":")[0] for line in told) == sorted(wrong)
    for value in ("too short to sign", "hidden.example", "yes please", "a lot"):
        assert value not in "\n".join(told)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GRACEFUL_TIMEOUT", "1 day", "write a whole number and ms, s, m or h, as in 30s"),
        ("FEATURE_CACHE", "yes", "write true or false"),
        ("ASSETS_URL", "ftp://there", "write an http or https address"),
        ("SENTRY_DSN", "key@there", "write an http or https address"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("DATABASE_HOST", "a b", "pattern"),
    ],
)
def test_a_fault_says_what_to_write(nothing_set, name, value, words):
    nothing_set.setenv("JWT_SECRET", SECRET)
    nothing_set.setenv(name, value)
    (line,) = faults()
    assert line.startswith(f"{name}: ")
    assert words in line


def test_a_secret_that_is_missing_is_named_with_its_credential():
    assert faults() == ["JWT_SECRET: is not set; set it, or give it as the credential 'jwt-secret'"]


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("ACCESS_TOKEN_TTL", "500ms", "access_token_ttl", timedelta(milliseconds=500)),
        ("ACCESS_TOKEN_TTL", "2h", "access_token_ttl", timedelta(hours=2)),
        ("CORS_ORIGINS", "https://a.example, https://b.example,", "cors_origins",
         ("https://a.example", "https://b.example")),
        ("REDIS_TLS", "true", "redis_tls", True),
        ("DATABASE_HOST", "/run/postgresql", "database_host", "/run/postgresql"),
        ("REDIS_SOCKET", "", "redis_socket", None),
    ],
)  # fmt: skip
def test_values_are_read(nothing_set, name, value, field, expected):
    nothing_set.setenv("JWT_SECRET", SECRET)
    nothing_set.setenv(name, value)
    assert getattr(Settings.read(), field) == expected


def test_secrets_come_as_credentials_and_the_environment_goes_first(nothing_set, tmp_path):
    (tmp_path / "jwt-secret").write_text(f"{SECRET}\n")
    (tmp_path / "database-password").write_text("from the file")
    (tmp_path / "redis-password").write_text("from the file")
    (tmp_path / "database-port").write_text("1")
    nothing_set.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    nothing_set.setenv("REDIS_PASSWORD", "from the environment")
    read = Settings.read()
    assert read.jwt_secret.get_secret_value() == SECRET
    assert read.database_password.get_secret_value() == "from the file"
    assert read.redis_password.get_secret_value() == "from the environment"
    # What is no secret is no credential.
    assert read.database_port == 5432


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_credential_that_cannot_be_read_is_a_fault(nothing_set, tmp_path, content):
    file = tmp_path / "jwt-secret"
    file.mkdir() if content is None else file.write_bytes(content)
    nothing_set.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (line,) = faults()
    assert line.startswith(f"JWT_SECRET: cannot read {file}")


def test_no_secret_is_printed(nothing_set):
    nothing_set.setenv("JWT_SECRET", SECRET)
    nothing_set.setenv("DATABASE_PASSWORD", "hidden-too")
    shown = repr(Settings.read()) + str(Settings.read())
    assert SECRET not in shown
    assert "hidden-too" not in shown


def test_a_group_is_read_alone():
    assert DatabaseSettings.read().database_name == "spirit"


def test_a_credential_is_named_like_its_variable():
    assert credential_name("jwt_secret") == "jwt-secret"


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
