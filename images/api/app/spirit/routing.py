"""Routers with what they share. A prefix and a subject are given here, not when they are included:
so each route is analysed once, when its module is imported, and not again for each application."""

from fastapi import APIRouter
from fastapi.responses import ORJSONResponse

API = "/api/v1"


def api_router(path: str, subject: str) -> APIRouter:
    return APIRouter(prefix=API + path, tags=[subject], default_response_class=ORJSONResponse)


def operations_router() -> APIRouter:
    return APIRouter(tags=["operations"], default_response_class=ORJSONResponse)
