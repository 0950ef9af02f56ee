"""Certificates from a real ACME server, by the image's own Certbot."""

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority import Authority
from cryptography import x509
from imagetest import eventually, render, settings

IMAGE = "certbot"
VOLUMES = ["/var/lib/certificates", "/var/lib/acme", "/var/lib/certbot"]
HERE = Path(__file__).parent.parent
NAME = "spirittours.com"
NAMES = [NAME, "www.spirittours.com", "api.spirittours.com"]
ONCE = ["/usr/bin/python3.11", "-m", "certificates"]


class Host:
    def __init__(self, service, authority):
        self.service, self.authority = service, authority
        self.volume = service.folder / "volumes/var/lib/certificates"
        (service.config / "ca.pem").write_text(authority.root.read_text())

    def configure(self, names=NAMES, **certificate):
        acme = {"server": self.authority.address, "email": "ops@spirittours.com", "ca_file": "/run/cairn/config/ca.pem"}
        values = settings(HERE, {"certificate": certificate, "acme": acme}) | {"names": names}
        render(HERE, values, self.service.config)
        return self

    def attempt(self, *options, code=0):
        """The one line that an attempt prints; the file says the same."""
        result = self.service.run(*ONCE, *options)
        assert result.returncode == code, result.stdout + result.stderr
        [line] = result.stdout.splitlines()
        assert (self.volume / "status.json").read_text() == f"{line}\n"
        return json.loads(line)

    def served(self):
        return x509.load_pem_x509_certificate((self.volume / "live" / NAME / "fullchain.pem").read_bytes())

    def names(self):
        extension = self.served().extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return extension.value.get_values_for_type(x509.DNSName)


@pytest.fixture
def make_host(make_service):
    made = []

    def make(**options):
        service = make_service(volumes=VOLUMES)
        # As a proxy of another user reads it.
        webroot = service.folder / "volumes/var/lib/acme"
        webroot.chmod(0o755)
        (service.folder / "volumes/var/lib/certificates").chmod(0o770)
        authority = Authority(service.make("authority", (0, 0), 0o755), webroot, **options).start()
        made.append(authority)
        return Host(service, authority).configure()

    yield make
    for authority in made:
        authority.close()


@pytest.fixture
def host(make_host):
    return make_host()


@pytest.mark.parametrize(
    ("names", "certificate", "said"),
    [
        (NAMES, {}, ""),
        (NAMES, {"renew_days": 0}, "`renew_days` is 0"),
        (["UPPER.example"], {}, "`names` is ['UPPER.example']"),
    ],
)
def test_a_check_reads_the_settings_and_asks_nobody(make_service, names, certificate, said):
    service = make_service(volumes=VOLUMES)
    render(HERE, settings(HERE, {"certificate": certificate}) | {"names": names}, service.config)
    result = service.run(*ONCE, "--check")
    assert result.returncode == (1 if said else 0), result.stderr
    assert said in result.stderr
    assert not (service.folder / "volumes/var/lib/certificates/status.json").exists()


def test_the_first_attempt_issues_one_certificate_for_all_names(host):
    status = host.attempt()
    assert (status["result"], status["error"], status["names"]) == ("issued", "", NAMES)
    assert sorted(host.names()) == sorted(NAMES)
    assert datetime.fromisoformat(status["not_after"]) > datetime.now(UTC) + timedelta(days=80)
    key = host.volume / "live" / NAME / "privkey.pem"
    assert (key.stat().st_mode & 0o777, key.stat().st_gid) == (0o640, 10002)
    chain = host.volume / "live" / NAME / "fullchain.pem"
    public = ["openssl", "x509", "-in", chain, "-noout", "-pubkey"]
    of_key = ["openssl", "pkey", "-in", key, "-pubout"]
    assert subprocess.check_output(public) == subprocess.check_output(of_key)
    # The proofs are gone again.
    assert list((host.service.folder / "volumes/var/lib/acme/.well-known/acme-challenge").iterdir()) == []


def test_one_that_is_not_due_is_kept_and_the_server_is_not_asked(host):
    host.attempt()
    before = host.served().serial_number
    host.authority.close()
    assert host.attempt()["result"] == "kept"
    assert host.served().serial_number == before


def test_other_names_get_a_new_certificate(host):
    host.attempt()
    host.configure(names=[*NAMES, "static.spirittours.com"])
    assert host.attempt()["result"] == "issued"
    assert "static.spirittours.com" in host.names()


def test_one_that_ends_soon_is_renewed(make_host):
    host = make_host(validity_seconds=36)
    host.attempt()
    before = host.served().serial_number
    assert host.attempt()["result"] == "kept"
    # The last third of its life begins.
    time.sleep((host.served().not_valid_after_utc - datetime.now(UTC)).total_seconds() - 11)
    assert host.attempt()["result"] == "renewed"
    assert host.served().serial_number != before


def test_it_is_renewed_when_people_say_so_and_two_versions_are_kept(host):
    host.attempt()
    serials = {host.served().serial_number}
    for _ in range(3):
        assert host.attempt("--renew-now")["result"] == "renewed"
        serials.add(host.served().serial_number)
    assert len(serials) == 4
    assert len(list((host.volume / "versions").iterdir())) == 2


def test_a_refused_proof_leaves_the_old_certificate_and_says_which_name(host):
    host.attempt()
    before = host.served().serial_number
    host.authority.misdirect("www.spirittours.com")
    status = host.attempt("--renew-now", code=1)
    assert status["result"] == "failed"
    assert "www.spirittours.com" in status["error"] and "connection" in status["error"].lower()
    assert host.served().serial_number == before
    assert datetime.fromisoformat(status["not_after"]) == host.served().not_valid_after_utc


def test_a_proof_that_is_not_served_is_refused(host):
    host.authority.stop_serving_proofs()
    host.authority.webroot = host.authority.folder
    host.authority.serve_proofs()
    status = host.attempt(code=1)
    assert "unauthorized" in status["error"] and "404" in status["error"]
    assert not (host.volume / "live").exists() and status["not_after"] == ""


def test_a_server_that_cannot_be_reached_leaves_the_old_certificate(host):
    host.attempt()
    before = host.served().serial_number
    host.authority.close()
    status = host.attempt("--renew-now", code=1)
    assert status["result"] == "failed" and status["error"].startswith(host.authority.address)
    assert "refused" in status["error"].lower()
    assert host.served().serial_number == before


def test_a_server_that_the_system_does_not_trust_is_not_used(host):
    (host.service.config / "ca.pem").write_text(other_root(host.service.folder))
    assert "certificate verify failed" in host.attempt(code=1)["error"].lower()


def other_root(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", folder / "k", "-out", folder / "c"],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "c").read_text()


def test_the_one_that_the_proxy_made_is_replaced(host):
    made = host.volume / f"versions/{NAME}.self-made"
    made.mkdir(parents=True)
    for file in ["fullchain.pem", "privkey.pem"]:
        (made / file).write_text("self-made")
    live = host.volume / "live"
    live.mkdir()
    (live / NAME).symlink_to(f"../versions/{NAME}.self-made")
    # The proxy's user made them; the group is the same.
    for path in [live, made.parent]:
        os.chown(path, 10002, 10002)
        path.chmod(0o770)
    assert host.attempt()["result"] == "issued"
    assert sorted(host.names()) == sorted(NAMES)


def test_a_run_that_was_killed_before_it_published_is_finished_by_the_next(host):
    host.attempt()
    serial = host.served().serial_number
    (host.volume / "live" / NAME).unlink()
    half = host.service.make(f"volumes/var/lib/certificates/versions/.{NAME}.making", host.service.owner, 0o750)
    (half / "fullchain.pem").write_text("half")
    host.authority.close()
    assert host.attempt()["result"] == "kept"
    assert host.served().serial_number == serial


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"names": ["-x.example"]}, "write host names"),
        ({"names": ["a.example --domain b.example"]}, "write host names"),
        ({"renew_days": 0}, "`renew_days` is 0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(host, change, complaint):
    host.configure(**change)
    status = host.attempt(code=1)
    assert status["result"] == "failed" and complaint in status["error"]


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [("CERTIFICATE_NAMES", "", "`names` is []"), ("CERTIFICATE_NAME", "../../etc", "it names a folder")],
)
def test_a_variable_that_cannot_be_used_is_named(host, variable, value, complaint):
    host.service.environment |= {variable: value}
    status = host.attempt(code=1)
    assert status["result"] == "failed" and complaint in status["error"]


def test_the_environment_goes_above_the_file(host):
    host.service.environment |= {"CERTIFICATE_NAMES": "a.example b.example", "CERTIFICATE_NAME": NAME}
    assert host.attempt()["names"] == ["a.example", "b.example"]
    assert sorted(host.names()) == ["a.example", "b.example"]


def test_as_a_service_it_goes_on_and_ends_when_it_is_told(host):
    host.service.start([*ONCE, "--every", "1s"])
    eventually(lambda: host.service.log.read_text().count('"kept"') >= 2, 60, host.service.log.read_text)
    assert '"issued"' in host.service.log.read_text().splitlines()[0]
    assert host.service.kill(signal.SIGTERM) == 0
