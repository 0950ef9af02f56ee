"""Tours in the database: found by what a client asks for, added, replaced, removed."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from spirit.database.tables import Departure, TourRow
from spirit.tours.tour import Availability, Free, Price, Theme, Tour, TourPage


@dataclass(frozen=True)
class TourFilter:
    """What a client asks for; `None` asks for nothing. Limits are inclusive."""

    theme: Theme | None = None
    country: str | None = None
    max_days: int | None = None
    max_price: Decimal | None = None
    text: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.theme is not None:
            found.append(TourRow.theme == self.theme)
        if self.country is not None:
            found.append(TourRow.country == self.country)
        if self.max_days is not None:
            found.append(TourRow.days <= self.max_days)
        if self.max_price is not None:
            found.append(TourRow.price_amount <= self.max_price)
        if self.text is not None:
            both = TourRow.title + "\n" + TourRow.summary
            # autoescape: a client's % and _ are letters.
            found.append(both.icontains(self.text, autoescape=True))
        return found

    def key(self) -> str:
        """Of the cache."""
        return repr((self.theme, self.country, self.max_days, self.max_price, self.text))


def tour_of(row: TourRow) -> Tour:
    return Tour(
        id=row.id,
        title=row.title,
        summary=row.summary,
        country=row.country,
        theme=Theme(row.theme),
        days=row.days,
        price=Price(amount=row.price_amount, currency=row.price_currency),
        departures=[each.day for each in row.departures],
    )


def columns_of(tour: Tour) -> dict[str, object]:
    return {
        "title": tour.title,
        "summary": tour.summary,
        "country": tour.country,
        "theme": tour.theme.value,
        "days": tour.days,
        "price_amount": tour.price.amount,
        "price_currency": tour.price.currency,
    }


class Catalogue:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def find(self, wanted: TourFilter, limit: int, offset: int) -> TourPage:
        """A page of the tours that the filter admits, by title."""
        conditions = wanted.conditions()
        total = await self.session.scalar(
            select(func.count()).select_from(TourRow).where(*conditions)
        )
        rows = await self.session.scalars(
            select(TourRow)
            .where(*conditions)
            .order_by(TourRow.title, TourRow.id)
            .limit(limit)
            .offset(offset)
        )
        items = [tour_of(row) for row in rows]
        return TourPage(total=total, limit=limit, offset=offset, items=items)

    async def get(self, tour_id: str) -> Tour | None:
        row = await self.session.get(TourRow, tour_id)
        return tour_of(row) if row else None

    async def add(self, tour: Tour) -> bool:
        """`False` if there is a tour of that id."""
        added = await self.session.scalar(
            insert(TourRow)
            .values(id=tour.id, **columns_of(tour))
            .on_conflict_do_nothing()
            .returning(TourRow.id)
        )
        if added is None:
            return False
        self.session.add_all(
            Departure(tour_id=tour.id, day=day) for day in sorted(set(tour.departures))
        )
        await self.session.flush()
        return True

    async def replace(self, tour: Tour) -> bool:
        """Departures that stay keep their seats. `False` if there is no such tour."""
        row = await self.session.get(TourRow, tour.id, with_for_update=True)
        if row is None:
            return False
        for name, value in columns_of(tour).items():
            setattr(row, name, value)
        kept = {each.day: each for each in row.departures}
        row.departures = [
            kept.get(day) or Departure(tour_id=tour.id, day=day)
            for day in sorted(set(tour.departures))
        ]
        await self.session.flush()
        return True

    async def remove(self, tour_id: str) -> bool:
        row = await self.session.get(TourRow, tour_id)
        if row is None:
            return False
        await self.session.delete(row)
        await self.session.flush()
        return True

    async def availability(self, tour_id: str) -> Availability | None:
        row = await self.session.get(TourRow, tour_id)
        if row is None:
            return None
        free = [Free(day=each.day, seats=each.seats) for each in row.departures]
        return Availability(tour=tour_id, departures=free)

    async def set_seats(self, tour_id: str, day: date, seats: int) -> bool:
        departure = await self.session.get(Departure, (tour_id, day), with_for_update=True)
        if departure is None:
            return False
        departure.seats = seats
        await self.session.flush()
        return True
