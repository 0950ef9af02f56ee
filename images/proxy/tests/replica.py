"""What stands behind the proxy in its tests: a server on a UNIX socket that says what it was asked."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

BIG = json.dumps({"tours": ["a quiet walk along the river"] * 200}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "proxy"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            self.upgrade()
        elif self.path.endswith("/availability/events"):
            self.events()
        elif self.path == "/api/slow":
            self.server.busy.set()
            self.server.go_on.wait(20)
            self.answer(200, b"{}")
        elif self.path.startswith("/static/missing"):
            self.answer(404, b"no", {"Cache-Control": "no-store"})
        elif self.path.startswith("/api/big"):
            self.answer(200, BIG)
        else:
            seen = {"path": self.path, "headers": dict(self.headers.items()), "replica": self.server.name}
            self.answer(200, json.dumps(seen).encode(), {"X-Frame-Options": "from-replica"})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def upgrade(self):
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.write(self.rfile.readline())
        self.close_connection = True

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.server.go_on.wait(20)
        self.wfile.write(b"data: second\n\n")
        self.close_connection = True


class Replica(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path, name):
        super().__init__(str(path), Handler)
        path.chmod(0o777)
        self.name = name
        self.connections = 0
        self.busy = threading.Event()
        self.go_on = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def close(self):
        self.shutdown()
        self.server_close()
