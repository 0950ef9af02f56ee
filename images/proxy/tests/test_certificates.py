"""Certificates: there is always one, a new one is taken over, and no client notices."""

import http.client
import signal
import socket
import subprocess
import threading
import time

from conftest import NAMES, own, trusting
from cryptography import x509
from imagetest import eventually

IMAGE = "proxy"


def names_of(certificate):
    found = x509.load_der_x509_certificate(certificate)
    return found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def issue(proxy, version, common_name):
    """As images/certbot does: a folder beside, then the link to it is replaced."""
    folder = proxy.certificates / "versions" / version
    folder.mkdir(parents=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
         "-subj", f"/CN={common_name}", "-addext", f"subjectAltName=DNS:{common_name}",
         "-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in [folder, folder / "privkey.pem", folder / "fullchain.pem"]:
        own(path, proxy.service)
    link = proxy.certificates / "live/.next"
    link.symlink_to(f"../versions/{version}")
    link.rename(proxy.certificates / "live/spirittours.com")


def test_before_the_first_certificate_one_is_made_for_all_names(proxy):
    proxy.start()
    assert names_of(proxy.served_certificate()) == NAMES
    key = proxy.certificates / "live/spirittours.com/privkey.pem"
    assert key.stat().st_mode & 0o007 == 0
    first = proxy.served_certificate()
    proxy.service.kill(signal.SIGQUIT)
    proxy.start()
    assert proxy.served_certificate() == first


def test_a_start_that_was_killed_while_making_one_is_finished_by_the_next(proxy):
    made = proxy.service.make("volumes/var/lib/certificates/versions/spirittours.com.self-made", proxy.service.owner, 0o700)
    own(made.parent, proxy.service)
    (made / "privkey.pem").write_text("half a")
    proxy.start()
    assert "spirittours.com" in names_of(proxy.served_certificate())


class Clients:
    """Keep-alive clients that send POST without a pause; nothing may fail, not once."""

    def __init__(self, proxy, count=8):
        self.proxy, self.stop, self.failures, self.requests = proxy, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def run(self):
        connection = http.client.HTTPSConnection("127.0.0.1", self.proxy.https, timeout=20, context=trusting())
        while not self.stop.is_set():
            try:
                connection.request("POST", "/api/v1/tours", b"x")
                answer = connection.getresponse()
                answer.read()
                self.requests += 1
                if answer.status != 200:
                    self.failures.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_a_new_certificate_is_served_without_a_failed_request(proxy):
    proxy.start(limits={"exempt": ["127.0.0.0/8"]})
    with Clients(proxy) as clients:
        for n in range(3):
            issue(proxy, f"spirittours.com.{n}", f"n{n}.spirittours.com")
            eventually(lambda n=n: names_of(proxy.served_certificate()) == [f"n{n}.spirittours.com"], 20)
    assert clients.failures == [] and clients.requests > 200


def test_nginx_is_replaced_beside_the_old_one_without_a_failed_request(proxy, make_service):
    """Both inherit the sockets, as from systemd; the old one gets QUIT."""
    proxy.configure(limits={"exempt": ["127.0.0.0/8"]})
    sockets = [socket.create_server(("127.0.0.1", port), backlog=4096) for port in (proxy.http, proxy.https)]
    # nginx believes that they are so, and waits for ever in accept() where they are not.
    for held in sockets:
        held.setblocking(False)
    descriptors = tuple(held.fileno() for held in sockets)

    def start(service):
        service.environment["NGINX"] = "".join(f"{fd};" for fd in descriptors)
        service.start(["/usr/bin/busybox", "sh", "/usr/lib/cairn/proxy-start"], descriptors)
        eventually(lambda: (service.sockets / "1.sock").exists(), 20, service.log.read_text)

    start(proxy.service)
    eventually(lambda: proxy.get("/").status == 200)
    live = proxy.service
    with Clients(proxy) as clients:
        for n in range(3):
            new = make_service(folder=proxy.service.folder)
            new.binds = dict(proxy.service.binds)
            new.sockets = new.make(f"self-{n}", new.owner, 0o750)
            new.mount("/run/cairn/self", new.sockets)
            new.log = new.folder / f"log-{n}"
            start(new)
            assert live.kill(signal.SIGQUIT) == 0
            live = new
            time.sleep(0.5)
    for held in sockets:
        held.close()
    assert clients.failures == [] and clients.requests > 200


def test_a_certificate_without_its_key_is_not_taken_over(proxy):
    proxy.start()
    before = proxy.served_certificate()
    issue(proxy, "spirittours.com.broken", "broken.spirittours.com")
    (proxy.certificates / "live/spirittours.com/privkey.pem").write_text("no key")
    eventually(lambda: "cannot be loaded" in proxy.service.log.read_text(), 20)
    assert proxy.served_certificate() == before
    issue(proxy, "spirittours.com.good", "good.spirittours.com")
    eventually(lambda: names_of(proxy.served_certificate()) == ["good.spirittours.com"], 20)


def test_a_volume_that_cannot_be_written_is_named(proxy):
    proxy.certificates.chmod(0o550)
    proxy.configure()
    proxy.service.start(["/usr/bin/busybox", "sh", "/usr/lib/cairn/proxy-start"])
    assert proxy.service.process.wait(timeout=20) == 1
    assert "cannot write to /var/lib/certificates: mount a folder there" in proxy.service.log.read_text()


def test_nothing_of_the_start_outlives_nginx(proxy):
    proxy.start()
    assert proxy.service.kill(signal.SIGQUIT) == 0
