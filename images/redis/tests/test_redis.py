"""What the image promises, against its own Redis."""

import signal
import time
from pathlib import Path

import pytest
from imagetest import render, settings

IMAGE = "redis"
VOLUMES = ["/var/lib/redis"]
HERE = Path(__file__).parent.parent
# Every kind of character that a quoting mistake would trip over.
PASSWORD = "a \"b\" 'c' $(d) `e` \\x41 # %s ünï"


@pytest.fixture
def service(make_service):
    service = make_service(volumes=VOLUMES)
    service.secret("redis-password", PASSWORD + "\n")
    render(HERE, settings(HERE), service.config)
    return service


def ask(service, *words, password=PASSWORD, where=("-s", "/run/cairn/self/1.sock")):
    """One command; the answer of Redis or its error."""
    environment = {"REDISCLI_AUTH": password} if password else {}
    result = service.run("/usr/bin/redis-cli", *where, *words, environment=environment)
    return (result.stdout + result.stderr).strip()


def test_it_answers_those_who_know_the_password(service):
    service.start().wait_healthy()
    assert ask(service, "ping") == "PONG"
    assert ask(service, "ping", password=None).startswith("NOAUTH")
    assert "WRONGPASS" in ask(service, "ping", password="other")


def test_the_password_stands_in_no_argument_and_no_environment(service):
    service.start().wait_healthy()
    for file in ["cmdline", "environ"]:
        seen = Path(f"/proc/{service.pid}/{file}").read_bytes()
        assert PASSWORD.encode() not in seen
        assert b"\\x61\\x20" not in seen
    assert PASSWORD not in service.log.read_text()


def test_without_a_password_it_does_not_start(make_service):
    service = make_service(volumes=VOLUMES).start()
    assert service.process.wait(timeout=20) == 1
    assert "declare the secret redis-password" in service.log.read_text()


def test_without_the_hosts_configuration_it_starts_as_the_image_says(service):
    (service.config / "redis.conf").unlink()
    service.start().wait_healthy()
    assert ask(service, "config", "get", "maxmemory").splitlines() == ["maxmemory", "0"]
    assert ask(service, "config", "get", "appendonly").splitlines() == ["appendonly", "yes"]


def test_both_kinds_of_persistence_and_the_settings_are_in_force(service):
    changes = {
        "memory": {"limit": "64mb", "policy": "allkeys-lru"},
        "persistence": {"fsync": "always", "snapshots": [[7, 3], [60, 9]]},
    }
    render(HERE, settings(HERE, changes), service.config)
    service.start().wait_healthy()
    for key, value in {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "7 3 60 9",
        "maxmemory": str(64 << 20),
        "maxmemory-policy": "allkeys-lru",
        "port": "0",
        "enable-debug-command": "no",
    }.items():
        assert ask(service, "config", "get", key).splitlines() == [key, value]


def test_acknowledged_writes_survive_a_kill(service):
    service.start().wait_healthy()
    for n in range(50):
        assert ask(service, "set", f"session:{n}", f"user {n}") == "OK"
    service.kill(signal.SIGKILL)
    service.start().wait_healthy()
    assert ask(service, "dbsize") == "50"
    assert ask(service, "get", "session:49") == "user 49"


def test_a_torn_end_of_the_log_loads_up_to_the_tear(service):
    service.start().wait_healthy()
    assert ask(service, "set", "kept", "1") == "OK"
    service.kill(signal.SIGKILL)
    [log] = (service.folder / "volumes/var/lib/redis/appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    service.start().wait_healthy()
    assert ask(service, "get", "kept") == "1"


def test_a_stop_is_clean_and_leaves_a_snapshot(service):
    service.start().wait_healthy()
    assert ask(service, "set", "a", "1") == "OK"
    assert service.kill(signal.SIGTERM) == 0
    assert (service.folder / "volumes/var/lib/redis/dump.rdb").stat().st_size > 0


def test_two_servers_never_share_a_folder(service, make_service):
    service.start().wait_healthy()
    other = make_service(folder=service.folder)
    other.log = service.folder / "other.log"
    other.mount("/var/lib/redis", service.folder / "volumes/var/lib/redis")
    other.mount("/run/cairn/self", service.make("other-self", service.owner, 0o750))
    other.start()
    time.sleep(2)
    assert "waits for another Redis" in other.log.read_text()
    assert not other.healthy()
    service.kill(signal.SIGTERM)
    other.wait_healthy()


def test_tcp_only_where_the_host_declares_it(service):
    from imagetest import free_port

    port = free_port()
    render(HERE, settings(HERE, {"listen": {"addresses": ["127.0.0.1"], "port": port}}), service.config)
    service.start().wait_healthy()
    where = ("-h", "127.0.0.1", "-p", str(port))
    assert ask(service, "ping", where=where) == "PONG"
    assert ask(service, "ping", where=where, password=None).startswith("NOAUTH")


def test_it_is_unhealthy_when_writes_are_refused(service):
    service.start().wait_healthy()
    folder = service.folder / "volumes/var/lib/redis"
    assert ask(service, "set", "a", "1") == "OK"
    folder.chmod(0o500)
    assert ask(service, "bgsave").startswith("Background")
    from imagetest import eventually

    eventually(lambda: not service.healthy(), 20)
    folder.chmod(0o750)
