"""`/api/v1/tours/ID/reviews` and `/api/v1/reviews`: write, read, change, judge."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Query, Request, Response
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from spirit.auth.identity import Anybody, Db, Identity, Person, Somebody, Staff
from spirit.auth.shapes import Role
from spirit.database.tables import Review, TourRow
from spirit.reviews.shapes import ReviewInput, ReviewPage, ReviewView, Status, Verdict
from spirit.routing import api_router
from spirit.tours.routes import Id, unknown

router = api_router("", "reviews")
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


async def first_status(request: Request) -> Status:
    """What a text begins as, new or changed."""
    moderated = request.app.state.settings.feature_review_moderation
    return Status.PENDING if moderated else Status.PUBLISHED


FirstStatus = Annotated[Status, Depends(first_status)]


def is_staff(who: Identity) -> bool:
    return who.user.role in (Role.GUIDE, Role.ADMIN)


async def page(
    database: AsyncSession, limit: int, offset: int, *conditions: ColumnElement[bool]
) -> ReviewPage:
    """The newest first."""
    total = await database.scalar(select(func.count()).select_from(Review).where(*conditions))
    rows = await database.scalars(
        select(Review)
        .where(*conditions)
        .order_by(Review.created_at.desc(), Review.id)
        .limit(limit)
        .offset(offset)
    )
    items = [ReviewView.of(row) for row in rows]
    return ReviewPage(total=total, limit=limit, offset=offset, items=items)


async def found(review_id: UUID, who: Identity | None, database: AsyncSession) -> Review:
    """A review that this client may see: published, or their own, or for staff."""
    row = await database.get(Review, review_id)
    visible = row is not None and (
        row.status == Status.PUBLISHED
        or (who is not None and (who.user.id == row.user_id or is_staff(who)))
    )
    if row is None or not visible:
        raise HTTPException(404, "there is no such review")
    return row


@router.get("/tours/{tour_id}/reviews")
async def reviews_of_tour(
    tour_id: Id, database: Db, limit: Limit = 20, offset: Offset = 0
) -> ReviewPage:
    if await database.get(TourRow, tour_id) is None:
        raise unknown(tour_id)
    return await page(
        database, limit, offset, Review.tour_id == tour_id, Review.status == Status.PUBLISHED
    )


@router.post("/tours/{tour_id}/reviews", status_code=201)
async def write_review(
    tour_id: Id,
    wanted: ReviewInput,
    who: Person,
    status: FirstStatus,
    database: Db,
    response: Response,
) -> ReviewView:
    if await database.get(TourRow, tour_id) is None:
        raise unknown(tour_id)
    review_id = await database.scalar(
        insert(Review)
        .values(
            tour_id=tour_id,
            user_id=who.user.id,
            rating=wanted.rating,
            text=wanted.text,
            status=status,
        )
        .on_conflict_do_nothing(index_elements=[Review.user_id, Review.tour_id])
        .returning(Review.id)
    )
    if review_id is None:
        raise HTTPException(409, "you have reviewed this tour; change that review")
    response.headers["location"] = f"/api/v1/reviews/{review_id}"
    return ReviewView.of(await database.get_one(Review, review_id))


@router.get("/reviews")
async def reviews(
    _: Staff,
    database: Db,
    status: Status | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> ReviewPage:
    """For those who judge them."""
    conditions = [] if status is None else [Review.status == status]
    return await page(database, limit, offset, *conditions)


@router.get("/reviews/mine")
async def my_reviews(
    who: Somebody, database: Db, limit: Limit = 20, offset: Offset = 0
) -> ReviewPage:
    return await page(database, limit, offset, Review.user_id == who.user.id)


@router.get("/reviews/{review_id}")
async def review(review_id: UUID, who: Anybody, database: Db) -> ReviewView:
    return ReviewView.of(await found(review_id, who, database))


@router.put("/reviews/{review_id}")
async def change_review(
    review_id: UUID, wanted: ReviewInput, who: Person, status: FirstStatus, database: Db
) -> ReviewView:
    row = await found(review_id, who, database)
    if row.user_id != who.user.id:
        raise HTTPException(403, "only its author changes a review")
    row.rating, row.text = wanted.rating, wanted.text
    # What was judged is no longer what stands there.
    row.status, row.moderated_by = status, None
    await database.flush()
    await database.refresh(row)
    return ReviewView.of(row)


@router.put("/reviews/{review_id}/status")
async def judge_review(review_id: UUID, wanted: Verdict, who: Staff, database: Db) -> ReviewView:
    row = await found(review_id, who, database)
    if row.user_id == who.user.id:
        raise HTTPException(403, "nobody judges their own review")
    row.status, row.moderated_by = wanted.status, who.user.id
    await database.flush()
    await database.refresh(row)
    return ReviewView.of(row)


@router.delete("/reviews/{review_id}", status_code=204)
async def delete_review(review_id: UUID, who: Person, database: Db) -> None:
    row = await found(review_id, who, database)
    if row.user_id != who.user.id and who.user.role != Role.ADMIN:
        raise HTTPException(403, "only its author or an admin deletes a review")
    await database.delete(row)
