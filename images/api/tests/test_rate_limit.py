import re

import pytest

import servers
from conftest import PASSWORD
from spirit.rate_limit import client_of, limits_of

LOGIN = "/api/v1/auth/login"


def wrong(client, email):
    return client.post(LOGIN, json={"email": email, "password": "wrong"}).status_code


def test_over_the_limit_is_a_429_that_says_when_to_come_back(start):
    client = start(rate_limit_api="3/minute")
    answers = [client.get("/api/v1/tours") for _ in range(5)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
    wait = int(answers[-1].headers["retry-after"])
    assert 1 <= wait <= 60
    assert answers[-1].json() == {"detail": f"too many requests; try again in {wait} s"}
    # The line in the log and the id are there all the same.
    assert answers[-1].headers["x-request-id"]


def test_probes_are_never_limited(start):
    client = start(rate_limit_api="1/minute")
    for path in ("/health", "/ready", "/metrics"):
        assert [client.get(path).status_code for _ in range(3)] == [200] * 3


def test_what_takes_credentials_is_limited_most(start):
    client = start(rate_limit_auth="2/minute")
    assert [wrong(client, f"{name}@example.com") for name in "abc"] == [401, 401, 429]
    assert client.get("/api/v1/tours").status_code == 200


def test_passwords_of_one_account_are_tried_a_few_times_and_others_are_not_locked_out(
    start, account
):
    client = start(rate_limit_login="3/minute")
    traveller = account(client)
    assert [wrong(client, "nobody@example.com") for _ in range(5)] == [401, 401, 401, 429, 429]
    right = {"email": traveller.email, "password": PASSWORD}
    assert client.post(LOGIN, json=right).status_code == 200


def test_spelling_an_address_differently_is_no_way_around(start):
    client = start(rate_limit_login="1/minute")
    assert wrong(client, "nobody@example.com") == 401
    assert wrong(client, "NOBODY@example.com") == 429


def test_replicas_count_together(start):
    first, second = (start(rate_limit_api="2/minute") for _ in range(2))
    assert first.get("/api/v1/tours").status_code == 200
    assert second.get("/api/v1/tours").status_code == 200
    assert first.get("/api/v1/tours").status_code == 429


def test_without_redis_a_worker_counts_alone(start):
    client = start(rate_limit_api="2/minute", redis_socket="/nowhere/redis.sock")
    statuses = [client.get("/api/v1/tours").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    metrics = client.get("/metrics").text
    assert "spirit_limiter_fallback_total 3.0" in metrics
    assert 'spirit_rate_limited_total{limit="api"} 1.0' in metrics


def test_when_redis_goes_limits_stay_and_when_it_is_back_it_counts_again(start, monkeypatch):
    monkeypatch.setattr("spirit.rate_limit.ALONE_SECONDS", 0.0)
    with servers.redis_server() as socket:
        client = start(rate_limit_api="3/minute", redis_socket=str(socket))
        assert client.get("/api/v1/tours").status_code == 200
        state = client.app.state
    # Gone: counted from nothing, by this worker.
    assert [client.get("/api/v1/tours").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert state.metrics.limiter_alone._value.get() == 4


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("proxy", "proxy"),
        ("", "local"),
        (None, "local"),
    ],
)
def test_an_ipv6_client_is_its_network(address, client):
    assert client_of(address) == client


@pytest.mark.parametrize(
    ("kind", "method", "path", "names"),
    [
        ("http", "GET", "/health", ()),
        ("http", "GET", "/api/v1/tours", ("api",)),
        ("http", "POST", "/api/v1/auth/login", ("auth", "api")),
        ("http", "GET", "/api/v1/auth/me", ("api",)),
        ("websocket", None, "/api/v1/tours/x/availability/socket", ("api",)),
        ("lifespan", None, None, ()),
    ],
)
def test_which_limits_a_request_counts_for(kind, method, path, names):
    scope = {"type": kind, "method": method, "path": path}
    assert limits_of(scope) == names


def test_counters_stand_in_redis_under_a_name_of_ours(client, store):
    client.get("/api/v1/tours")
    keys = store.keys("*limit*")
    assert keys
    assert all(re.match(r"\{?spirit:limit", key) for key in keys), keys
