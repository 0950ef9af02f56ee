"""API keys, for programs. A key acts with the role of the user who made it.

`st_` and 32 random bytes. Only a SHA-256 of it is kept: nothing that random can be guessed from its
hash, so a slow one would protect nothing. The key itself is shown once.
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from spirit.database.tables import ApiKey, User

PREFIX = "st_"
SHOWN = 11


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def create(
    session: AsyncSession, user_id: UUID, name: str, days: int | None
) -> tuple[ApiKey, str]:
    key = PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        user_id=user_id,
        name=name,
        prefix=key[:SHOWN],
        digest=digest(key),
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
    )
    session.add(row)
    await session.flush()
    return row, key


async def list_of(session: AsyncSession, user_id: UUID) -> list[ApiKey]:
    """Those that work or have expired; revoked ones are gone."""
    found = await session.scalars(
        select(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .order_by(ApiKey.created_at, ApiKey.id)
    )
    return list(found)


async def revoke(session: AsyncSession, user_id: UUID, key_id: UUID) -> bool:
    revoked = await session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return revoked.rowcount == 1


async def owner(session: AsyncSession, key: str) -> User | None:
    """Whose key it is, if it still works."""
    if not key.startswith(PREFIX):
        return None
    return await session.scalar(
        select(User)
        .join(ApiKey, ApiKey.user_id == User.id)
        .where(
            ApiKey.digest == digest(key),
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
        )
    )
