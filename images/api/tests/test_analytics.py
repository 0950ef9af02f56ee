from datetime import UTC, datetime

import pytest

URL = "/api/v1/analytics"


@pytest.fixture
def reviewed(client, account, sql):
    """Two published reviews of one tour, one of another, and one that nobody judged."""
    for tour_id, rating, status in [
        ("walk", 5, "published"),
        ("walk", 4, "published"),
        ("bay", 3, "published"),
        ("bay", 1, "pending"),
    ]:
        written = account(client).review(tour_id, rating)
        sql.execute("UPDATE reviews SET status = %s WHERE id = %s", (status, written["id"]))


def test_the_overview_counts(admin, guide, reviewed, sql):
    sql.execute("UPDATE users SET created_at = now() - interval '31 days' WHERE role = 'guide'")
    answer = admin.ask("GET", f"{URL}/overview")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "users_by_role": {"admin": 1, "guide": 1, "traveller": 4},
        "users_new_30_days": 5,
        "tours": 4,
        "reviews_by_status": {"published": 3, "pending": 1},
        "average_rating": "4.00",
    }


def test_an_empty_house_has_no_average(admin):
    answer = admin.ask("GET", f"{URL}/overview").json()
    assert (answer["reviews_by_status"], answer["average_rating"]) == ({}, None)


def test_tours_are_compared_the_best_first(admin, reviewed):
    answer = admin.ask("GET", f"{URL}/tours").json()
    assert [
        (each["tour"], each["reviews"], each["average_rating"], each["seats"]) for each in answer
    ] == [("walk", 2, "4.50", 12), ("bay", 1, "3.00", 12), ("abbey", 0, None, 12),
          ("temple", 0, None, 12)]  # fmt: skip
    assert answer[0]["title"] == "A walk"
    assert len(admin.ask("GET", f"{URL}/tours?limit=1").json()) == 1


def test_reviews_are_counted_by_day(admin, reviewed, sql):
    sql.execute("UPDATE reviews SET created_at = '2020-02-02' WHERE rating = 3")
    today = datetime.now(UTC).date().isoformat()
    assert admin.ask("GET", f"{URL}/reviews?days=7").json() == [
        {"day": today, "reviews": 2, "average_rating": "4.50"}
    ]


@pytest.mark.parametrize("days", ["0", "367", "x"])
def test_a_bad_span_is_refused(admin, days):
    assert admin.ask("GET", f"{URL}/reviews?days={days}").status_code == 422


@pytest.mark.parametrize("path", ["/overview", "/tours", "/reviews"])
def test_only_an_admin_or_an_admins_key_sees_numbers(client, admin, guide, traveller, path):
    def key_of(who):
        return who.ask("POST", "/api/v1/auth/api-keys", json={"name": "k"}).json()["key"]

    assert client.get(URL + path).status_code == 401
    for who in (guide, traveller):
        assert who.ask("GET", URL + path).status_code == 403
        answer = client.get(URL + path, headers={"x-api-key": key_of(who)})
        assert answer.status_code == 403
    assert client.get(URL + path, headers={"x-api-key": key_of(admin)}).status_code == 200
