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
    """Read from a file we ship, so an unknown key there is our own mistake: refuse it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(Frozen):
    """For one person. The amount travels as a string: JSON numbers lose cents."""

    amount: Decimal = Field(ge=0, decimal_places=2)
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")


class Tour(Frozen):
    id: TourId
    title: str
    summary: str
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")
    theme: Theme
    days: int = Field(ge=1)
    price: Price
    departures: list[date]


class TourPage(BaseModel):
    """One page of a list; `total` counts all matches, not just those on the page."""

    total: int
    limit: int
    offset: int
    items: list[Tour]
