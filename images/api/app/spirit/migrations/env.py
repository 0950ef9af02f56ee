"""How `alembic` reaches the database. All revisions of one run are one transaction.

The transaction first takes an advisory lock: of two that migrate at once the second waits, then
finds nothing left to do. A run that dies gives the lock back with its connection.
"""

import logging.config

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from spirit.database.connection import connect_arguments, database_url
from spirit.logs import configuration
from spirit.settings import DatabaseSettings, SettingsError

# Any number that nobody else uses: "spirit" in ASCII.
LOCK = 0x737069726974
LOCK_TIMEOUT = "60s"


def migrate(settings: DatabaseSettings) -> None:
    engine = create_engine(
        database_url(settings), poolclass=NullPool, connect_args=connect_arguments(settings)
    )
    with engine.begin() as connection:
        connection.execute(
            text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": LOCK_TIMEOUT}
        )
        # The service's limit is for requests; a migration may take its time.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.configure(connection=connection)
        context.run_migrations()


logging.config.dictConfig(configuration("INFO"))
try:
    read = DatabaseSettings.read()
except SettingsError as error:
    raise SystemExit(f"these variables are wrong:\n{error}") from None
if context.is_offline_mode():
    raise SystemExit("migrations run against a database; --sql is not supported")
migrate(read)
