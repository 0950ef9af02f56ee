"""`/api/v1/auth`: register, log in, keep going, see and end what is open."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from spirit.auth import api_keys, passwords
from spirit.auth.identity import Db, Person, Somebody, refusal, sessions, tokens
from spirit.auth.sessions import Sessions, new_id
from spirit.auth.shapes import (
    Account,
    ApiKeyMade,
    ApiKeyView,
    Email,
    Login,
    NewApiKey,
    Refresh,
    Registration,
    SessionView,
    TokenPair,
)
from spirit.auth.tokens import BadToken, Claims, Tokens, Use
from spirit.database.tables import User
from spirit.rate_limit import Limiter, client_key
from spirit.routing import api_router

router = api_router("/auth", "auth")
EMAIL = TypeAdapter(Email)
Issued = Annotated[Tokens, Depends(tokens)]
Opened = Annotated[Sessions, Depends(sessions)]


async def no_store(response: Response) -> None:
    """Nothing below this prefix may stay in a cache on the way."""
    response.headers["cache-control"] = "no-store"


@router.post("/register", status_code=201)
async def register(wanted: Registration, request: Request, database: Db) -> Account:
    settings = request.app.state.settings
    if not settings.feature_registration:
        raise HTTPException(403, "registration is closed")
    if len(wanted.password) < settings.password_min_length:
        raise HTTPException(
            422, f"a password has at least {settings.password_min_length} characters"
        )
    added = (
        insert(User)
        .values(
            email=wanted.email,
            name=wanted.name,
            role="traveller",
            disabled=False,
            password_hash=await passwords.hashed(wanted.password),
        )
        # Of two at the same moment one finds the other here.
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(User)
    )
    user = await database.scalar(added)
    if user is None:
        raise HTTPException(409, "there is an account with this e-mail address")
    return Account.model_validate(user)


async def open_session(
    email: str, password: str, request: Request, database: Db, issued: Tokens, opened: Sessions
) -> TokenPair:
    limiter: Limiter = request.app.state.limiter
    client = client_key(request)
    # By address and account: whoever guesses a person's password does not lock the person out.
    await limiter.demand("login", client, email)
    user = await database.scalar(select(User).where(User.email == email))
    good = await passwords.matches(password, user.password_hash if user else None)
    logins = request.app.state.metrics.logins
    if user is None or not good or user.disabled:
        logins.labels("refused").inc()
        raise refusal("e-mail address or password is wrong")
    logins.labels("accepted").inc()
    if passwords.needs_rehash(user.password_hash):
        user.password_hash = await passwords.hashed(password)
    refresh_id = new_id()
    session_id = await opened.open(user.id, refresh_id, client)
    return pair(issued, user.id, session_id, refresh_id)


def pair(issued: Tokens, user_id: UUID, session_id: str, refresh_id: str) -> TokenPair:
    return TokenPair(
        access_token=issued.issue(Use.ACCESS, Claims(user_id, session_id, new_id())),
        refresh_token=issued.issue(Use.REFRESH, Claims(user_id, session_id, refresh_id)),
        expires_in=int(issued.lifetime(Use.ACCESS).total_seconds()),
    )


@router.post("/login", dependencies=[Depends(no_store)])
async def login(
    wanted: Login, request: Request, database: Db, issued: Issued, opened: Opened
) -> TokenPair:
    return await open_session(wanted.email, wanted.password, request, database, issued, opened)


@router.post("/token", dependencies=[Depends(no_store)])
async def token(
    form: Annotated[OAuth2PasswordRequestForm, Depends()],
    request: Request,
    database: Db,
    issued: Issued,
    opened: Opened,
) -> TokenPair:
    """The same as a form, as OAuth 2 clients send it."""
    try:
        email = EMAIL.validate_python(form.username)
    except ValidationError:
        raise refusal("e-mail address or password is wrong") from None
    return await open_session(email, form.password[:128], request, database, issued, opened)


@router.post("/refresh", dependencies=[Depends(no_store)])
async def refresh(wanted: Refresh, database: Db, issued: Issued, opened: Opened) -> TokenPair:
    try:
        claims = issued.read(Use.REFRESH, wanted.refresh_token)
    except BadToken as error:
        raise refusal(str(error)) from None
    user = await database.get(User, claims.user_id)
    if user is None or user.disabled:
        raise refusal("there is no such account, or it is disabled")
    refresh_id = new_id()
    if not await opened.rotate(claims.session_id, user.id, claims.token_id, refresh_id):
        raise refusal("the session has ended")
    return pair(issued, user.id, claims.session_id, refresh_id)


@router.post("/logout", status_code=204)
async def logout(who: Person, opened: Opened) -> None:
    await opened.end(who.session_id, who.user.id)


@router.get("/me")
async def me(who: Somebody) -> Account:
    return Account.model_validate(who.user)


@router.delete("/me", status_code=204)
async def delete_me(who: Person, database: Db, opened: Opened) -> None:
    """The account and all that hangs on it: reviews, API keys, sessions."""
    await opened.end_all(who.user.id)
    await database.delete(who.user)


@router.get("/sessions", dependencies=[Depends(no_store)])
async def list_sessions(who: Person, opened: Opened) -> list[SessionView]:
    return [
        SessionView(
            id=each.id,
            opened=each.opened,
            client=each.client,
            current=each.id == who.session_id,
        )
        for each in await opened.list(who.user.id)
    ]


@router.delete("/sessions", status_code=204)
async def end_all_sessions(who: Person, opened: Opened) -> None:
    await opened.end_all(who.user.id)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(session_id: str, who: Person, opened: Opened) -> None:
    if not await opened.end(session_id, who.user.id):
        raise HTTPException(404, "there is no such session")


@router.post("/api-keys", status_code=201, dependencies=[Depends(no_store)])
async def create_api_key(wanted: NewApiKey, who: Person, database: Db) -> ApiKeyMade:
    row, key = await api_keys.create(database, who.user.id, wanted.name, wanted.expires_in_days)
    await database.refresh(row)
    return ApiKeyMade(**ApiKeyView.model_validate(row).model_dump(), key=key)


@router.get("/api-keys")
async def list_api_keys(who: Person, database: Db) -> list[ApiKeyView]:
    return [
        ApiKeyView.model_validate(each) for each in await api_keys.list_of(database, who.user.id)
    ]


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(key_id: UUID, who: Person, database: Db) -> None:
    if not await api_keys.revoke(database, who.user.id, key_id):
        raise HTTPException(404, "there is no such key")
