"""What travels: requests and answers of `/api/v1/auth` and `/api/v1/users`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, StringConstraints


class Role(StrEnum):
    TRAVELLER = "traveller"
    GUIDE = "guide"
    ADMIN = "admin"


# Longer ones would only make us hash more.
Password = Annotated[str, StringConstraints(max_length=128)]
Email = Annotated[EmailStr, AfterValidator(str.lower)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Registration(Input):
    email: Email
    name: Name
    password: Password


class Login(Input):
    email: Email
    password: Password


class Refresh(Input):
    refresh_token: str = Field(max_length=2048)


class TokenPair(BaseModel):
    """As OAuth 2 has it (RFC 6749, 5.1)."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_in: int = Field(description="seconds that the access token lasts")


class Account(Row):
    id: UUID
    email: str
    name: str
    role: Role
    created_at: datetime


class AccountPage(BaseModel):
    total: int
    limit: int
    offset: int
    items: list[Account]


class AccountChange(Input):
    role: Role | None = None
    disabled: bool | None = None


class SessionView(BaseModel):
    id: str
    opened: datetime
    client: str
    current: bool


class NewApiKey(Input):
    name: Name
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class ApiKeyView(Row):
    id: UUID
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None


class ApiKeyMade(ApiKeyView):
    key: str = Field(description="shown this once")
