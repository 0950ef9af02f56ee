"""The migrations, as a host runs them, on databases of their own."""

import json
import subprocess
import sys
from contextlib import contextmanager

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from conftest import APP, alembic
from spirit.database.connection import database_url
from spirit.database.migrations import HEAD, VERSIONS
from spirit.database.tables import Table
from spirit.tours.tour import Tour


@contextmanager
def fresh(machine, name):
    with machine.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        with machine.connect(name) as connection:
            yield connection
    finally:
        with machine.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def count(connection, table):
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_two_at_once_work_once_and_the_seed_leaves_what_is_there(machine):
    environment = machine.environment("twice")
    # Nothing that only the service needs.
    del environment["JWT_SECRET"]
    command = [sys.executable, "-m", "alembic", "-c", str(APP / "alembic.ini"), "upgrade", "head"]
    before = sorted(APP.rglob("*"))
    with fresh(machine, "twice") as connection:
        running = [
            subprocess.Popen(
                command, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            for _ in range(2)
        ]
        output = [process.communicate(timeout=60)[0].decode() for process in running]
        assert [process.returncode for process in running] == [0, 0], output
        upgrades = [
            line for text in output for line in text.splitlines() if "Running upgrade" in line
        ]
        assert len(upgrades) == 2, output
        assert count(connection, "tours") == 8

        connection.execute("UPDATE tours SET title = 'ours' WHERE id = 'kumano-kodo'")
        connection.execute("DELETE FROM tours WHERE id = 'assisi-weekend'")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        assert alembic(environment, "upgrade", "head").returncode == 0
        assert count(connection, "tours") == 8
        title = connection.execute("SELECT title FROM tours WHERE id = 'kumano-kodo'").fetchone()
        assert title == ("ours",)

        down = alembic(environment, "downgrade", "base")
        assert down.returncode == 0, down.stderr + down.stdout
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchall() == [("alembic_version",)]
    assert sorted(APP.rglob("*")) == before


def test_the_tables_are_those_of_the_code(machine):
    engine = create_engine(database_url(machine.settings()))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
        checks = connection.exec_driver_sql(
            "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conname LIKE 'ck_%%'"
        ).scalars()
        wanted = {
            str(constraint.name)
            for table in Table.metadata.tables.values()
            for constraint in table.constraints
            if str(constraint.name).startswith("ck_")
        }
        assert set(checks) == wanted
    engine.dispose()


def test_revisions_are_numbers_in_a_row():
    names = sorted(file.name[:4] for file in VERSIONS.glob("*.py"))
    assert names == [f"{number:04}" for number in range(1, len(names) + 1)]
    assert names[-1] == HEAD


def test_the_packaged_tours_are_valid():
    tours = json.loads((APP / "spirit/tours/tours.json").read_text())
    assert len({Tour.model_validate(each).id for each in tours}) == len(tours) == 8


def test_a_script_is_not_written(machine):
    refused = alembic(machine.environment(), "upgrade", "head", "--sql")
    assert refused.returncode == 1
    assert "migrations run against a database" in refused.stderr


def test_wrong_variables_are_all_told(machine):
    refused = alembic(
        machine.environment() | {"DATABASE_PORT": "x", "DATABASE_SSLMODE": "maybe"}, "current"
    )
    assert refused.returncode == 1
    assert "DATABASE_PORT: " in refused.stderr
    assert "DATABASE_SSLMODE: " in refused.stderr
