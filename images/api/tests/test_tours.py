import pytest

from conftest import TOURS, tour

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
        # Letters to us, not patterns, and certainly not SQL.
        ("q=%25%25", []),
        ("q=__", []),
        ("q=' OR 1=1 --", []),
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
    [
        "limit=0",
        "limit=101",
        "offset=-1",
        "theme=party",
        "country=es",
        "max_days=0",
        "q=x",
        "q=x%00y",
    ],
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


def test_a_guide_adds_a_tour_that_everyone_sees(client, guide):
    wanted = tour("new", title="A new one", departures=["2027-07-01", "2027-06-01"])
    assert ids(client.get(f"{URL}?q=new")) == []
    answer = guide.ask("POST", URL, json=wanted)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{URL}/new"
    kept = wanted | {"departures": ["2027-06-01", "2027-07-01"]}
    assert answer.json() == kept == client.get(f"{URL}/new").json()
    assert ids(client.get(f"{URL}?q=new")) == ["new"]


def test_an_id_is_taken_once(guide):
    answer = guide.ask("POST", URL, json=tour("walk"))
    assert (answer.status_code, answer.json()["detail"]) == (409, "there is a tour 'walk'")


def test_a_change_reaches_readers_at_once_despite_the_cache(client, guide, store):
    assert client.get(f"{URL}/walk").json()["title"] == "A walk"
    assert ids(client.get(URL))[0] == "walk"
    assert any(":one:walk" in key for key in store.keys("spirit:cache:*"))
    changed = tour("walk", title="Z walk", departures=["2027-05-01", "2028-05-01"])
    assert guide.ask("PUT", f"{URL}/walk", json=changed).json() == changed
    assert client.get(f"{URL}/walk").json() == changed
    assert ids(client.get(URL))[-1] == "walk"


def test_departures_that_stay_keep_their_seats(client, guide):
    guide.ask("PUT", f"{URL}/walk/departures/2027-05-01", json={"seats": 3})
    guide.ask("PUT", f"{URL}/walk", json=tour("walk", departures=["2027-05-01", "2027-06-01"]))
    assert client.get(f"{URL}/walk/availability").json() == {
        "tour": "walk",
        "departures": [{"day": "2027-05-01", "seats": 3}, {"day": "2027-06-01", "seats": 12}],
    }
    guide.ask("PUT", f"{URL}/walk", json=tour("walk", departures=["2027-06-01"]))
    assert client.get(f"{URL}/walk/availability").json()["departures"] == [
        {"day": "2027-06-01", "seats": 12}
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/walk", tour("other"), 422),
        ("PUT", "/nowhere", tour("nowhere"), 404),
        ("DELETE", "/nowhere", None, 404),
        ("PUT", "/walk/departures/2030-01-01", {"seats": 1}, 404),
        ("PUT", "/walk/departures/2027-05-01", {"seats": -1}, 422),
        ("PUT", "/walk/departures/today", {"seats": 1}, 422),
        ("POST", "", tour("Bad Id"), 422),
        ("POST", "", tour("free", price={"amount": "-1", "currency": "EUR"}), 422),
        ("POST", "", tour("typo", titel="x"), 422),
        ("POST", "", tour("nul", title="a\0b"), 422),
    ],
)
def test_what_cannot_be_is_refused(client, admin, method, path, body, status):
    answer = admin.ask(method, f"{URL}{path}", json=body)
    assert answer.status_code == status, answer.text
    assert client.get(URL).json()["total"] == 4


def test_an_admin_removes_a_tour_with_its_reviews(client, admin, traveller, sql):
    traveller.review("walk")
    assert client.get(f"{URL}/walk").status_code == 200
    assert admin.ask("DELETE", f"{URL}/walk").status_code == 204
    assert client.get(f"{URL}/walk").status_code == 404
    assert sql.execute("SELECT count(*) FROM reviews").fetchone() == (0,)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", tour("x")),
        ("PUT", "/walk", tour("walk")),
        ("PUT", "/walk/departures/2027-05-01", {"seats": 1}),
        ("DELETE", "/walk", None),
        ("POST", "/walk/picture", None),
    ],
)
def test_changes_take_a_role(start, account, method, path, body):
    client = start(s3_assets_bucket="assets")
    assert client.request(method, f"{URL}{path}", json=body).status_code == 401
    traveller = account(client)
    answer = traveller.ask(method, f"{URL}{path}", json=body)
    assert answer.status_code == 403
    assert "role" in answer.json()["detail"]


def test_a_guide_does_not_delete(guide):
    assert guide.ask("DELETE", f"{URL}/walk").status_code == 403
