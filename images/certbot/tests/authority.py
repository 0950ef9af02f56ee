"""A real ACME server on the loopback: pebble, with name service by pebble-challtestsrv.

It checks proofs over HTTP as a public authority does, on a port of its own instead of 80.
"""

import functools
import http.server
import json
import socket
import subprocess
import threading
import urllib.request

from imagetest import eventually, free_port


class Authority:
    def __init__(self, folder, webroot, validity_seconds=90 * 86400):
        self.folder = folder
        self.webroot = webroot
        self.api, self.management, self.names, self.names_management, self.web = (free_port() for _ in range(5))
        self.root = folder / "ca.pem"
        self.processes = []
        self.site = None
        self.make_own_certificate()
        config = {
            "pebble": {
                "listenAddress": f"127.0.0.1:{self.api}",
                "managementListenAddress": f"127.0.0.1:{self.management}",
                "certificate": str(self.root),
                "privateKey": str(folder / "ca.key"),
                "httpPort": self.web,
                "tlsPort": free_port(),
                "ocspResponderURL": "",
                "externalAccountBindingRequired": False,
                "certificateValidityPeriod": validity_seconds,
            }
        }
        (folder / "pebble.json").write_text(json.dumps(config))

    @property
    def address(self):
        return f"https://localhost:{self.api}/dir"

    def make_own_certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", self.folder / "ca.key", "-out", self.root],
            check=True, capture_output=True,
        )  # fmt: skip

    def start(self):
        self.run(
            "pebble-challtestsrv", "-dns01", f"127.0.0.1:{self.names}", "-management", f"127.0.0.1:{self.names_management}",
            "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "",
        )  # fmt: skip
        self.run("pebble", "-config", self.folder / "pebble.json", "-dnsserver", f"127.0.0.1:{self.names}")
        self.serve_proofs()
        for port in [self.api, self.names_management]:
            eventually(lambda port=port: is_open(port), 20)
        return self

    def run(self, *command):
        with (self.folder / "authority.log").open("a") as log:
            # Each order is checked anew, at once, and now and then a nonce is refused, as in real life.
            # Certbot asks once more after a refused nonce. Two in a row, which Pebble would give now
            # and then, it reports as "can't set attribute".
            pebble = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "0"}
            environment = {"PATH": "/usr/bin"} | pebble
            self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def serve_proofs(self):
        """What nginx does in production: the web root over HTTP."""
        handler = functools.partial(Quiet, directory=str(self.webroot))
        self.site = http.server.ThreadingHTTPServer(("127.0.0.1", self.web), handler)
        threading.Thread(target=self.site.serve_forever, daemon=True).start()

    def stop_serving_proofs(self):
        self.site.shutdown()
        self.site.server_close()
        self.site = None

    def misdirect(self, name):
        """The name leads to another host, where nobody listens."""
        body = json.dumps({"host": f"{name}.", "addresses": ["127.0.0.9"]}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.names_management}/add-a", body).close()

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []
        if self.site:
            self.stop_serving_proofs()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
