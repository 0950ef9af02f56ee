from urllib.parse import parse_qs, urlsplit

import pytest

URL = "/api/v1/tours/walk/picture"
KEYS = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "not a real one"}


@pytest.fixture
def stored(start):
    return start(s3_assets_bucket="spirit-assets", picture_url_ttl="5m", **KEYS)


def test_a_picture_is_read_by_a_signed_address(stored):
    answer = stored.get(URL)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] == 300
    parts = urlsplit(answer.json()["url"])
    assert parts.scheme == "https"
    assert parts.hostname.startswith("spirit-assets.s3")
    assert parts.path == "/tours/walk.jpg"
    query = parse_qs(parts.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["300"]
    assert query["X-Amz-Credential"][0].startswith("AKIATEST/")
    assert "not a real one" not in answer.text


def test_a_guide_gets_an_address_to_put_a_jpeg_to(stored, account):
    answer = account(stored, "guide").ask("POST", URL)
    query = parse_qs(urlsplit(answer.json()["url"]).query)
    assert query["X-Amz-SignedHeaders"] == ["content-type;host"]


def test_another_s3_is_asked_where_one_is_named(start):
    client = start(s3_assets_bucket="b-1", aws_endpoint_url="http://127.0.0.1:9000", **KEYS)
    assert client.get(URL).json()["url"].startswith("http://127.0.0.1:9000/b-1/tours/walk.jpg?")


def test_a_content_network_needs_no_signature(start):
    client = start(s3_assets_bucket="b-1", assets_url="https://assets.example/")
    assert client.get(URL).json() == {
        "url": "https://assets.example/tours/walk.jpg",
        "expires_in": None,
    }


def test_a_tour_that_is_not_there_has_no_picture(stored, account):
    assert stored.get("/api/v1/tours/nowhere/picture").status_code == 404
    guide = account(stored, "guide")
    assert guide.ask("POST", "/api/v1/tours/nowhere/picture").status_code == 404


def test_without_a_bucket_there_are_no_pictures(client):
    assert client.get(URL).status_code == 503
