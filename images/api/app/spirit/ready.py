"""Readiness: can this process do its work? 503 names the part that cannot.

For the deploy tool and for people, not for restarts: a database that is away is no reason to end
a process (that is `/health`).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from pydantic import BaseModel
from sqlalchemy import text

from spirit.database.engine import Database
from spirit.database.migrations import HEAD, Schema, state_of_schema
from spirit.routing import operations_router
from spirit.version import VERSION

router = operations_router()
log = logging.getLogger("spirit.ready")
PATIENCE_SECONDS = 3.0


class Check(BaseModel):
    ok: bool
    detail: str
    milliseconds: float


class Readiness(BaseModel):
    status: str
    version: str = VERSION
    checks: dict[str, Check]


class NotReady(Exception):
    """With the sentence that a client may read."""


async def database(request: Request) -> str:
    source: Database = request.app.state.database
    async with source.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return "answers"


async def migrations(request: Request) -> str:
    source: Database = request.app.state.database
    async with source.engine.connect() as connection:
        state, found = await state_of_schema(connection)
    if state is Schema.BEHIND:
        raise NotReady(
            f"the database is at {found or 'no revision'}, this version wants {HEAD}: "
            "run `python -m alembic -c /app/alembic.ini upgrade head`"
        )
    return f"at {found}" if state is Schema.CURRENT else f"at {found}, ahead of {HEAD}"


async def redis(request: Request) -> str:
    await request.app.state.redis.ping()
    return "answers"


CHECKS = {"database": database, "migrations": migrations, "redis": redis}


async def checked(name: str, check: Callable[[Request], Awaitable[str]], request: Request) -> Check:
    start = time.perf_counter()
    ok = False
    try:
        detail = await asyncio.wait_for(check(request), PATIENCE_SECONDS)
        ok = True
    except NotReady as error:
        detail = str(error)
    except Exception as error:
        # The reason names hosts and users: it goes to the log.
        detail = "does not answer"
        log.warning("%s: %s", name, error or type(error).__name__)
    return Check(ok=ok, detail=detail, milliseconds=round((time.perf_counter() - start) * 1000, 2))


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(request: Request, response: Response) -> Readiness:
    found = await asyncio.gather(*(checked(name, each, request) for name, each in CHECKS.items()))
    checks = dict(zip(CHECKS, found, strict=True))
    failed = [name for name, check in checks.items() if not check.ok]
    response.headers["cache-control"] = "no-store"
    if failed:
        response.status_code = 503
        return Readiness(status=f"not ready: {', '.join(failed)}", checks=checks)
    return Readiness(status="ready", checks=checks)
