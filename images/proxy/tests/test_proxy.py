"""What clients see of the proxy, by the image's own nginx with the rendered settings."""

import gzip
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import brotli
import pytest
from imagetest import eventually
from replica import BIG, Replica

IMAGE = "proxy"


def test_http_is_sent_to_https(running):
    answer = running.get("/api/v1/tours?q=a", tls=False)
    assert (answer.status, answer.headers["Location"]) == (
        301, f"https://spirittours.com:{running.https}/api/v1/tours?q=a"
    )  # fmt: skip
    assert running.get("/healthz", tls=False).status == 200


def test_proofs_for_the_acme_server_are_served_over_http(running):
    folder = running.webroot / ".well-known/acme-challenge"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    running.webroot.chmod(0o755)
    (folder / "token").write_text("token.thumbprint")
    answer = running.get("/.well-known/acme-challenge/token", tls=False)
    assert (answer.status, answer.content) == (200, b"token.thumbprint")
    assert running.get("/.well-known/acme-challenge/other", tls=False).status == 404


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_tls_is_spoken(running, version):
    with running.handshake(minimum_version=version, maximum_version=version) as connection:
        assert connection.version() == version.name.replace("_", ".")
        name, _, bits = connection.cipher()
        assert bits >= 128 and ("GCM" in name or "CHACHA20" in name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(running, version):
    with pytest.raises(ssl.SSLError, match="(?i)protocol|handshake|alert"):
        running.handshake(minimum_version=version, maximum_version=version, ciphers="ALL:@SECLEVEL=0")


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_weak_ciphers_are_refused(running, cipher):
    with pytest.raises(ssl.SSLError, match="(?i)handshake"):
        running.handshake(maximum_version=ssl.TLSVersion.TLSv1_2, ciphers=f"{cipher}:@SECLEVEL=0")


def test_http_2_is_spoken(running):
    with running.handshake(alpn=["h2", "http/1.1"]) as connection:
        assert connection.selected_alpn_protocol() == "h2"
    url = f"https://127.0.0.1:{running.https}/health"
    shown = subprocess.run(
        ["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == "2 200"


@pytest.mark.parametrize("path", ["/", "/api/v1/tours", "/static/missing.js", "/healthz"])
def test_every_answer_has_the_security_headers_once(running, path):
    headers = running.get(path).headers
    for name, wanted in {
        "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Permissions-Policy": "camera=()",
    }.items():
        [value] = headers.get_all(name)
        assert value.startswith(wanted), name
    assert headers["Server"] == "nginx"


def test_hsts_is_not_sent_over_http(running):
    assert running.get("/healthz", tls=False).headers["Strict-Transport-Security"] is None


def burst_of(proxy, path, count):
    return [proxy.get(path) for _ in range(count)]


@pytest.mark.parametrize(
    ("path", "zone"), [("/", "general"), ("/api/v1/tours", "api"), ("/api/v1/auth/login", "auth")]
)
def test_over_the_limit_a_client_is_told_to_wait(proxy, path, zone):
    limits = {name: {"rate": 1, "burst": 50} for name in ["general", "api", "auth"]}
    limits[zone] = {"rate": 1, "burst": 3}
    proxy.start(limits=limits)
    answers = burst_of(proxy, path, 8)
    assert [answer.status for answer in answers[:4]] == [200] * 4
    refused = answers[-1]
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Content-Type"].startswith("application/json")
    assert "Too many requests" in json.loads(refused.content)["detail"]
    assert refused.headers["X-Frame-Options"] == "DENY"
    # The others count for themselves, and health has no limit.
    assert all(answer.status == 200 for answer in burst_of(proxy, "/health", 20))
    assert proxy.get(path, Accept="text/html").headers["Content-Type"].startswith("text/html")


def test_the_zones_have_the_rates_of_the_fleet(proxy):
    proxy.configure()
    text = (proxy.service.config / "nginx.conf").read_text()
    rates = dict(re.findall(r"zone=(\w+):10m\s+rate=(\d+)r/s", text))
    assert rates == {"general": "20", "api": "15", "auth": "10"}


@pytest.mark.parametrize(
    ("coding", "unpack"), [("br", brotli.decompress), ("gzip", gzip.decompress)]
)
def test_answers_are_compressed_as_the_client_can_read_them(running, coding, unpack):
    answer = running.get("/api/big", Accept_Encoding=coding)
    assert answer.headers["Content-Encoding"] == coding
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert unpack(answer.content) == BIG and len(answer.content) < len(BIG) // 5
    assert running.get("/api/big").headers["Content-Encoding"] is None


def test_assets_are_kept_for_a_year_and_errors_are_not(running):
    assert running.get("/static/app.1a2b.js").headers.get_all("Cache-Control") == ["public, max-age=31536000, immutable"]
    missing = running.get("/static/missing.js")
    assert missing.status == 404 and "max-age" not in str(missing.headers.get_all("Cache-Control"))


def test_websockets_go_through(running):
    with running.handshake() as connection:
        connection.sendall(
            b"GET /api/v1/tours/walk/availability/socket HTTP/1.1\r\nHost: spirittours.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1000)
        assert head.startswith(b"HTTP/1.1 101")
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b"hello\n"


def test_events_arrive_when_they_are_sent(running):
    connection = running.connection()
    connection.request("GET", "/api/v1/tours/walk/availability/events", headers={"Accept-Encoding": "br, gzip"})
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] is None
    # The replica holds the second back until the first has been read.
    assert answer.read1() == b"data: first\n\n"
    running.replica.go_on.set()
    assert answer.read() == b"data: second\n\n"


def test_what_a_client_says_of_itself_is_not_believed(running):
    seen = running.seen("/api/v1/tours", X_Forwarded_For="1.2.3.4", X_Forwarded_Proto="http", X_Request_Id="mine")
    headers = seen["headers"]
    assert (headers["X-Forwarded-For"], headers["X-Forwarded-Proto"]) == ("127.0.0.1", "https")
    assert re.fullmatch("[0-9a-f]{32}", headers["X-Request-Id"])
    assert headers["Host"] == "spirittours.com"


def test_what_a_declared_balancer_says_is_believed(proxy):
    proxy.start(
        balancer={"addresses": ["127.0.0.0/8"]}, tls={"enabled": False}, limits={"exempt": ["127.0.0.0/8"]}
    )
    told = {"X_Forwarded_For": "6.6.6.6, 1.2.3.4", "X_Forwarded_Proto": "https", "tls": False}
    seen = proxy.seen("/api/v1/tours", **told)["headers"]
    assert (seen["X-Forwarded-For"], seen["X-Forwarded-Proto"]) == ("1.2.3.4", "https")
    assert proxy.get("/", **told).headers["Strict-Transport-Security"].startswith("max-age")
    redirected = proxy.get("/a", tls=False, X_Forwarded_For="1.2.3.4", X_Forwarded_Proto="http")
    assert (redirected.status, redirected.headers["Location"]) == (301, "https://spirittours.com/a")
    # The public address of the client counts for what is private.
    assert proxy.get("/metrics", **told).status == 403
    assert proxy.get("/ready", **told).status == 403


def test_health_is_public_and_numbers_are_for_private_networks(running):
    assert json.loads(running.get("/healthz").content) == {"status": "ok"}
    for path in ["/health", "/ready", "/metrics"]:
        assert running.seen(path)["path"] == path


def test_without_a_replica_browsers_and_programs_are_told_so(running):
    running.replica.close()
    answer = running.get("/api/v1/tours")
    assert answer.status == 503 and "cannot be reached" in json.loads(answer.content)["detail"]
    assert answer.headers["Retry-After"] and answer.headers["Cache-Control"] == "no-store"
    assert b"<!doctype html>" in running.get("/", Accept="text/html").content
    assert running.get("/healthz").status == 200


def test_maintenance_is_switched_on_by_a_file_and_by_a_setting(running):
    flag = running.service.sockets / "maintenance"
    flag.touch()
    answer = running.get("/api/v1/tours", method="POST", body="x")
    assert answer.status == 503 and "maintained" in json.loads(answer.content)["detail"]
    assert running.get("/healthz").status == 200
    flag.unlink()
    assert running.get("/api/v1/tours").status == 200
    running.configure(maintenance={"enabled": True})
    os.kill(running.service.pid, signal.SIGHUP)
    eventually(lambda: running.get("/").status == 503)


def test_maintenance_with_an_end_says_when(running):
    flag = running.service.sockets / "maintenance"
    until = "Wed, 25 Nov 2026 18:30:00 GMT"
    flag.with_name(f"maintenance until {until}").touch()
    flag.symlink_to(f"maintenance until {until}")
    for path in ("/api/v1/tours", "/", "/static/app.js"):
        answer = running.get(path)
        assert (answer.status, answer.getheader("Retry-After")) == (503, until), path
    flag.unlink()
    flag.touch()
    answer = running.get("/api/v1/tours")
    assert (answer.status, answer.getheader("Retry-After")) == (503, "60")


def test_checks_of_the_host_get_through_maintenance_while_they_run(running):
    flag, checks = (running.service.sockets / name for name in ("maintenance", "maintenance.checks"))
    paths = ("/api/v1/tours", "/", "/static/app.js", "/api/v1/auth/login")
    open_to_all = {path: running.get(path).status for path in paths}
    assert 503 not in open_to_all.values()
    flag.touch()
    assert {running.get(path).status for path in paths} == {503}
    checks.touch()
    assert {path: running.get(path).status for path in paths} == open_to_all
    # Who passes on what somebody else asks is no check.
    for header in ("X-Forwarded-For", "Forwarded", "Via"):
        assert running.get("/api/v1/tours", **{header: "192.0.2.7"}).status == 503, header
    checks.unlink()
    assert running.get("/api/v1/tours").status == 503
    flag.unlink()
    checks.touch()
    running.configure(maintenance={"enabled": True})
    os.kill(running.service.pid, signal.SIGHUP)
    checks.unlink()
    eventually(lambda: running.get("/").status == 503)
    checks.touch()
    assert running.get("/api/v1/tours").status == 200


def test_a_switch_of_the_api_moves_new_requests_without_a_word_to_nginx(running):
    other = running.service.make("replicas/two", (0, 0), 0o755)
    (other / "b").touch()
    other.with_name("b").symlink_to("two")
    new = Replica(other / "1.sock", "b")

    def asked():
        return {running.seen("/", method="POST", body="x")["replica"] for _ in range(20)}

    assert asked() == {"a"}
    running.switch("two")
    assert asked() == {"b"}
    running.switch("one")
    assert asked() == {"a"}
    # Not one for each request: at most one for each worker of nginx, and they were kept over there and back.
    workers = os.cpu_count()
    assert 1 <= running.replica.connections <= workers and 1 <= new.connections <= workers
    new.close()


def test_a_busy_replica_is_spared_and_one_with_streams_is_not(running):
    other = Replica(running.replicas / "2.sock", "b")
    both = [running.replica, other]
    stream = running.connection()
    stream.request("GET", "/api/v1/tours/walk/availability/events", headers={"Host": "spirittours.com"})
    assert stream.getresponse().read1() == b"data: first\n\n"
    assert {running.seen("/")["replica"] for _ in range(10)} == {"a", "b"}

    slow = running.connection()
    slow.request("GET", "/api/slow", headers={"Host": "spirittours.com"})
    eventually(lambda: any(replica.busy.is_set() for replica in both))
    idle = next(replica for replica in both if not replica.busy.is_set())
    assert {running.seen("/")["replica"] for _ in range(10)} == {idle.name}
    for replica in both:
        replica.go_on.set()
    assert slow.getresponse().status == 200
    other.close()


def test_too_large_and_too_slow_is_refused(proxy):
    proxy.start(clients={"max_body": "1k", "header_timeout": "1s"})
    assert proxy.get("/api/v1/tours", method="POST", body=b"x" * 2000).status == 413
    with socket.create_connection(("127.0.0.1", proxy.http), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        before = time.monotonic()
        assert connection.recv(100) == b"" and time.monotonic() - before < 8


def test_each_request_is_one_line_of_json_without_its_query(running):
    running.get("/api/v1/tours?token=secret", User_Agent='a "quoted" \\ client')
    lines = eventually(lambda: [l for l in running.access_log.read_text().splitlines() if "/api/v1" in l])
    line = json.loads(lines[-1])
    assert (line["uri"], line["status"], line["client"]) == ("/api/v1/tours", 200, "127.0.0.1")
    assert line["agent"] == 'a "quoted" \\ client' and "secret" not in lines[-1]


def test_the_exporter_reads_numbers_on_a_socket_of_its_own(running):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.service.sockets / "1.sock"))
        connection.sendall(b"GET /status HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert b"Active connections" in answer


def test_other_names_are_refused_where_the_host_says_so(proxy):
    proxy.start(site={"reject_other_names": True})
    assert proxy.get("/healthz", tls=False).status == 200
    with proxy.handshake() as connection:
        assert connection.version()
    raw = socket.create_connection(("127.0.0.1", proxy.https), timeout=10)
    from conftest import trusting

    with pytest.raises(ssl.SSLError, match="(?i)unrecognized"):
        trusting().wrap_socket(raw, server_hostname="other.example")


def test_the_configuration_for_containers_and_for_plain_hosts_is_sound(proxy):
    for name in ["container.conf", "nginx.conf"]:
        result = proxy.service.run("/usr/sbin/nginx", "-t", "-c", f"/etc/nginx/{name}")
        assert result.returncode == 0, result.stderr
