"""Dependencies of routes: who asks, and may they?"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer
from sqlalchemy.ext.asyncio import AsyncSession

from spirit.auth import api_keys
from spirit.auth.sessions import Sessions
from spirit.auth.shapes import Role
from spirit.auth.tokens import BadToken, Tokens, Use
from spirit.database.engine import session
from spirit.database.tables import User

# Both only for the header and for OpenAPI: `identity` says what is wrong.
BEARER = OAuth2PasswordBearer("/api/v1/auth/token", auto_error=False)
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False)

Db = Annotated[AsyncSession, Depends(session)]


@dataclass(frozen=True)
class Identity:
    user: User
    # None for an API key.
    session_id: str | None


def refusal(reason: str) -> HTTPException:
    return HTTPException(401, reason, {"www-authenticate": "Bearer"})


async def tokens(request: Request) -> Tokens:
    return request.app.state.tokens


async def sessions(request: Request) -> Sessions:
    return request.app.state.sessions


async def optional_identity(
    database: Db,
    issued: Annotated[Tokens, Depends(tokens)],
    opened: Annotated[Sessions, Depends(sessions)],
    token: Annotated[str | None, Depends(BEARER)] = None,
    key: Annotated[str | None, Depends(API_KEY)] = None,
) -> Identity | None:
    """Nobody if nothing is presented; what is presented must be good."""
    if token:
        try:
            claims = issued.read(Use.ACCESS, token)
        except BadToken as error:
            raise refusal(str(error)) from None
        if not await opened.is_open(claims.session_id, claims.user_id):
            raise refusal("the session has ended")
        user = await database.get(User, claims.user_id)
        session_id = claims.session_id
    elif key:
        user = await api_keys.owner(database, key)
        session_id = None
    else:
        return None
    if user is None:
        raise refusal("there is no such account or key")
    if user.disabled:
        raise refusal("the account is disabled")
    return Identity(user, session_id)


async def identity(
    found: Annotated[Identity | None, Depends(optional_identity)],
) -> Identity:
    if found is None:
        raise refusal("log in, or send an API key")
    return found


async def person(found: Annotated[Identity, Depends(identity)]) -> Identity:
    """Somebody who has logged in: a key must not make keys."""
    if found.session_id is None:
        raise HTTPException(403, "an API key cannot do this; log in")
    return found


def role(*allowed: Role) -> Callable[..., Awaitable[Identity]]:
    async def check(found: Annotated[Identity, Depends(identity)]) -> Identity:
        if found.user.role not in allowed:
            raise HTTPException(403, f"this takes the role {' or '.join(allowed)}")
        return found

    return check


Somebody = Annotated[Identity, Depends(identity)]
Anybody = Annotated[Identity | None, Depends(optional_identity)]
Person = Annotated[Identity, Depends(person)]
Staff = Annotated[Identity, Depends(role(Role.GUIDE, Role.ADMIN))]
Admin = Annotated[Identity, Depends(role(Role.ADMIN))]
