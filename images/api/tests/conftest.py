"""Everything here is real: PostgreSQL, Redis, the migrations, and the application as it is built.

A test begins with the four tours below and nobody registered.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

# The folder that the tests import from is what goes into the image.
sys.dont_write_bytecode = True

import servers  # noqa: E402
from spirit.application import create_app  # noqa: E402
from spirit.settings import Settings  # noqa: E402

APP = Path(__file__).parent.parent / "app"
SECRET = "a secret of the tests, long enough to sign with"
PASSWORD = "correct horse battery"
PASSWORD_HASH = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(PASSWORD)


def tour(tour_id, **changes):
    """A tour as it travels; a test names only what it is about."""
    return {
        "id": tour_id,
        "title": f"Tour {tour_id}",
        "summary": "Somewhere.",
        "country": "ES",
        "theme": "nature",
        "days": 5,
        "price": {"amount": "100.00", "currency": "EUR"},
        "departures": ["2027-05-01"],
    } | changes


TOURS = [
    tour("walk", title="A walk", theme="pilgrimage", days=8),
    tour("temple", title="Temples", country="JP", theme="culture", days=12),
    tour("bay", title="Bay of seals", price={"amount": "250.50", "currency": "EUR"}),
    tour("abbey", title="Old abbey", summary="Silence and SOUP.", theme="retreat", days=3),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sentry's client patches libraries for good, which makes every test after it slower."""
    items.sort(key=lambda item: item.path.name == "test_sentry.py")


@dataclass(frozen=True)
class Servers:
    postgres: Path
    redis: Path

    def environment(self, database: str = "spirit") -> dict[str, str]:
        """What a host would say to the service."""
        return {
            "DATABASE_HOST": str(self.postgres),
            "DATABASE_NAME": database,
            "DATABASE_PASSWORD": servers.PASSWORD,
            "REDIS_SOCKET": str(self.redis),
            "REDIS_PASSWORD": servers.PASSWORD,
            "JWT_SECRET": SECRET,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def settings(self, **changes) -> Settings:
        """For tests of other things than limits, which are high."""
        limits = ("rate_limit_api", "rate_limit_auth", "rate_limit_login")
        given = {name: "100000/minute" for name in limits}
        given |= {
            "database_host": str(self.postgres),
            "database_password": servers.PASSWORD,
            "redis_socket": str(self.redis),
            "redis_password": servers.PASSWORD,
            "jwt_secret": SECRET,
        }
        return Settings(**(given | changes))

    def connect(self, database: str = "spirit") -> psycopg.Connection:
        return psycopg.connect(servers.conninfo(self.postgres, database), autocommit=True)


def alembic(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """The migrations, as a host runs them."""
    command = [sys.executable, "-m", "alembic", "-c", str(APP / "alembic.ini"), *arguments]
    return subprocess.run(
        command,
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def machine() -> Iterator[Servers]:
    with servers.postgres() as database, servers.redis_server() as store:
        found = Servers(database, store)
        with found.connect("postgres") as connection:
            connection.execute("CREATE DATABASE spirit")
        migrated = alembic(found.environment(), "upgrade", "head")
        assert migrated.returncode == 0, migrated.stderr + migrated.stdout
        yield found


@pytest.fixture(scope="session")
def sql(machine: Servers) -> Iterator[psycopg.Connection]:
    with machine.connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def store(machine: Servers) -> Iterator[redis.Redis]:
    with redis.Redis(
        unix_socket_path=str(machine.redis), password=servers.PASSWORD, decode_responses=True
    ) as client:
        yield client


@pytest.fixture
def clean(machine: Servers, sql: psycopg.Connection, store: redis.Redis) -> Servers:
    store.flushall()
    sql.execute("DELETE FROM users")
    sql.execute("DELETE FROM tours")
    with sql.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO tours VALUES (%(id)s, %(title)s, %(summary)s, %(country)s, %(theme)s,"
            " %(days)s, %(amount)s, %(currency)s)",
            [each | each["price"] for each in TOURS],
        )
        cursor.executemany(
            "INSERT INTO departures VALUES (%s, %s, 12)",
            [(each["id"], day) for each in TOURS for day in each["departures"]],
        )
    return machine


@pytest.fixture
def start(clean: Servers) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of applications with settings of their own."""
    started = []

    def make(raise_server_exceptions: bool = True, **changes) -> TestClient:
        app = create_app(clean.settings(**changes))
        client = TestClient(app, raise_server_exceptions=raise_server_exceptions)
        client.__enter__()
        started.append(client)
        return client

    yield make
    for client in started:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def common_client(machine: Servers) -> Iterator[TestClient]:
    """One application for all tests that need nothing special of it: building one takes longer
    than most tests. It keeps nothing but its numbers from one test to the next."""
    with TestClient(create_app(machine.settings())) as made:
        yield made


@pytest.fixture
def client(clean: Servers, common_client: TestClient) -> TestClient:
    return common_client


@dataclass
class Somebody:
    """An account that is logged in, and asks with its token."""

    client: TestClient
    email: str
    tokens: dict[str, str]
    id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens['access_token']}"}

    def ask(self, method: str, path: str, **more):
        return self.client.request(method, path, headers=self.headers, **more)

    def review(self, tour_id: str = "walk", rating: int = 5, text: str = "Fine."):
        answer = self.ask(
            "POST", f"/api/v1/tours/{tour_id}/reviews", json={"rating": rating, "text": text}
        )
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.fixture
def account(sql: psycopg.Connection) -> Callable[..., Somebody]:
    """Puts an account into the database and logs it in."""

    def make(client: TestClient, role: str = "traveller", email: str | None = None) -> Somebody:
        user_id = str(uuid4())
        email = email or f"{role}-{user_id[:8]}@example.com"
        sql.execute(
            "INSERT INTO users (id, email, name, role, password_hash, disabled)"
            " VALUES (%s, %s, %s, %s, %s, false)",
            (user_id, email, role.title(), role, PASSWORD_HASH),
        )
        answer = client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return Somebody(client, email, answer.json(), user_id)

    return make


@pytest.fixture
def traveller(client, account) -> Somebody:
    return account(client)


@pytest.fixture
def guide(client, account) -> Somebody:
    return account(client, "guide")


@pytest.fixture
def admin(client, account) -> Somebody:
    return account(client, "admin")
