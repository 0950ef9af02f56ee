"""What a client is told when something fails: a status, one sentence, never a trace."""

import logging

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import ORJSONResponse
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from spirit.logs import request_id_of_now

log = logging.getLogger("spirit.errors")
RETRY_SECONDS = "5"


def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> ORJSONResponse:
    return ORJSONResponse({"detail": detail}, status, headers)


def away(part: str, error: Exception) -> ORJSONResponse:
    """503: not the client's fault, not ours, and it may be over soon."""
    log.error("%s is away: %s", part, error)
    return answer(503, f"{part} is away; try again", {"retry-after": RETRY_SECONDS})


def install(app: FastAPI) -> None:
    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(TimeoutError)
    async def database_away(_: Request, error: Exception) -> ORJSONResponse:
        return away("the database", error)

    @app.exception_handler(DBAPIError)
    async def database_refused(_: Request, error: DBAPIError) -> ORJSONResponse:
        if isinstance(error.orig, psycopg.errors.DataError):
            return answer(422, "a value cannot be stored")
        raise error

    @app.exception_handler(RedisError)
    async def redis_away(_: Request, error: Exception) -> ORJSONResponse:
        return away("the session store", error)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> ORJSONResponse:
        return ORJSONResponse(
            {"detail": "internal error", "request_id": request_id_of_now.get()}, 500
        )
