"""`/api/v1/users`: for admins, who sees all accounts, gives roles and closes accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Query
from sqlalchemy import func, select

from spirit.auth.identity import Admin, Db, sessions
from spirit.auth.sessions import Sessions
from spirit.auth.shapes import Account, AccountChange, AccountPage
from spirit.database.tables import User
from spirit.routing import api_router

router = api_router("/users", "users")


@router.get("")
async def list_users(
    _: Admin,
    database: Db,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> AccountPage:
    total = await database.scalar(select(func.count()).select_from(User))
    found = await database.scalars(
        select(User).order_by(User.created_at, User.id).limit(limit).offset(offset)
    )
    items = [Account.model_validate(each) for each in found]
    return AccountPage(total=total, limit=limit, offset=offset, items=items)


@router.patch("/{user_id}")
async def change_user(
    user_id: UUID,
    wanted: AccountChange,
    who: Admin,
    database: Db,
    opened: Annotated[Sessions, Depends(sessions)],
) -> Account:
    if user_id == who.user.id:
        raise HTTPException(409, "nobody changes their own role: there might be no admin left")
    user = await database.get(User, user_id)
    if user is None:
        raise HTTPException(404, "there is no such account")
    if wanted.role is not None:
        user.role = wanted.role
    if wanted.disabled is not None:
        user.disabled = wanted.disabled
    if user.disabled:
        await opened.end_all(user.id)
    await database.flush()
    return Account.model_validate(user)
