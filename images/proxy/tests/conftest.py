"""A proxy as a host runs it: rendered configuration, a replica on its socket, free ports."""

import http.client
import json
import os
import socket
import ssl
from pathlib import Path

import pytest
from imagetest import eventually, free_port, render, settings
from replica import Replica

HERE = Path(__file__).parent.parent
NAME = "spirittours.com"
NAMES = [NAME, "www.spirittours.com", "api.spirittours.com"]


class Proxy:
    def __init__(self, service):
        self.service = service
        self.http, self.https = free_port(), free_port()
        self.replicas = service.make("replicas/one", (0, 0), 0o755)
        self.current = service.folder / "replicas/current"
        self.current.symlink_to("one")
        self.current.with_name("a").symlink_to("one")
        service.mount("/run/cairn/api", service.folder / "replicas", writable=False)
        self.replica = Replica(self.replicas / "1.sock", "a")
        self.certificates = service.folder / "volumes/var/lib/certificates"
        self.webroot = service.folder / "volumes/var/lib/acme"
        self.certificates.chmod(0o770)
        self.access_log = service.sockets / "access.log"

    def configure(self, **changes):
        base = {
            "listen": {"http": [f"127.0.0.1:{self.http}"], "https": [f"127.0.0.1:{self.https}"]},
            "log": {"access": "/run/cairn/self/access.log"},
            "tls": {"public_port": self.https},
        }
        for table, values in changes.items():
            base[table] = base.get(table, {}) | values
        sockets = [f"/run/cairn/api/current/{n}.sock" for n in (1, 2, 3)]
        around = {"upstreams": {"api": sockets}, "names": NAMES}
        render(HERE, settings(HERE, base) | around, self.service.config)
        return self

    def start(self, **changes):
        self.configure(**changes)
        self.service.environment["CERTIFICATE_CHECK_SECONDS"] = "1"
        self.service.start(["/usr/bin/busybox", "sh", "/usr/lib/cairn/proxy-start"])
        eventually(self.answers, 30, self.service.log.read_text)
        return self

    def switch(self, to):
        """As the agent moves traffic: one rename."""
        link = self.current.with_name("next")
        link.symlink_to(to)
        link.rename(self.current)

    def answers(self):
        assert self.service.process.poll() is None, self.service.log.read_text()
        try:
            return self.get("/healthz", tls=False).status == 200
        except OSError:
            return False

    def connection(self, tls=True, context=None):
        if not tls:
            return http.client.HTTPConnection("127.0.0.1", self.http, timeout=20)
        return http.client.HTTPSConnection("127.0.0.1", self.https, timeout=20, context=context or trusting())

    def get(self, path, tls=True, method="GET", body=None, **headers):
        connection = self.connection(tls)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": NAME} | names)
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer

    def seen(self, path, **headers):
        """What the replica saw of a request."""
        return json.loads(self.get(path, **headers).content)

    def handshake(self, **changes):
        """An established TLS connection, by a client with these properties."""
        context = trusting()
        for key, value in changes.items():
            if key == "ciphers":
                context.set_ciphers(value)
            elif key == "alpn":
                context.set_alpn_protocols(value)
            else:
                setattr(context, key, value)
        raw = socket.create_connection(("127.0.0.1", self.https), timeout=10)
        return context.wrap_socket(raw, server_hostname=NAME)

    def served_certificate(self):
        with self.handshake() as connection:
            return connection.getpeercert(binary_form=True)

    def close(self):
        self.replica.close()


def trusting():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def proxy(make_service):
    proxy = Proxy(make_service(volumes=["/var/lib/certificates", "/var/lib/acme"]))
    yield proxy
    proxy.close()


@pytest.fixture
def running(proxy):
    """With the settings as they are, but without limits for the test itself."""
    return proxy.start(limits={"exempt": ["127.0.0.0/8"]})


def own(path, service):
    os.chown(path, *service.owner)
