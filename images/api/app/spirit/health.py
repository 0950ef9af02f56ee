"""Liveness: the process answers, and says which version it is.

It asks nothing of any other service: a database that is away must not make the host restart
every replica at once.
"""

from typing import Literal

from fastapi import Response
from pydantic import BaseModel

from spirit.routing import operations_router
from spirit.version import VERSION

router = operations_router()


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    service: str = "spirit"
    version: str = VERSION


@router.get("/health")
async def health(response: Response) -> Health:
    response.headers["cache-control"] = "no-store"
    return Health()
