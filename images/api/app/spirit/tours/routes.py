"""`/api/v1/tours`: list with filters, one by its id; guides add and change, admins remove."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Query, Request, Response

from spirit.auth.identity import Admin, Db, Staff
from spirit.cache import Cache
from spirit.routing import api_router
from spirit.tours.catalogue import Catalogue, TourFilter
from spirit.tours.live import Live
from spirit.tours.pictures import Pictures
from spirit.tours.tour import Availability, Picture, Seats, Theme, Tour, TourPage

router = api_router("/tours", "tours")


async def catalogue(database: Db) -> Catalogue:
    return Catalogue(database)


async def cache(request: Request) -> Cache:
    return request.app.state.tour_cache


async def live(request: Request) -> Live:
    return request.app.state.live


async def pictures(request: Request) -> Pictures:
    found: Pictures | None = request.app.state.pictures
    if found is None:
        raise HTTPException(503, "no place for pictures is configured")
    return found


Tours = Annotated[Catalogue, Depends(catalogue)]
Cached = Annotated[Cache, Depends(cache)]
Id = Annotated[str, Path(max_length=64)]


async def tour_filter(
    theme: Theme | None = None,
    country: Annotated[str | None, Query(pattern="^[A-Z]{2}$")] = None,
    max_days: Annotated[int | None, Query(ge=1, le=365)] = None,
    max_price: Annotated[Decimal | None, Query(ge=0)] = None,
    # PostgreSQL's texts cannot hold a NUL.
    text: Annotated[
        str | None, Query(alias="q", min_length=2, max_length=80, pattern=r"^[^\x00]*$")
    ] = None,
) -> TourFilter:
    return TourFilter(theme, country, max_days, max_price, text)


def unknown(tour_id: str) -> HTTPException:
    return HTTPException(status_code=404, detail=f"there is no tour {tour_id!r}")


@router.get("")
async def list_tours(
    source: Tours,
    cached: Cached,
    wanted: Annotated[TourFilter, Depends(tour_filter)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> TourPage:
    return await cached.get(
        f"list:{limit}:{offset}:{wanted.key()}",
        TourPage,
        lambda: source.find(wanted, limit, offset),
    )


@router.get("/{tour_id}")
async def get_tour(tour_id: Id, source: Tours, cached: Cached) -> Tour:
    async def load() -> Tour:
        tour = await source.get(tour_id)
        if tour is None:
            raise unknown(tour_id)
        return tour

    return await cached.get(f"one:{tour_id}", Tour, load)


@router.post("", status_code=201)
async def create_tour(
    tour: Tour, _: Staff, source: Tours, cached: Cached, response: Response
) -> Tour:
    if not await source.add(tour):
        raise HTTPException(409, f"there is a tour {tour.id!r}")
    await source.session.commit()
    await cached.forget()
    response.headers["location"] = f"/api/v1/tours/{tour.id}"
    return await shown(source, tour.id)


@router.put("/{tour_id}")
async def replace_tour(
    tour_id: Id,
    tour: Tour,
    _: Staff,
    source: Tours,
    cached: Cached,
    news: Annotated[Live, Depends(live)],
) -> Tour:
    if tour.id != tour_id:
        raise HTTPException(422, "a tour keeps its id")
    if not await source.replace(tour):
        raise unknown(tour_id)
    await source.session.commit()
    await cached.forget()
    await news.publish(await source.availability(tour_id))
    return await shown(source, tour_id)


@router.delete("/{tour_id}", status_code=204)
async def delete_tour(tour_id: Id, _: Admin, source: Tours, cached: Cached) -> None:
    if not await source.remove(tour_id):
        raise unknown(tour_id)
    await source.session.commit()
    await cached.forget()


async def shown(source: Catalogue, tour_id: str) -> Tour:
    """As it is now in the database."""
    source.session.expire_all()
    tour = await source.get(tour_id)
    if tour is None:
        raise unknown(tour_id)
    return tour


@router.get("/{tour_id}/availability")
async def availability(tour_id: Id, source: Tours) -> Availability:
    found = await source.availability(tour_id)
    if found is None:
        raise unknown(tour_id)
    return found


@router.put("/{tour_id}/departures/{day}")
async def set_seats(
    tour_id: Id,
    day: date,
    wanted: Seats,
    _: Staff,
    source: Tours,
    news: Annotated[Live, Depends(live)],
) -> Availability:
    if not await source.set_seats(tour_id, day, wanted.seats):
        raise HTTPException(404, f"tour {tour_id!r} does not depart on {day}")
    # Told only when it is true for everyone.
    await source.session.commit()
    found = await availability(tour_id, source)
    await news.publish(found)
    return found


@router.get("/{tour_id}/picture")
async def picture(
    tour_id: Id, source: Tours, place: Annotated[Pictures, Depends(pictures)]
) -> Picture:
    if await source.get(tour_id) is None:
        raise unknown(tour_id)
    return await place.to_read(tour_id)


@router.post("/{tour_id}/picture")
async def new_picture(
    tour_id: Id, _: Staff, source: Tours, place: Annotated[Pictures, Depends(pictures)]
) -> Picture:
    """An address to PUT a JPEG to, straight into the bucket."""
    if await source.get(tour_id) is None:
        raise unknown(tour_id)
    return await place.to_write(tour_id)
