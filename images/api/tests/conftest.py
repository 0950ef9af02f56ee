import json
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

# The folder that the tests import from is what goes into the image.
sys.dont_write_bytecode = True

from spirit.application import create_app  # noqa: E402
from spirit.settings import Settings  # noqa: E402


def tour(tour_id, **changes):
    """A tour as the file holds it; a test names only what it is about."""
    return {
        "id": tour_id,
        "title": f"Tour {tour_id}",
        "summary": "Somewhere.",
        "country": "ES",
        "theme": "nature",
        "days": 5,
        "price": {"amount": "100.00", "currency": "EUR"},
        "departures": ["2027-05-01"],
    } | changes


TOURS = [
    tour("walk", title="A walk", theme="pilgrimage", days=8),
    tour("temple", title="Temples", country="JP", theme="culture", days=12),
    tour("bay", title="Bay of seals", price={"amount": "250.50", "currency": "EUR"}),
    tour("abbey", title="Old abbey", summary="Silence and SOUP.", theme="retreat", days=3),
]


@pytest.fixture
def tours_file(tmp_path: Path) -> Path:
    file = tmp_path / "tours.json"
    file.write_text(json.dumps(TOURS))
    return file


@pytest.fixture
def client(tours_file: Path) -> TestClient:
    return TestClient(create_app(Settings(tours_file=tours_file)))
