"""Where tours come from.

Routes know only `Catalogue`. Today it is a file in the package, read once; a database takes its
place without a change to them.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from spirit.tours.tour import Theme, Tour

TOURS = TypeAdapter(list[Tour])


@dataclass(frozen=True)
class TourFilter:
    """What a client asks for; `None` asks for nothing. Limits are inclusive."""

    theme: Theme | None = None
    country: str | None = None
    max_days: int | None = None
    max_price: Decimal | None = None
    text: str | None = None

    def admits(self, tour: Tour) -> bool:
        if self.theme is not None and tour.theme != self.theme:
            return False
        if self.country is not None and tour.country != self.country:
            return False
        if self.max_days is not None and tour.days > self.max_days:
            return False
        if self.max_price is not None and tour.price.amount > self.max_price:
            return False
        if self.text is not None:
            return self.text.casefold() in f"{tour.title}\n{tour.summary}".casefold()
        return True


class Catalogue(Protocol):
    async def find(self, wanted: TourFilter) -> list[Tour]:
        """Every tour that the filter admits, by title."""

    async def get(self, tour_id: str) -> Tour | None:
        """The tour of that id, or `None`."""


class CatalogueError(RuntimeError):
    """The file with the tours contradicts itself."""


class JsonCatalogue:
    def __init__(self, tours: list[Tour]) -> None:
        self._by_id = {tour.id: tour for tour in tours}
        if len(self._by_id) != len(tours):
            raise CatalogueError("two tours have the same id")
        self._sorted = sorted(tours, key=lambda tour: (tour.title, tour.id))

    @classmethod
    def read(cls, path: Path) -> "JsonCatalogue":
        return cls(TOURS.validate_json(path.read_bytes()))

    async def find(self, wanted: TourFilter) -> list[Tour]:
        return [tour for tour in self._sorted if wanted.admits(tour)]

    async def get(self, tour_id: str) -> Tour | None:
        return self._by_id.get(tour_id)
