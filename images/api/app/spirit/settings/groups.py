"""The variables, by subject. Their meaning for people stands in `config.toml`, as `help`."""

from datetime import timedelta
from typing import Annotated, Literal

from limits import parse
from pydantic import AfterValidator, Field, SecretStr

from spirit.settings.kinds import CommaList, Duration, Flag, Port, SecretUrl, Url
from spirit.settings.sources import Group

LIMIT_PATTERN = r"^[1-9][0-9]*/(second|minute|hour|day)$"


def known_limit(value: str) -> str:
    parse(value)
    return value


Limit = Annotated[str, Field(pattern=LIMIT_PATTERN), AfterValidator(known_limit)]


class ApplicationSettings(Group):
    spirit_environment: Literal["development", "staging", "production"] = "production"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    web_concurrency: int = Field(4, ge=1, le=64)
    graceful_timeout: Duration = timedelta(seconds=25)
    max_body_bytes: int = Field(262_144, ge=1_024)
    max_streams: int = Field(1_000, ge=1)


class DatabaseSettings(Group):
    # A path is the folder of a UNIX socket, as libpq has it.
    database_host: str = Field("/run/postgresql", pattern=r"^(/.+|[A-Za-z0-9.:-]+)$")
    database_port: Port = 5432
    database_name: str = "spirit"
    database_user: str = "spirit"
    database_password: SecretStr | None = None
    database_sslmode: Literal[
        "disable", "allow", "prefer", "require", "verify-ca", "verify-full"
    ] = "prefer"
    database_sslrootcert: str | None = None
    database_pool_size: int = Field(20, ge=1, le=200)
    database_pool_timeout: Duration = timedelta(seconds=5)
    database_pool_recycle: Duration = timedelta(minutes=30)
    database_connect_timeout: Duration = timedelta(seconds=5)
    database_statement_timeout: Duration = timedelta(seconds=15)


class RedisSettings(Group):
    redis_host: str = "127.0.0.1"
    redis_port: Port = 6379
    # Goes before host and port.
    redis_socket: str | None = Field(None, pattern=r"^/.+$")
    redis_database: int = Field(0, ge=0, le=15)
    redis_password: SecretStr | None = None
    redis_tls: Flag = False
    redis_tls_ca: str | None = None
    redis_timeout: Duration = timedelta(seconds=2)
    redis_pool_size: int = Field(50, ge=2, le=1_000)
    cache_ttl: Duration = timedelta(seconds=30)


class SecuritySettings(Group):
    # 32 characters: HMAC with SHA-256 is as strong as its key, up to 32 bytes.
    jwt_secret: SecretStr = Field(min_length=32)
    jwt_issuer: str = "spirit-tours"
    access_token_ttl: Duration = timedelta(minutes=15)
    refresh_token_ttl: Duration = timedelta(hours=720)
    password_min_length: int = Field(12, ge=8, le=64)
    # Of one client's address: everything; what takes credentials. Of one address and account:
    # passwords tried.
    rate_limit_api: Limit = "1200/minute"
    rate_limit_auth: Limit = "30/minute"
    rate_limit_login: Limit = "5/minute"


class CorsSettings(Group):
    cors_origins: CommaList = ()
    cors_allow_credentials: Flag = False
    cors_max_age: Duration = timedelta(minutes=10)


class MonitoringSettings(Group):
    sentry_dsn: SecretUrl | None = None
    sentry_traces_sample_rate: float = Field(0.0, ge=0, le=1)


class PictureSettings(Group):
    aws_region: str = Field("eu-west-1", pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_endpoint_url: Url | None = None
    s3_assets_bucket: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    assets_url: Url | None = None
    picture_url_ttl: Duration = timedelta(minutes=15)


class FeatureSettings(Group):
    feature_registration: Flag = True
    feature_review_moderation: Flag = True
    feature_live_availability: Flag = True
    feature_cache: Flag = True
