import hashlib

import pytest

URL = "/api/v1/auth/api-keys"


def make(who, **changes):
    answer = who.ask("POST", URL, json={"name": "reports"} | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def me(client, key):
    return client.get("/api/v1/auth/me", headers={"x-api-key": key})


def test_a_key_is_shown_once_and_acts_for_its_owner(client, traveller, sql):
    made = make(traveller)
    key = made.pop("key")
    assert key.startswith("st_") and key.startswith(made["prefix"])
    assert traveller.ask("GET", URL).json() == [made]
    assert me(client, key).json()["email"] == traveller.email
    (kept,) = sql.execute("SELECT digest FROM api_keys").fetchone()
    assert kept == hashlib.sha256(key.encode()).digest()


@pytest.mark.parametrize("key", ["st_", "st_" + "x" * 43, "something else", "st_' OR 1=1"])
def test_a_key_that_nobody_made_is_refused(client, traveller, key):
    make(traveller)
    answer = me(client, key)
    assert (answer.status_code, answer.json()["detail"]) == (401, "there is no such account or key")


def test_a_revoked_key_is_worth_nothing(client, traveller):
    made, kept = make(traveller), make(traveller, name="other")
    assert traveller.ask("DELETE", f"{URL}/{made['id']}").status_code == 204
    assert me(client, made["key"]).status_code == 401
    assert me(client, kept["key"]).status_code == 200
    assert [each["name"] for each in traveller.ask("GET", URL).json()] == ["other"]
    assert traveller.ask("DELETE", f"{URL}/{made['id']}").status_code == 404


def test_nobody_revokes_the_key_of_another(client, traveller, account):
    made = make(traveller)
    assert account(client).ask("DELETE", f"{URL}/{made['id']}").status_code == 404
    assert me(client, made["key"]).status_code == 200


def test_a_key_expires(client, traveller, sql):
    made = make(traveller, expires_in_days=1)
    assert me(client, made["key"]).status_code == 200
    sql.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    assert me(client, made["key"]).status_code == 401


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x", "expires_in_days": 0}])
def test_a_bad_wish_is_refused(traveller, body):
    assert traveller.ask("POST", URL, json=body).status_code == 422


def test_a_key_makes_no_keys_and_ends_no_sessions(client, traveller):
    headers = {"x-api-key": make(traveller)["key"]}
    for method, path in [("POST", URL), ("GET", URL), ("DELETE", "/api/v1/auth/sessions")]:
        answer = client.request(method, path, headers=headers, json={"name": "more"})
        assert answer.status_code == 403, path
    assert client.delete("/api/v1/auth/me", headers=headers).status_code == 403
