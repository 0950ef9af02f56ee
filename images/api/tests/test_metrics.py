import pytest
from prometheus_client.parser import text_string_to_metric_families


def samples(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def total(client, method, route, status):
    labels = {"method": method, "route": route, "status": status}
    return samples(client).get(("http_requests_total", *sorted(labels.items())), 0)


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/health", "/health", "200"),
        ("GET", "/api/v1/tours/walk", "/api/v1/tours/{tour_id}", "200"),
        ("GET", "/api/v1/tours/none", "/api/v1/tours/{tour_id}", "404"),
        ("GET", "/random/1", "(none)", "404"),
        ("BREW", "/random/2", "(none)", "404"),
    ],
)
def test_requests_are_counted_by_route_template(client, method, path, route, status):
    counted_as = method if method == "GET" else "OTHER"
    before = total(client, counted_as, route, status)
    client.request(method, path)
    client.request(method, path)
    assert total(client, counted_as, route, status) == before + 2


def test_every_request_is_in_the_histogram(start):
    client = start()
    for _ in range(3):
        client.get("/health")
    labels = (("method", "GET"), ("route", "/health"))
    found = samples(client)
    assert found[("http_request_duration_seconds_count", *labels)] == 3
    in_last_bucket = ("http_request_duration_seconds_bucket", ("le", "+Inf"), *labels)
    assert found[in_last_bucket] == 3


def test_a_crash_counts_as_500_and_as_an_error(start):
    client = start(raise_server_exceptions=False)

    @client.app.get("/crash")
    async def crash():
        raise RuntimeError("on purpose")

    assert client.get("/crash").status_code == 500
    assert total(client, "GET", "/crash", "500") == 1
    error = ("http_errors_total", ("exception", "RuntimeError"), ("route", "/crash"))
    assert samples(client)[error] == 1


def test_the_version_is_a_metric(client):
    assert any(name == "spirit_build_info" for name, *_ in samples(client))


def test_the_scrape_itself_is_the_one_request_that_is_active(start):
    client = start()
    assert samples(client)[("http_requests_active",)] == 1


def test_the_pool_and_its_use_are_metrics(start):
    client = start(database_pool_size=7)

    @client.app.get("/held")
    async def held():
        async with client.app.state.database.engine.connect():
            return client.app.state.metrics.pool_used._value.get()

    assert samples(client)[("spirit_database_pool_size",)] == 7
    assert client.get("/held").json() == 1
    assert samples(client)[("spirit_database_pool_in_use",)] == 0


def test_statements_are_timed_by_what_they_do(start):
    client = start(feature_cache=False)

    def counted(operation):
        name = "spirit_database_query_seconds_count"
        return samples(client).get((name, ("operation", operation)), 0)

    before = counted("SELECT")
    client.get("/api/v1/tours")
    assert counted("SELECT") > before


def test_the_cache_and_logins_are_counted(start, account):
    client = start()
    account(client)
    client.post("/api/v1/auth/login", json={"email": "a@example.com", "password": "x"})
    client.get("/api/v1/tours/walk")
    client.get("/api/v1/tours/walk")
    found = samples(client)
    assert found[("spirit_logins_total", ("result", "accepted"))] == 1
    assert found[("spirit_logins_total", ("result", "refused"))] == 1
    assert found[("spirit_cache_requests_total", ("result", "miss"))] == 1
    assert found[("spirit_cache_requests_total", ("result", "hit"))] == 1
