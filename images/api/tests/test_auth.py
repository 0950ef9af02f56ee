"""Registering, logging in and out, tokens and sessions."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import jwt
import pytest

from conftest import PASSWORD, SECRET, Somebody
from spirit.auth.tokens import ALGORITHM, BadToken, Claims, Tokens, Use

URL = "/api/v1/auth"
NEW = {"email": "New.One@Example.com", "name": " New One ", "password": "a fine long password"}


def register(client, **changes):
    return client.post(f"{URL}/register", json=NEW | changes)


def login(client, email, password=PASSWORD):
    return client.post(f"{URL}/login", json={"email": email, "password": password})


def me(client, token):
    return client.get(f"{URL}/me", headers={"authorization": f"Bearer {token}"})


def test_whoever_registers_is_a_traveller_and_can_log_in(client):
    made = register(client)
    assert made.status_code == 201
    account = made.json()
    assert (account["email"], account["name"], account["role"]) == (
        "new.one@example.com",
        "New One",
        "traveller",
    )
    assert "password" not in made.text
    answer = login(client, "NEW.ONE@example.com", NEW["password"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert me(client, answer.json()["access_token"]).json() == account


def test_an_address_registers_once_however_it_is_spelt(client):
    assert register(client).status_code == 201
    again = register(client, email="new.one@EXAMPLE.com")
    assert again.status_code == 409


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "no address"},
        {"email": "a@b"},
        {"name": "  "},
        {"name": "x" * 81},
        {"password": "too short"},
        {"password": "x" * 129},
        {"role": "admin"},
    ],
)
def test_a_bad_registration_is_refused(client, sql, changes):
    assert register(client, **changes).status_code == 422
    assert sql.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_registration_can_be_closed(start):
    assert register(start(feature_registration=False)).status_code == 403


def test_passwords_are_kept_as_argon2id(client, sql):
    register(client)
    (kept,) = sql.execute("SELECT password_hash FROM users").fetchone()
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_an_older_hash_is_renewed_at_login(client, sql, traveller):
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    sql.execute("UPDATE users SET password_hash = %s WHERE id = %s", (weak, traveller.id))
    assert login(client, traveller.email).status_code == 200
    (kept,) = sql.execute("SELECT password_hash FROM users").fetchone()
    assert "m=19456,t=2" in kept
    assert login(client, traveller.email).status_code == 200


@pytest.mark.parametrize("stored", [None, "no hash at all"])
def test_a_wrong_login_does_not_say_what_was_wrong(client, sql, traveller, stored):
    if stored:
        sql.execute("UPDATE users SET password_hash = %s", (stored,))
    answers = [
        login(client, traveller.email, "wrong"),
        login(client, "nobody@example.com"),
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json() == {"detail": "e-mail address or password is wrong"}


def test_a_form_logs_in_as_oauth2_clients_send_it(client, traveller):
    form = {"grant_type": "password", "username": traveller.email, "password": PASSWORD}
    answer = client.post(f"{URL}/token", data=form)
    assert answer.status_code == 200
    assert me(client, answer.json()["access_token"]).status_code == 200
    assert client.post(f"{URL}/token", data=form | {"username": "nobody"}).status_code == 401


@pytest.mark.parametrize("email", ["' OR '1'='1", "x@example.com'; DROP TABLE users; --"])
def test_sql_in_a_login_is_only_text(client, traveller, sql, email):
    assert login(client, email).status_code == 422
    form = {"username": email, "password": "' OR '1'='1"}
    assert client.post(f"{URL}/token", data=form).status_code == 401
    assert sql.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_logging_out_ends_the_token_at_once(client, traveller):
    assert traveller.ask("GET", f"{URL}/me").status_code == 200
    assert traveller.ask("POST", f"{URL}/logout").status_code == 204
    answer = traveller.ask("GET", f"{URL}/me")
    assert (answer.status_code, answer.json()["detail"]) == (401, "the session has ended")
    refreshed = client.post(
        f"{URL}/refresh", json={"refresh_token": traveller.tokens["refresh_token"]}
    )
    assert refreshed.status_code == 401


def test_a_refresh_token_works_once_and_twice_ends_the_session(client, traveller):
    def refresh(token):
        return client.post(f"{URL}/refresh", json={"refresh_token": token})

    first = traveller.tokens["refresh_token"]
    second = refresh(first)
    assert second.status_code == 200
    assert me(client, second.json()["access_token"]).status_code == 200
    # Somebody has a copy.
    assert refresh(first).status_code == 401
    assert refresh(second.json()["refresh_token"]).status_code == 401
    assert me(client, second.json()["access_token"]).status_code == 401


def test_tokens_are_not_taken_for_each_other(client, traveller):
    access, refresh = traveller.tokens["access_token"], traveller.tokens["refresh_token"]
    answer = me(client, refresh)
    assert (answer.status_code, answer.json()["detail"]) == (401, "this is no access token")
    assert client.post(f"{URL}/refresh", json={"refresh_token": access}).status_code == 401


def claims(**changes):
    now = datetime.now(UTC)
    return {
        "iss": "spirit-tours",
        "sub": str(uuid4()),
        "sid": "s",
        "jti": "j",
        "use": "access",
        "iat": now,
        "exp": now + timedelta(minutes=1),
    } | changes


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("rubbish", "the token is not valid"),
        (jwt.encode(claims(), "another secret of at least 32 bytes"), "the token is not valid"),
        (jwt.encode(claims(), None, "none"), "the token is not valid"),
        (jwt.encode(claims(iss="another"), SECRET, ALGORITHM), "the token is not valid"),
        (jwt.encode(claims(sub="7"), SECRET, ALGORITHM), "the token is not valid"),
        (
            jwt.encode(
                {key: value for key, value in claims().items() if key != "exp"}, SECRET, ALGORITHM
            ),
            "the token is not valid",
        ),
        (
            jwt.encode(claims(exp=datetime.now(UTC) - timedelta(seconds=1)), SECRET, ALGORITHM),
            "the token has expired",
        ),
        (jwt.encode(claims(), SECRET, ALGORITHM), "the session has ended"),
    ],
)
def test_a_token_that_is_not_ours_or_not_good_is_refused(client, token, reason):
    answer = me(client, token)
    assert (answer.status_code, answer.json()["detail"]) == (401, reason)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_what_is_issued_is_read_again(machine):
    tokens = Tokens(machine.settings())
    wanted = Claims(UUID(int=7), "session", "token")
    assert tokens.read(Use.REFRESH, tokens.issue(Use.REFRESH, wanted)) == wanted
    old = tokens.issue(Use.ACCESS, wanted, datetime.now(UTC) - timedelta(minutes=16))
    with pytest.raises(BadToken, match="expired"):
        tokens.read(Use.ACCESS, old)


def test_sessions_are_listed_and_ended_one_by_one(client, traveller):
    other = Somebody(client, traveller.email, login(client, traveller.email).json(), traveller.id)
    listed = traveller.ask("GET", f"{URL}/sessions").json()
    assert [each["client"] for each in listed] == ["local", "local"]
    assert sorted(each["current"] for each in listed) == [False, True]
    (second,) = [each["id"] for each in listed if not each["current"]]
    assert traveller.ask("DELETE", f"{URL}/sessions/{second}").status_code == 204
    assert other.ask("GET", f"{URL}/me").status_code == 401
    assert len(traveller.ask("GET", f"{URL}/sessions").json()) == 1
    assert traveller.ask("DELETE", f"{URL}/sessions/{second}").status_code == 404


def test_nobody_ends_the_session_of_another(client, traveller, account):
    stranger = account(client)
    (mine,) = [each["id"] for each in traveller.ask("GET", f"{URL}/sessions").json()]
    assert stranger.ask("DELETE", f"{URL}/sessions/{mine}").status_code == 404
    assert traveller.ask("GET", f"{URL}/me").status_code == 200


def test_all_sessions_end_at_once(client, traveller):
    other = login(client, traveller.email).json()
    assert traveller.ask("DELETE", f"{URL}/sessions").status_code == 204
    assert me(client, other["access_token"]).status_code == 401
    assert traveller.ask("GET", f"{URL}/me").status_code == 401


def test_a_session_that_expired_is_gone_from_the_list(client, traveller, store):
    login(client, traveller.email)
    listed = traveller.ask("GET", f"{URL}/sessions").json()
    (other,) = [each["id"] for each in listed if not each["current"]]
    assert 0 < store.ttl(f"spirit:session:{other}") <= 720 * 3600
    store.delete(f"spirit:session:{other}")
    assert len(traveller.ask("GET", f"{URL}/sessions").json()) == 1
    assert store.scard(f"spirit:sessions:{traveller.id}") == 1


def test_an_account_is_removed_with_all_that_hangs_on_it(client, traveller, sql, store):
    traveller.review()
    traveller.ask("POST", f"{URL}/api-keys", json={"name": "k"})
    assert traveller.ask("DELETE", f"{URL}/me").status_code == 204
    for table in ("users", "reviews", "api_keys"):
        assert sql.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert store.keys("spirit:session*") == []
    assert traveller.ask("GET", f"{URL}/me").status_code == 401


def test_a_token_of_an_account_that_is_gone_is_refused(client, traveller, sql):
    sql.execute("DELETE FROM users")
    assert traveller.ask("GET", f"{URL}/me").status_code == 401
    refreshed = client.post(
        f"{URL}/refresh", json={"refresh_token": traveller.tokens["refresh_token"]}
    )
    assert refreshed.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/me"),
        ("DELETE", "/me"),
        ("POST", "/logout"),
        ("GET", "/sessions"),
        ("DELETE", "/sessions"),
        ("GET", "/api-keys"),
        ("POST", "/api-keys"),
    ],
)
def test_nobody_is_asked_to_log_in(client, method, path):
    answer = client.request(method, URL + path)
    assert (answer.status_code, answer.json()["detail"]) == (401, "log in, or send an API key")
