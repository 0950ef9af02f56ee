"""What the image promises, against its own PostgreSQL."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from imagetest import Service, eventually, free_port, render, settings

IMAGE = "postgres"
VOLUMES = ["/var/lib/postgresql"]
HERE = Path(__file__).parent.parent
# Every kind of character that a quoting mistake would trip over.
PASSWORD = "it's \"b\" $(c) `d` \\x41 :e :'f' %s # ünï"
PSQL = ["/usr/lib/postgresql/15/bin/psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]


@pytest.fixture
def fresh(make_service):
    """On an empty volume, with the host's configuration and secrets."""
    service = make_service(volumes=VOLUMES)
    service.secret("postgres-password", PASSWORD + "\n")
    service.secret("postgres-exporter-password", "exporter")
    service.secret("postgres-backup-password", "backup")
    configure(service)
    return service


@pytest.fixture
def service(fresh, initialised):
    """On a volume that has been used before: making a cluster takes seconds."""
    shutil.rmtree(fresh.folder / "volumes/var/lib/postgresql")
    subprocess.run(["cp", "-a", initialised, fresh.folder / "volumes/var/lib/postgresql"], check=True)
    return fresh


@pytest.fixture(scope="module")
def initialised(image, image_folder):
    service = Service(image, image_folder / "first", VOLUMES)
    (service.config / "databases").write_text("")
    service.start().wait_healthy()
    assert service.kill(signal.SIGINT) == 0
    return image_folder / "first/volumes/var/lib/postgresql"


def configure(service, **changes):
    render(HERE, settings(HERE, changes), service.config)


def sql(service, text, role="spirit", password=PASSWORD, database="spirit", host="/run/cairn/self", port=5432):
    """The answer to statements, or the server's error."""
    where = ["-h", host, "-p", str(port), "-U", role, "-d", database]
    result = service.run(*PSQL, *where, "-w", stdin=text, environment={"PGPASSWORD": password})
    return (result.stdout + result.stderr).strip()


def superuser(service, text, database="postgres"):
    return sql(service, text, role="postgres", password="", database=database)


def data(service):
    return service.folder / "volumes/var/lib/postgresql/15/main"


def test_the_first_start_makes_the_cluster_the_roles_and_the_database(fresh):
    fresh.start().wait_healthy()
    assert sql(fresh, "CREATE TABLE tours (id int); INSERT INTO tours VALUES (7); TABLE tours") == "7"
    assert superuser(fresh, "SHOW data_checksums") == "on"
    shown = "SELECT pg_encoding_to_char(encoding), datcollate, pg_get_userbyid(datdba) FROM pg_database"
    assert superuser(fresh, f"{shown} WHERE datname = 'spirit'") == "UTF8|C.UTF-8|spirit"
    stored = superuser(fresh, "SELECT rolname, rolsuper, left(rolpassword, 14) FROM pg_authid WHERE rolcanlogin ORDER BY 1")
    assert stored.splitlines() == [
        "backup|f|SCRAM-SHA-256$", "exporter|f|SCRAM-SHA-256$", "postgres|t|", "spirit|f|SCRAM-SHA-256$"
    ]  # fmt: skip


def test_only_those_who_know_the_password_get_in(service):
    service.start().wait_healthy()
    assert "password authentication failed" in sql(service, "SELECT 1", password="other")
    assert "no password supplied" in sql(service, "SELECT 1", password="")
    assert "permission denied to create database" in sql(service, "CREATE DATABASE mine")


def test_the_exporter_reads_statistics_and_the_backup_reads_everything(service):
    service.start().wait_healthy()
    assert sql(service, "CREATE TABLE tours AS SELECT 7 AS id") == ""
    counted = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query IS NOT NULL"
    assert sql(service, counted, role="exporter", password="exporter") == "t"
    assert "permission denied" in sql(service, "TABLE tours", role="exporter", password="exporter")
    assert sql(service, "TABLE tours", role="backup", password="backup") == "7"
    assert "permission denied" in sql(service, "DELETE FROM tours", role="backup", password="backup")


def test_passwords_stand_in_no_argument_no_environment_no_log_and_no_statistics(service):
    service.start().wait_healthy()
    hexadecimal = PASSWORD.encode().hex()
    for file in ["cmdline", "environ"]:
        seen = Path(f"/proc/{service.pid}/{file}").read_bytes()
        assert PASSWORD.encode() not in seen and hexadecimal.encode() not in seen
    log = service.log.read_text()
    assert PASSWORD not in log and hexadecimal not in log and "ALTER ROLE" not in log
    assert superuser(service, "CREATE EXTENSION pg_stat_statements") == ""
    assert superuser(service, "SELECT count(*) FROM pg_stat_statements WHERE query ~* 'role'") == "0"


def test_a_changed_password_and_a_new_database_are_taken_over_and_nothing_is_dropped(service):
    service.start().wait_healthy()
    assert sql(service, "CREATE TABLE kept AS SELECT 7 AS id") == ""
    service.kill(signal.SIGINT)
    service.secret("postgres-password", "new")
    configure(service, databases=[{"name": "other-db", "owner": "spirit"}])
    service.start().wait_healthy()
    assert "password authentication failed" in sql(service, "SELECT 1")
    assert sql(service, "TABLE kept", password="new") == "7"
    assert sql(service, "SELECT current_database()", password="new", database="other-db") == "other-db"


def test_acknowledged_transactions_survive_a_kill(service):
    service.start().wait_healthy()
    sql(service, "CREATE TABLE bookings (id int)")
    for n in range(20):
        assert sql(service, f"INSERT INTO bookings VALUES ({n})") == ""
    service.kill(signal.SIGKILL)
    service.start().wait_healthy()
    assert sql(service, "SELECT count(*) FROM bookings") == "20"
    assert "redo starts" in service.log.read_text() or "redo is not required" in service.log.read_text()


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.0, 4.0])
def test_a_first_start_that_is_killed_at_any_moment_is_finished_by_the_next(fresh, seconds):
    fresh.start()
    time.sleep(seconds)
    fresh.process.kill()
    fresh.process.wait()
    fresh.start().wait_healthy()
    assert sql(fresh, "SELECT current_user") == "spirit"
    assert [path.name for path in data(fresh).parent.iterdir()] == ["main"]


def test_a_cluster_of_another_version_is_refused_with_the_way_out(fresh):
    old = fresh.make("volumes/var/lib/postgresql/14/main", fresh.owner, 0o700)
    (old / "PG_VERSION").write_text("14\n")
    assert fresh.start().process.wait(timeout=20) == 1
    log = fresh.log.read_text()
    assert "is a cluster of PostgreSQL 14; this image has PostgreSQL 15" in log
    assert "pg_dumpall" in log and not data(fresh).exists()


def test_a_stop_is_fast_and_clean_with_a_client_inside(service):
    service.start().wait_healthy()
    command = service.arguments(
        [*PSQL, "-h", "/run/cairn/self", "-U", "spirit", "-c", "SELECT pg_sleep(60)"], (), {"PGPASSWORD": PASSWORD}
    )
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND usename = 'spirit'"
    eventually(lambda: superuser(service, sleeping) == "1")
    before = time.monotonic()
    assert service.kill(signal.SIGINT) == 0
    assert time.monotonic() - before < 10
    assert client.wait(timeout=10) != 0
    assert "database system is shut down" in service.log.read_text().splitlines()[-1]


def test_a_stop_in_the_midst_of_a_start_is_no_failure(service):
    service.start()
    eventually(lambda: "starting PostgreSQL" in service.log.read_text(), 20)
    assert service.kill(signal.SIGINT) == 0
    service.start().wait_healthy()
    assert sql(service, "SELECT 1") == "1"


def test_parallel_queries_work_without_a_compiler_and_without_executable_memory(service):
    service.start().wait_healthy()
    text = """
        CREATE TABLE big AS SELECT n, md5(n::text) FROM generate_series(1, 200000) n;
        ANALYZE big;
        SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
        SET jit_above_cost = 0;
        EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM big WHERE md5 LIKE '%a%';
    """
    plan = sql(service, text)
    assert "Workers Launched: 2" in plan and "JIT" not in plan
    assert superuser(service, "SHOW jit") == "off"
    assert superuser(service, "SHOW dynamic_shared_memory_type") == "posix"


def test_settings_are_in_force(service):
    port = free_port()
    client = {"database": "spirit", "role": "spirit", "address": "127.0.0.1/32"}
    configure(
        service,
        listen={"addresses": ["127.0.0.1"], "port": port},
        access={"clients": [client]},
        connections={"limit": 33},
        timeouts={"statement": "7s"},
    )
    service.start().wait_healthy()
    assert superuser_at(service, port, "SHOW max_connections") == "33"
    tcp = {"host": "127.0.0.1", "port": port}
    assert sql(service, "SHOW statement_timeout", **tcp) == "7s"
    assert "password authentication failed" in sql(service, "SELECT 1", password="other", **tcp)
    refused = sql(service, "SELECT 1", role="backup", password="backup", **tcp)
    assert "no pg_hba.conf entry" in refused


def superuser_at(service, port, text):
    return sql(service, text, role="postgres", password="", database="postgres", port=port)


def test_without_the_hosts_configuration_it_starts_as_the_image_says(fresh):
    for file in fresh.config.iterdir():
        file.unlink()
    fresh.start().wait_healthy()
    assert superuser(fresh, "SHOW listen_addresses") == ""
    assert superuser(fresh, "SELECT count(*) FROM pg_roles WHERE rolcanlogin") == "1"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("role spirit missing", "no credential `missing`"),
        ("role spirit", "write role spirit CREDENTIAL"),
        ("role postgres postgres-password", "a role of PostgreSQL itself"),
        ("role a'b postgres-password", "use lower-case letters"),
        ("role spirit ../../etc/passwd", "is not the name of a credential"),
        ("database x", "owner of database x, is missing"),
        ("database x;y spirit", "use lower-case letters"),
        ("tablespace x y", "neither `role` nor `database`"),
    ],
)
def test_a_mistake_in_the_declaration_names_its_line(service, line, complaint):
    service.start().wait_healthy()
    service.kill(signal.SIGINT)
    (service.config / "databases").write_text(f"# a comment\n\n{line}")
    assert service.start().process.wait(timeout=20) == 1
    last = service.log.read_text().splitlines()[-1]
    assert "databases, line 3: " in last and complaint in last


def test_an_owner_that_does_not_exist_stops_the_start(service):
    (service.config / "databases").write_text("database x nobody\n")
    assert service.start().process.wait(timeout=60) == 1
    log = service.log.read_text()
    assert 'role "nobody" does not exist' in log and "roles and databases could not be made" in log


def test_a_stale_socket_of_a_killed_server_is_no_obstacle(service):
    service.start().wait_healthy()
    service.kill(signal.SIGKILL)
    lock = service.sockets / ".s.PGSQL.5432.lock"
    assert lock.exists()
    # A process of the same user has the dead server's number now.
    lock.write_text(lock.read_text().replace(lock.read_text().split("\n")[0], "1", 1))
    os.chown(lock, *service.owner)
    service.start().wait_healthy()
    assert sql(service, "SELECT 1") == "1"


def test_a_dump_restores_into_an_empty_volume(service, make_service):
    """The way from one major version to the next, and the way back from a lost disk."""
    service.start().wait_healthy()
    sql(service, "CREATE TABLE tours AS SELECT n FROM generate_series(1, 1000) n")
    dump = service.run(
        "/usr/lib/postgresql/15/bin/pg_dump", "-h", "/run/cairn/self", "-U", "backup", "-w", "spirit",
        environment={"PGPASSWORD": "backup"},
    )  # fmt: skip
    assert dump.returncode == 0, dump.stderr
    service.kill(signal.SIGINT)
    shutil.rmtree(service.folder / "volumes/var/lib/postgresql/15")
    service.start().wait_healthy()
    assert sql(service, dump.stdout).strip() == ""
    assert sql(service, "SELECT sum(n) FROM tours") == "500500"
