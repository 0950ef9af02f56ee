from spirit.database.migrations import HEAD
from spirit.version import VERSION


def test_health_names_the_version(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "service": "spirit", "version": VERSION}


def test_health_is_never_cached(client):
    assert client.get("/health").headers["cache-control"] == "no-store"


def test_health_asks_nothing_of_others(start):
    alone = start(database_host="/nowhere", redis_socket="/nowhere/redis.sock")
    assert alone.get("/health").status_code == 200


def test_ready_says_what_it_looked_at(client):
    answer = client.get("/ready")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    read = answer.json()
    assert (read["status"], read["version"]) == ("ready", VERSION)
    assert {name: (check["ok"], check["detail"]) for name, check in read["checks"].items()} == {
        "database": (True, "answers"),
        "migrations": (True, f"at {HEAD}"),
        "redis": (True, "answers"),
    }


def failed(answer):
    assert answer.status_code == 503
    read = answer.json()
    names = [name for name, check in read["checks"].items() if not check["ok"]]
    assert read["status"] == f"not ready: {', '.join(names)}"
    return names


def test_ready_names_a_database_that_is_away_and_no_more_than_that(start):
    answer = start(database_host="/nowhere").get("/ready")
    assert failed(answer) == ["database", "migrations"]
    assert "/nowhere" not in answer.text


def test_ready_names_redis_that_is_away(start):
    answer = start(redis_socket="/nowhere/redis.sock").get("/ready")
    assert failed(answer) == ["redis"]
    assert "/nowhere" not in answer.text


def test_ready_refuses_a_password_that_is_wrong(start):
    assert failed(start(redis_password="wrong").get("/ready")) == ["redis"]
    assert failed(start(database_password="wrong").get("/ready")) == ["database", "migrations"]


def test_ready_wants_the_migrations(start):
    # A database of the server that was never migrated.
    answer = start(database_name="postgres").get("/ready")
    assert failed(answer) == ["migrations"]
    detail = answer.json()["checks"]["migrations"]["detail"]
    assert detail.startswith(f"the database is at no revision, this version wants {HEAD}")


def test_a_database_that_is_ahead_is_ready(client, sql):
    sql.execute("UPDATE alembic_version SET version_num = '9999'")
    try:
        answer = client.get("/ready")
    finally:
        sql.execute("UPDATE alembic_version SET version_num = %s", (HEAD,))
    assert answer.status_code == 200
    assert answer.json()["checks"]["migrations"]["detail"] == f"at 9999, ahead of {HEAD}"


def test_a_database_that_is_behind_is_not(client, sql):
    sql.execute("UPDATE alembic_version SET version_num = '0000'")
    try:
        answer = client.get("/ready")
    finally:
        sql.execute("UPDATE alembic_version SET version_num = %s", (HEAD,))
    assert failed(answer) == ["migrations"]
