"""What clients are told when something else fails, and what they cannot make us do."""

from typing import Annotated

import pytest
from fastapi import Depends
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

import servers
from conftest import PASSWORD
from spirit.database.engine import session

NOWHERE = "/nowhere"


def test_without_the_database_answers_are_503_and_say_when_to_come_back(start):
    answer = start(database_host=NOWHERE).get("/api/v1/tours")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json() == {"detail": "the database is away; try again"}


def test_without_redis_the_public_part_works_and_the_rest_is_503(start, sql, account, client):
    traveller = account(client)
    without = start(redis_socket=f"{NOWHERE}/redis.sock")
    assert without.get("/api/v1/tours").json()["total"] == 4
    for answer in (
        without.get("/api/v1/auth/me", headers=traveller.headers),
        without.post("/api/v1/auth/login", json={"email": traveller.email, "password": PASSWORD}),
    ):
        assert answer.status_code == 503
        assert answer.json() == {"detail": "the session store is away; try again"}


def test_changes_are_kept_though_redis_cannot_be_told(start, guide, sql):
    key = guide.ask("POST", "/api/v1/auth/api-keys", json={"name": "k"}).json()["key"]
    without = start(redis_socket=f"{NOWHERE}/redis.sock")
    answer = without.put(
        "/api/v1/tours/walk/departures/2027-05-01", json={"seats": 1}, headers={"x-api-key": key}
    )
    assert answer.status_code == 200
    assert sql.execute("SELECT seats FROM departures WHERE tour_id = 'walk'").fetchone() == (1,)
    removed = without.put(
        "/api/v1/tours/walk",
        json=guide.client.get("/api/v1/tours/walk").json() | {"title": "New"},
        headers={"x-api-key": key},
    )
    assert removed.json()["title"] == "New"


def test_a_database_that_comes_back_is_used_again(start, machine):
    """Connections that the pool keeps are dead then, and nobody has told it."""
    client = start(feature_cache=False)
    assert client.get("/api/v1/tours").status_code == 200
    with machine.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'spirit%'"
        )
    assert client.get("/api/v1/tours").status_code == 200


def test_a_statement_that_runs_away_is_stopped(start):
    client = start(database_statement_timeout="50ms")

    @client.app.get("/slow")
    async def slow():
        async with client.app.state.database.engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(5)"))

    assert client.get("/slow").status_code == 503


def test_a_busy_pool_is_a_503_and_not_a_queue_without_end(start):
    client = start(database_pool_size=1, database_pool_timeout="50ms")

    @client.app.get("/two")
    async def two():
        engine = client.app.state.database.engine
        async with engine.connect(), engine.connect():
            pass

    assert client.get("/two").status_code == 503
    assert client.get("/api/v1/tours").status_code == 200


def test_a_failed_request_leaves_nothing_behind(start, sql):
    client = start(raise_server_exceptions=False)

    @client.app.post("/half")
    async def half(database: Annotated[AsyncSession, Depends(session)]):
        await database.execute(text("DELETE FROM tours"))
        raise RuntimeError("on purpose")

    answer = client.post("/half", headers={"x-request-id": "abcdef012345"})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "internal error", "request_id": "abcdef012345"}
    assert sql.execute("SELECT count(*) FROM tours").fetchone() == (4,)


def test_a_value_that_the_database_refuses_is_a_422(start):
    client = start(raise_server_exceptions=False)

    @client.app.get("/data")
    async def data(value: str):
        async with client.app.state.database.engine.connect() as connection:
            await connection.execute(text("SELECT CAST(:value AS integer)"), {"value": value})

    assert client.get("/data?value=x").status_code == 422


def test_another_fault_of_a_statement_is_ours(start):
    client = start(raise_server_exceptions=False)

    @client.app.get("/typo")
    async def typo():
        async with client.app.state.database.engine.connect() as connection:
            await connection.execute(text("SELECT no_such_column FROM tours"))

    answer = client.get("/typo")
    assert answer.status_code == 500
    assert "no_such_column" not in answer.text


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(start, chunked):
    client = start(max_body_bytes=2048)
    body = b'{"email": "' + b"x" * 4096 + b'"}'

    def chunks():
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    answer = client.post(
        "/api/v1/auth/login",
        content=chunks() if chunked else body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json() == {"detail": "the body is larger than 2048 bytes"}
    small = client.post("/api/v1/auth/login", json={"email": "a@example.com", "password": "x"})
    assert small.status_code == 401


def preflight(client, origin):
    return client.options(
        "/api/v1/tours",
        headers={"origin": origin, "access-control-request-method": "GET"},
    ).headers.get("access-control-allow-origin")


def test_pages_of_named_origins_may_call(start):
    client = start(cors_origins="https://a.example,https://b.example")
    assert preflight(client, "https://b.example") == "https://b.example"
    assert preflight(client, "https://c.example") is None


def test_without_origins_no_page_may(client):
    assert preflight(client, "https://a.example") is None


def test_openapi_describes_every_route(client):
    described = client.get("/api/openapi.json").json()
    assert described["info"]["title"] == "Spirit Tours"
    paths = {
        route.path for route in client.app.routes if getattr(route, "include_in_schema", False)
    }
    assert paths - set(described["paths"]) == set()
    assert {"OAuth2PasswordBearer", "APIKeyHeader"} == set(
        described["components"]["securitySchemes"]
    )


def test_a_cache_that_is_off_asks_the_database(start, sql, store):
    client = start(feature_cache=False)
    assert client.get("/api/v1/tours/walk").json()["title"] == "A walk"
    sql.execute("UPDATE tours SET title = 'B walk' WHERE id = 'walk'")
    assert client.get("/api/v1/tours/walk").json()["title"] == "B walk"
    assert store.keys("spirit:cache:*") == []


def test_a_cached_answer_holds_for_its_time(client, sql, store):
    assert client.get("/api/v1/tours/walk").json()["title"] == "A walk"
    sql.execute("UPDATE tours SET title = 'B walk' WHERE id = 'walk'")
    assert client.get("/api/v1/tours/walk").json()["title"] == "A walk"
    (key,) = store.keys("spirit:cache:*")
    assert 0 < store.pttl(key) <= 30_000
    store.delete(key)
    assert client.get("/api/v1/tours/walk").json()["title"] == "B walk"


def test_a_redis_of_another_kind_is_told_apart(start):
    """A password that is wrong must not look like a session that has ended."""
    with servers.redis_server() as socket:
        client = start(redis_socket=str(socket), redis_password="wrong")
        answer = client.post("/api/v1/auth/refresh", json={"refresh_token": "x"})
        assert answer.status_code == 401
        assert client.get("/ready").status_code == 503
