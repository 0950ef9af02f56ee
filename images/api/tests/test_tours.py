import json

import pytest
from pydantic import ValidationError

from conftest import TOURS, tour
from spirit.settings import PACKAGED_TOURS
from spirit.tours.catalogue import CatalogueError, JsonCatalogue

URL = "/api/v1/tours"


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_the_list_is_sorted_by_title(client):
    assert ids(client.get(URL)) == ["walk", "bay", "abbey", "temple"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("theme=culture", ["temple"]),
        ("country=JP", ["temple"]),
        ("max_days=5", ["bay", "abbey"]),
        ("max_price=250.49", ["walk", "abbey", "temple"]),
        ("max_price=250.50", ["walk", "bay", "abbey", "temple"]),
        ("q=soup", ["abbey"]),
        ("q=WALK", ["walk"]),
        ("country=ES&max_days=5&theme=retreat", ["abbey"]),
        ("country=FR", []),
    ],
)
def test_filters_admit_what_they_name(client, query, expected):
    answer = client.get(f"{URL}?{query}")
    assert ids(answer) == expected
    assert answer.json()["total"] == len(expected)


def test_a_page_counts_all_matches(client):
    answer = client.get(f"{URL}?limit=2&offset=1")
    assert ids(answer) == ["bay", "abbey"]
    assert {key: answer.json()[key] for key in ("total", "limit", "offset")} == {
        "total": 4,
        "limit": 2,
        "offset": 1,
    }


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "offset=-1", "theme=party", "country=es", "max_days=0", "q=x"],
)
def test_a_bad_filter_is_named_in_the_answer(client, query):
    answer = client.get(f"{URL}?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=")[0]]


def test_a_tour_is_found_by_its_id(client):
    answer = client.get(f"{URL}/bay")
    assert answer.status_code == 200
    assert answer.json() == next(each for each in TOURS if each["id"] == "bay")


def test_an_unknown_tour_is_a_404(client):
    answer = client.get(f"{URL}/nowhere")
    assert answer.status_code == 404
    assert answer.json() == {"detail": "there is no tour 'nowhere'"}


def test_two_tours_of_one_id_are_refused(tmp_path):
    file = tmp_path / "tours.json"
    file.write_text(json.dumps([tour("twin"), tour("twin")]))
    with pytest.raises(CatalogueError):
        JsonCatalogue.read(file)


def test_an_unknown_key_in_the_file_is_refused(tmp_path):
    file = tmp_path / "tours.json"
    file.write_text(json.dumps([tour("typo", titel="x")]))
    with pytest.raises(ValidationError, match="titel"):
        JsonCatalogue.read(file)


def test_the_packaged_tours_are_valid():
    JsonCatalogue.read(PACKAGED_TOURS)
