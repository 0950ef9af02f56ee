import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from spirit.application import create_app
from spirit.settings import Settings


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
    client.request(method, path)
    client.request(method, path)
    counted_as = method if method == "GET" else "OTHER"
    assert total(client, counted_as, route, status) == 2


def test_every_request_is_in_the_histogram(client):
    for _ in range(3):
        client.get("/health")
    labels = (("method", "GET"), ("route", "/health"))
    found = samples(client)
    assert found[("http_request_duration_seconds_count", *labels)] == 3
    in_last_bucket = ("http_request_duration_seconds_bucket", ("le", "+Inf"), *labels)
    assert found[in_last_bucket] == 3


def test_a_crash_counts_as_500(tours_file):
    app = create_app(Settings(tours_file=tours_file))

    @app.get("/crash")
    async def crash():
        raise RuntimeError("on purpose")

    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/crash").status_code == 500
    assert total(client, "GET", "/crash", "500") == 1


def test_the_version_is_a_metric(client):
    assert any(name == "spirit_build_info" for name, *_ in samples(client))
