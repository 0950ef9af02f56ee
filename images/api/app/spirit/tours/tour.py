"""A tour as clients see it."""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

TourId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


class Theme(StrEnum):
    PILGRIMAGE = "pilgrimage"
    RETREAT = "retreat"
    NATURE = "nature"
    CULTURE = "culture"


class Frozen(BaseModel):
    """An unknown key is a mistake, of a guide or of ours: refuse it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(Frozen):
    """For one person. The amount travels as a string: JSON numbers lose cents."""

    amount: Decimal = Field(ge=0, max_digits=10, decimal_places=2)
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")


class Tour(Frozen):
    id: TourId
    title: str = Field(min_length=1, max_length=200)
    summary: str = Field(max_length=4000)
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")
    theme: Theme
    days: int = Field(ge=1, le=365)
    price: Price
    departures: list[date] = Field(max_length=200)


class TourPage(BaseModel):
    """One page of a list; `total` counts all matches, not just those on the page."""

    total: int
    limit: int
    offset: int
    items: list[Tour]


class Free(BaseModel):
    day: date
    seats: int


class Availability(BaseModel):
    """How many places each departure has left."""

    tour: str
    departures: list[Free]


class Seats(Frozen):
    seats: int = Field(ge=0, le=1000)


class Picture(BaseModel):
    url: str
    expires_in: int | None = Field(description="seconds; null if it does not expire")
