"""How PostgreSQL is reached. Apart from the engine: migrations start without the web framework."""

from typing import Any

from sqlalchemy import URL

from spirit.settings import DatabaseSettings
from spirit.version import VERSION


def database_url(settings: DatabaseSettings) -> URL:
    password = settings.database_password
    folder = settings.database_host.startswith("/")
    return URL.create(
        "postgresql+psycopg",
        username=settings.database_user,
        password=password.get_secret_value() if password else None,
        host=None if folder else settings.database_host,
        port=settings.database_port,
        database=settings.database_name,
        query={"host": settings.database_host} if folder else {},
    )


def connect_arguments(settings: DatabaseSettings) -> dict[str, Any]:
    """What libpq is told. A statement that runs away ends by itself, on the server's side."""
    statement_timeout = int(settings.database_statement_timeout.total_seconds() * 1000)
    arguments: dict[str, Any] = {
        "application_name": f"spirit {VERSION}",
        # libpq takes whole seconds, and takes 1 for 2.
        "connect_timeout": max(2, round(settings.database_connect_timeout.total_seconds())),
        "sslmode": settings.database_sslmode,
        "options": f"-c statement_timeout={statement_timeout} -c timezone=UTC",
    }
    if settings.database_sslrootcert:
        arguments["sslrootcert"] = settings.database_sslrootcert
    return arguments
