"""What travels: requests and answers of the reviews' routes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from spirit.database.tables import Review


class Status(StrEnum):
    PENDING = "pending"
    PUBLISHED = "published"
    REJECTED = "rejected"


class ReviewInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rating: int = Field(ge=1, le=5)
    text: Annotated[
        str,
        StringConstraints(
            # PostgreSQL's texts cannot hold a NUL.
            strip_whitespace=True,
            min_length=1,
            max_length=4000,
            pattern=r"^[^\x00]*$",
        ),
    ]


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Status


class ReviewView(BaseModel):
    id: UUID
    tour: str
    author: str = Field(description="the name that the author goes by")
    rating: int
    text: str
    status: Status
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Review) -> "ReviewView":
        return cls(
            id=row.id,
            tour=row.tour_id,
            author=row.author.name,
            rating=row.rating,
            text=row.text,
            status=Status(row.status),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class ReviewPage(BaseModel):
    total: int
    limit: int
    offset: int
    items: list[ReviewView]
