"""Connections to PostgreSQL: how they are kept, counted and handed to routes."""

from collections.abc import AsyncIterator

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from spirit.database.connection import connect_arguments, database_url
from spirit.metrics import Metrics
from spirit.settings import DatabaseSettings


class Database:
    """A pool of connections that fills on demand up to `DATABASE_POOL_SIZE`, and no further.

    A request that finds all of them busy waits `DATABASE_POOL_TIMEOUT`, then is told 503.
    """

    def __init__(self, settings: DatabaseSettings, metrics: Metrics) -> None:
        self.engine = create_async_engine(
            database_url(settings),
            pool_size=settings.database_pool_size,
            max_overflow=0,
            pool_timeout=settings.database_pool_timeout.total_seconds(),
            pool_recycle=settings.database_pool_recycle.total_seconds(),
            # After a failover every kept connection is dead, and nobody has told us.
            pool_pre_ping=True,
            connect_args=connect_arguments(settings),
        )
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        metrics.watch_database(self.engine.sync_engine, settings.database_pool_size)

    async def close(self) -> None:
        await self.engine.dispose()


async def session(request: Request) -> AsyncIterator[AsyncSession]:
    """One transaction for one request: committed before the answer leaves, undone on an error."""
    database: Database = request.app.state.database
    async with database.sessions() as opened:
        yield opened
        await opened.commit()
