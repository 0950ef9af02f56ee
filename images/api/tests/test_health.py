from spirit.version import VERSION


def test_health_names_the_version(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "service": "spirit", "version": VERSION}


def test_health_is_never_cached(client):
    assert client.get("/health").headers["cache-control"] == "no-store"
