"""What admins do with accounts, and how the first admin comes to be."""

import pytest

from conftest import PASSWORD
from spirit import promote

URL = "/api/v1/users"


def test_an_admin_sees_all_accounts_by_page(client, admin, account):
    others = [account(client), account(client, "guide")]
    answer = admin.ask("GET", URL).json()
    assert answer["total"] == 3
    assert [each["id"] for each in answer["items"]] == [admin.id, *(each.id for each in others)]
    assert [each["id"] for each in admin.ask("GET", f"{URL}?limit=1&offset=2").json()["items"]] == [
        others[1].id
    ]


def test_a_role_holds_from_the_next_request_on(admin, traveller):
    assert traveller.ask("GET", "/api/v1/reviews").status_code == 403
    changed = admin.ask("PATCH", f"{URL}/{traveller.id}", json={"role": "guide"})
    assert (changed.status_code, changed.json()["role"]) == (200, "guide")
    assert traveller.ask("GET", "/api/v1/reviews").status_code == 200


def test_a_disabled_account_is_out_at_once_and_comes_back(client, admin, traveller):
    key = traveller.ask("POST", "/api/v1/auth/api-keys", json={"name": "k"}).json()["key"]
    admin.ask("PATCH", f"{URL}/{traveller.id}", json={"disabled": True})
    assert traveller.ask("GET", "/api/v1/auth/me").status_code == 401
    answer = client.get("/api/v1/auth/me", headers={"x-api-key": key})
    assert (answer.status_code, answer.json()["detail"]) == (401, "the account is disabled")
    credentials = {"email": traveller.email, "password": PASSWORD}
    assert client.post("/api/v1/auth/login", json=credentials).status_code == 401
    admin.ask("PATCH", f"{URL}/{traveller.id}", json={"disabled": False})
    assert client.post("/api/v1/auth/login", json=credentials).status_code == 200


@pytest.mark.parametrize(
    ("who", "body", "status"),
    [
        ("00000000-0000-0000-0000-000000000000", {"role": "guide"}, 404),
        ("nobody", {"role": "guide"}, 422),
        ("traveller", {"role": "king"}, 422),
        ("traveller", {"email": "x@example.com"}, 422),
        ("admin", {"role": "traveller"}, 409),
    ],
)
def test_a_change_that_cannot_be_is_refused(admin, traveller, who, body, status):
    who = {"traveller": traveller.id, "admin": admin.id}.get(who, who)
    assert admin.ask("PATCH", f"{URL}/{who}", json=body).status_code == status


@pytest.mark.parametrize("role", ["traveller", "guide"])
def test_others_see_and_change_nothing(client, account, role):
    who = account(client, role)
    assert who.ask("GET", URL).status_code == 403
    assert who.ask("PATCH", f"{URL}/{who.id}", json={"role": "admin"}).status_code == 403
    assert client.get(URL).status_code == 401


@pytest.fixture
def environment(clean, monkeypatch):
    for name, value in clean.environment().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_first_admin_is_promoted_with_the_databases_credentials(environment, traveller, capsys):
    assert promote.main([traveller.email.upper(), "admin"]) == 0
    assert capsys.readouterr().out == f"{traveller.email} is now admin\n"
    assert traveller.ask("GET", URL).status_code == 200


def test_a_promotion_of_nobody_fails_and_says_so(environment, capsys):
    assert promote.main(["nobody@example.com", "admin"]) == 1
    assert "there is no account nobody@example.com" in capsys.readouterr().err


def test_a_promotion_tells_wrong_variables(environment, capsys):
    environment.setenv("DATABASE_PORT", "x")
    assert promote.main(["nobody@example.com", "admin"]) == 1
    assert "DATABASE_PORT: " in capsys.readouterr().err
