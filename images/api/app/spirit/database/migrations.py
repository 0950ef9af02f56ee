"""At which revision the database is, and at which this code wants it.

Revisions are numbers, `0001` and up. A database that is *ahead* is fine: while a new version is
rolled out, the replicas of the old one still serve, and so does an old version after a rollback.
That binds migrations to one rule: they add, and take away only what no running version reads.
"""

from enum import StrEnum
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

VERSIONS = Path(__file__).parent.parent / "migrations" / "versions"
HEAD = max(file.name[:4] for file in VERSIONS.glob("[0-9]*.py"))


class Schema(StrEnum):
    CURRENT = "current"
    AHEAD = "ahead"
    BEHIND = "behind"


async def state_of_schema(connection: AsyncConnection) -> tuple[Schema, str | None]:
    """How the database stands to this code, and its revision; `None` if it was never migrated."""
    try:
        found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    except ProgrammingError:
        found = None
    if found is None or found < HEAD:
        return Schema.BEHIND, found
    return (Schema.CURRENT if found == HEAD else Schema.AHEAD), found
