"""`/api/v1/analytics`: aggregates. For the role admin, logged in or by an API key."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import Query, Response
from pydantic import BaseModel
from sqlalchemy import Date, cast, func, select

from spirit.auth.identity import Admin, Db
from spirit.database.tables import Departure, Review, TourRow, User
from spirit.reviews.shapes import Status
from spirit.routing import api_router

router = api_router("/analytics", "analytics")
PUBLISHED = Review.status == Status.PUBLISHED


class Overview(BaseModel):
    users_by_role: dict[str, int]
    users_new_30_days: int
    tours: int
    reviews_by_status: dict[str, int]
    average_rating: Decimal | None


class TourNumbers(BaseModel):
    tour: str
    title: str
    reviews: int
    average_rating: Decimal | None
    seats: int


class Day(BaseModel):
    day: date
    reviews: int
    average_rating: Decimal


@router.get("/overview")
async def overview(_: Admin, database: Db, response: Response) -> Overview:
    response.headers["cache-control"] = "no-store"
    month = datetime.now(UTC) - timedelta(days=30)
    roles = await database.execute(select(User.role, func.count()).group_by(User.role))
    states = await database.execute(select(Review.status, func.count()).group_by(Review.status))
    new = select(func.count()).select_from(User).where(User.created_at >= month)
    average = select(func.round(func.avg(Review.rating), 2)).where(PUBLISHED)
    return Overview(
        users_by_role=dict(roles.tuples().all()),
        users_new_30_days=await database.scalar(new),
        tours=await database.scalar(select(func.count()).select_from(TourRow)),
        reviews_by_status=dict(states.tuples().all()),
        average_rating=await database.scalar(average),
    )


@router.get("/tours")
async def tours(
    _: Admin, database: Db, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[TourNumbers]:
    """The best reviewed first. Counted apart from each other: a join would multiply."""
    reviews = (
        select(
            Review.tour_id,
            func.count().label("reviews"),
            func.round(func.avg(Review.rating), 2).label("average"),
        )
        .where(PUBLISHED)
        .group_by(Review.tour_id)
        .subquery()
    )
    seats = (
        select(Departure.tour_id, func.sum(Departure.seats).label("seats"))
        .group_by(Departure.tour_id)
        .subquery()
    )
    rows = await database.execute(
        select(
            TourRow.id,
            TourRow.title,
            func.coalesce(reviews.c.reviews, 0),
            reviews.c.average,
            func.coalesce(seats.c.seats, 0),
        )
        .outerjoin(reviews, reviews.c.tour_id == TourRow.id)
        .outerjoin(seats, seats.c.tour_id == TourRow.id)
        .order_by(reviews.c.average.desc().nulls_last(), TourRow.id)
        .limit(limit)
    )
    names = tuple(TourNumbers.model_fields)
    return [TourNumbers(**dict(zip(names, row, strict=True))) for row in rows]


@router.get("/reviews")
async def reviews(
    _: Admin, database: Db, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> list[Day]:
    """Published reviews by day (UTC); days without one are left out."""
    day = cast(func.timezone("UTC", Review.created_at), Date)
    rows = await database.execute(
        select(day, func.count(), func.round(func.avg(Review.rating), 2))
        .where(PUBLISHED, Review.created_at >= datetime.now(UTC) - timedelta(days=days))
        .group_by(day)
        .order_by(day)
    )
    return [Day(day=each, reviews=count, average_rating=mean) for each, count, mean in rows]
