import pytest

TOUR = "/api/v1/tours/walk/reviews"
URL = "/api/v1/reviews"


def listed(client, path=TOUR):
    answer = client.get(path)
    assert answer.status_code == 200
    return [each["id"] for each in answer.json()["items"]]


def test_a_review_waits_for_a_guide_before_others_see_it(client, traveller, guide):
    written = traveller.review(rating=4, text="  Good boots needed. ")
    assert (written["rating"], written["text"], written["status"], written["author"]) == (
        4,
        "Good boots needed.",
        "pending",
        "Traveller",
    )
    one = f"{URL}/{written['id']}"
    assert listed(client) == []
    assert client.get(one).status_code == 404
    assert traveller.ask("GET", one).json() == written
    assert [each["id"] for each in traveller.ask("GET", f"{URL}/mine").json()["items"]] == [
        written["id"]
    ]
    assert guide.ask("GET", f"{URL}?status=pending").json()["total"] == 1

    judged = guide.ask("PUT", f"{one}/status", json={"status": "published"})
    assert (judged.status_code, judged.json()["status"]) == (200, "published")
    assert listed(client) == [written["id"]]
    assert client.get(one).status_code == 200
    guide.ask("PUT", f"{one}/status", json={"status": "rejected"})
    assert listed(client) == []
    assert guide.ask("GET", f"{URL}?status=rejected").json()["total"] == 1


def test_without_moderation_it_is_seen_at_once(start, account):
    client = start(feature_review_moderation=False)
    written = account(client).review()
    assert written["status"] == "published"
    assert listed(client) == [written["id"]]


def test_one_review_for_each_user_and_tour(client, traveller, account):
    traveller.review("walk")
    again = traveller.ask("POST", TOUR, json={"rating": 1, "text": "Twice."})
    assert again.status_code == 409
    traveller.review("bay")
    account(client).review("walk")


def test_an_author_changes_a_review_and_it_is_judged_anew(client, traveller, guide):
    written = traveller.review()
    one = f"{URL}/{written['id']}"
    guide.ask("PUT", f"{one}/status", json={"status": "published"})
    changed = traveller.ask("PUT", one, json={"rating": 2, "text": "On second thoughts."})
    assert changed.status_code == 200
    assert (changed.json()["rating"], changed.json()["status"]) == (2, "pending")
    assert changed.json()["updated_at"] > written["updated_at"]
    assert listed(client) == []


def test_only_the_author_changes_and_only_they_or_an_admin_delete(
    client, traveller, guide, admin, account
):
    written = traveller.review()
    one = f"{URL}/{written['id']}"
    guide.ask("PUT", f"{one}/status", json={"status": "published"})
    stranger = account(client)
    body = {"rating": 1, "text": "Mine now."}
    assert client.put(one, json=body).status_code == 401
    for who in (stranger, guide, admin):
        assert who.ask("PUT", one, json=body).status_code == 403
    for who in (stranger, guide):
        assert who.ask("DELETE", one).status_code == 403
    assert client.get(one).json()["text"] == "Fine."
    assert admin.ask("DELETE", one).status_code == 204
    assert client.get(one).status_code == 404
    mine = stranger.review()
    assert stranger.ask("DELETE", f"{URL}/{mine['id']}").status_code == 204


def test_nobody_judges_their_own_review(guide, admin):
    one = f"{URL}/{guide.review()['id']}/status"
    assert guide.ask("PUT", one, json={"status": "published"}).status_code == 403
    assert admin.ask("PUT", one, json={"status": "published"}).status_code == 200


def test_a_traveller_does_not_judge(traveller):
    one = f"{URL}/{traveller.review()['id']}/status"
    assert traveller.ask("PUT", one, json={"status": "published"}).status_code == 403
    assert traveller.ask("GET", URL).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"rating": 0, "text": "x"},
        {"rating": 6, "text": "x"},
        {"rating": 4.5, "text": "x"},
        {"rating": 5},
        {"rating": 5, "text": "   "},
        {"rating": 5, "text": "x" * 4001},
        {"rating": 5, "text": "nul \0"},
        {"rating": 5, "text": "x", "status": "published"},
    ],
)
def test_a_bad_review_is_refused(traveller, sql, body):
    assert traveller.ask("POST", TOUR, json=body).status_code == 422
    assert sql.execute("SELECT count(*) FROM reviews").fetchone() == (0,)


def test_sql_in_a_review_is_only_text(traveller, sql):
    text = "'); DELETE FROM reviews; --"
    assert traveller.review(text=text)["text"] == text
    assert sql.execute("SELECT text FROM reviews").fetchall() == [(text,)]


def test_a_tour_that_is_not_there_has_no_reviews(client, traveller):
    path = "/api/v1/tours/nowhere/reviews"
    assert client.get(path).status_code == 404
    assert traveller.ask("POST", path, json={"rating": 5, "text": "x"}).status_code == 404


def test_writing_takes_a_login(client):
    assert client.post(TOUR, json={"rating": 5, "text": "x"}).status_code == 401


def test_the_newest_come_first_and_by_page(start, account):
    client = start(feature_review_moderation=False)
    written = [account(client).review(rating=rating)["id"] for rating in (1, 2, 3)]
    assert listed(client) == written[::-1]
    answer = client.get(f"{TOUR}?limit=1&offset=1").json()
    assert (answer["total"], [each["id"] for each in answer["items"]]) == (3, [written[1]])
