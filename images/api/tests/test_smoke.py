"""The fleet's smoke test, against the service as it is and as it should not be."""

import subprocess

import httpx
import pytest

from running import serve
from smoke import certificate
from smoke.__main__ import main
from smoke.report import Fault
from spirit.version import VERSION


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """A certificate for this machine that only itself vouches for; 30 days."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate_file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", str(key), "-out", str(certificate_file), "-days", "30"]
    command += ["-subj", "/O=Spirit tests", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return {"ssl_keyfile": str(key), "ssl_certfile": str(certificate_file)}


@pytest.fixture
def smoke(capsys):
    def run(*arguments):
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return run


def limits(**changes):
    """As they are by default, where the default is not for tests."""
    return {"rate_limit_login": "5/minute", "rate_limit_auth": "30/minute"} | changes


def test_a_stranger_gets_through_and_leaves_nothing(clean, smoke, sql, store):
    with serve(clean.settings(**limits())) as running:
        code, lines, errors = smoke("--url", f"http://{running.address}")
    assert (code, errors) == (0, ""), lines
    assert [line.split(": ")[0] for line in lines] == [
        "ok    health",
        "ok    ready",
        "ok    register and log in",
        "ok    write and read a review",
        "ok    remove the account",
        "ok    limit of passwords tried",
        "all 6 checks hold",
    ]
    assert f"version {VERSION}, " in lines[0]
    assert "database answers" in lines[1]
    assert "redis answers" in lines[1]
    assert "429 at attempt 5; Retry-After" in lines[5]
    for table in ("users", "reviews"):
        assert sql.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert store.keys("spirit:session*") == []


def test_the_limit_it_passes_locks_nobody_else_out(clean, smoke, account):
    with serve(clean.settings(**limits())) as running:
        url = f"http://{running.address}"
        # Twice, as after two deploys in a minute.
        assert [smoke("--url", url)[0] for _ in range(2)] == [0, 0]
        with httpx.Client(base_url=url) as client:
            account(client)


def test_a_limit_of_its_own_address_is_waited_for(clean, smoke):
    with serve(clean.settings(**limits() | {"rate_limit_auth": "1/second"})) as running:
        code, lines, _ = smoke("--url", f"http://{running.address}")
    assert code == 0, lines
    assert any(line.startswith("wait  1 s: POST /api/v1/auth/login") for line in lines), lines


def test_it_says_what_is_served_over_tls(clean, smoke, tls):
    with serve(clean.settings(**limits()), **tls) as running:
        url = f"https://{running.address}"
        code, lines, _ = smoke("--url", url, "--ca", tls["ssl_certfile"])
        assert code == 0, lines
        assert lines[0].startswith("ok    TLS: TLSv1.3 ")
        assert "certificate for localhost, 127.0.0.1 by Spirit tests, until " in lines[0]
        assert lines[0].endswith("(29 days)")
        assert lines[-1] == "all 7 checks hold"

        code, lines, errors = smoke("--url", url)
        assert code == 1
        assert lines[0].startswith("FAIL  TLS: the certificate is not to be believed: self")
        assert "of 2 checks failed" in errors

        code, lines, errors = smoke("--url", url, "--insecure", "--min-days", "60")
        assert code == 1
        assert lines[0].endswith("(29 days), which is less than 60 days")
        assert "1 of 7 checks failed:\n  TLS: " in errors


def test_a_certificate_for_another_name_is_refused(clean, smoke, tls, monkeypatch):
    """The name is taken from the address; here it leads to this machine."""
    resolve = certificate.socket.create_connection

    def here(address, timeout):
        return resolve(("127.0.0.1", address[1]), timeout)

    monkeypatch.setattr(certificate.socket, "create_connection", here)
    with serve(clean.settings(), **tls) as running:
        port = int(running.address.split(":")[1])
        trust = certificate.Trust(tls["ssl_certfile"], insecure=False)
        assert "localhost" in certificate.facts("localhost", port, trust, 1)
        with pytest.raises(Fault, match="Hostname mismatch"):
            certificate.facts("other.example", port, trust, 1)


def test_a_file_that_holds_no_certificates_is_named(smoke, tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    code, lines, errors = smoke("--url", "https://127.0.0.1:1", "--ca", str(file))
    assert (code, lines) == (1, [])
    assert f"cannot read certificates from {file}" in errors


def test_nobody_there_stops_it_at_once(smoke):
    code, lines, errors = smoke("--url", "http://127.0.0.1:1")
    assert code == 1
    assert len(lines) == 1 and lines[0].startswith("FAIL  health: ")
    assert "stopped: what follows needs `health`" in errors


def test_a_part_that_is_away_is_named_and_the_rest_is_tried(clean, smoke):
    with serve(clean.settings(database_name="postgres")) as running:
        code, lines, errors = smoke("--url", f"http://{running.address}")
    assert code == 1
    assert lines[1].startswith("FAIL  ready: migrations the database is at no revision")
    assert lines[2].startswith("FAIL  register and log in: POST /api/v1/auth/register gave 50")
    assert "2 of 3 checks failed" in errors


def test_redis_that_is_away_is_named(clean, smoke, sql):
    with serve(clean.settings(redis_socket="/nowhere/redis.sock")) as running:
        code, lines, _ = smoke("--url", f"http://{running.address}")
    assert code == 1
    assert lines[1] == "FAIL  ready: redis does not answer"
    sql.execute("DELETE FROM users")


def test_a_limit_that_does_not_hold_is_a_fault_and_so_are_no_tours(clean, smoke, sql):
    sql.execute("DELETE FROM tours")
    with serve(clean.settings()) as running:
        code, lines, errors = smoke("--url", f"http://{running.address}")
    assert code == 1
    assert "FAIL  limit of passwords tried: 20 wrong passwords, and no 429" in lines
    assert any("there are no tours" in line for line in lines)
    # Also after a fault it takes its account away.
    assert sql.execute("SELECT count(*) FROM users").fetchone() == (0,)
    assert "2 of 6 checks failed" in errors


@pytest.mark.parametrize("url", ["ftp://x", "nothing", "http://"])
def test_an_address_that_is_none_is_a_usage_error(url):
    with pytest.raises(SystemExit) as refused:
        main(["--url", url])
    assert refused.value.code == 2
