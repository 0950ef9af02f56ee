"""`/api/v1/tours`: list with filters, and one by its id."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request

from spirit.tours.catalogue import Catalogue, TourFilter
from spirit.tours.tour import Theme, Tour, TourPage

router = APIRouter()


def catalogue(request: Request) -> Catalogue:
    return request.app.state.catalogue


def tour_filter(
    theme: Theme | None = None,
    country: Annotated[str | None, Query(pattern="^[A-Z]{2}$")] = None,
    max_days: Annotated[int | None, Query(ge=1)] = None,
    max_price: Annotated[Decimal | None, Query(ge=0)] = None,
    text: Annotated[str | None, Query(alias="q", min_length=2, max_length=80)] = None,
) -> TourFilter:
    return TourFilter(theme, country, max_days, max_price, text)


@router.get("")
async def list_tours(
    source: Annotated[Catalogue, Depends(catalogue)],
    wanted: Annotated[TourFilter, Depends(tour_filter)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> TourPage:
    found = await source.find(wanted)
    return TourPage(
        total=len(found), limit=limit, offset=offset, items=found[offset : offset + limit]
    )


@router.get("/{tour_id}")
async def get_tour(tour_id: str, source: Annotated[Catalogue, Depends(catalogue)]) -> Tour:
    tour = await source.get(tour_id)
    if tour is None:
        raise HTTPException(status_code=404, detail=f"there is no tour {tour_id!r}")
    return tour
