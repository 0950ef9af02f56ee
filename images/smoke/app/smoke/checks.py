"""What a stranger does: look, register, write, read, leave; and be stopped when too eager."""

import secrets
import time

import httpx

from smoke.report import Fault, Report

API = "/api/v1"
# Ours to receive mail for, so that no stranger's address is written down anywhere.
DOMAIN = "smoke.spirittours.com"
# Above the account's limit, below the address's, by default (config.toml).
TRIES = 20
# Seconds that we wait for a limit of our own address to pass.
PATIENCE = 60


class Smoke:
    def __init__(self, client: httpx.Client, report: Report) -> None:
        self.client = client
        self.report = report
        self.email = f"smoke-{secrets.token_hex(6)}@{DOMAIN}"
        self.password = secrets.token_urlsafe(24)
        self.headers: dict[str, str] = {}

    def run(self) -> None:
        self.health()
        self.ready()
        try:
            self.account()
            self.review()
        finally:
            self.leave()
        self.limit()

    def ask(self, method: str, path: str, status: int, **more) -> httpx.Response:
        answer = self.client.request(method, path, headers=self.headers, **more)
        wait = answer.headers.get("retry-after", "")
        if answer.status_code == 429 and wait.isdecimal() and int(wait) <= PATIENCE:
            # Several deploys in a minute come from one address. That is no fault of the service.
            print(f"wait  {wait} s: {method} {path} is over the limit of our address", flush=True)
            time.sleep(int(wait) + 0.1)
            answer = self.client.request(method, path, headers=self.headers, **more)
        if answer.status_code != status:
            raise Fault(
                f"{method} {path} gave {answer.status_code}, not {status}: {answer.text[:200]}"
            )
        return answer

    def health(self) -> None:
        with self.report.check("health", needed=True) as said:
            answer = self.ask("GET", "/health", 200)
            took = answer.elapsed.total_seconds() * 1000
            said(f"version {answer.json()['version']}, {took:.0f} ms")

    def ready(self) -> None:
        with self.report.check("ready") as said:
            answer = self.client.get("/ready")
            checks = answer.json()["checks"]
            for name, check in checks.items():
                if not check["ok"]:
                    raise Fault(f"{name} {check['detail']}")
                said(f"{name} {check['detail']}")
            if answer.status_code != 200 or not {"database", "redis"} <= checks.keys():
                raise Fault(f"GET /ready gave {answer.status_code}")

    def account(self) -> None:
        credentials = {"email": self.email, "password": self.password}
        with self.report.check("register and log in", needed=True) as said:
            self.ask("POST", f"{API}/auth/register", 201, json=credentials | {"name": "Smoke"})
            answer = self.ask("POST", f"{API}/auth/login", 200, json=credentials)
            self.headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
            me = self.ask("GET", f"{API}/auth/me", 200).json()
            if (me["email"], me["role"]) != (self.email, "traveller"):
                raise Fault(f"logged in as {me['email']} with the role {me['role']}")
            said(self.email)

    def review(self) -> None:
        with self.report.check("write and read a review") as said:
            tours = self.ask("GET", f"{API}/tours?limit=1", 200).json()["items"]
            if not tours:
                raise Fault("there are no tours: have the migrations run?")
            text = f"smoke {secrets.token_hex(8)}"
            path = f"{API}/tours/{tours[0]['id']}/reviews"
            written = self.ask("POST", path, 201, json={"rating": 5, "text": text}).json()
            mine = f"{API}/reviews/{written['id']}"
            if self.ask("GET", mine, 200).json()["text"] != text:
                raise Fault("what is read is not what was written")
            self.ask("POST", path, 409, json={"rating": 5, "text": text})
            self.ask("DELETE", mine, 204)
            self.ask("GET", mine, 404)
            said(f"of {tours[0]['id']}, and removed it")

    def leave(self) -> None:
        if not self.headers:
            return
        with self.report.check("remove the account") as said:
            self.ask("DELETE", f"{API}/auth/me", 204)
            self.ask("GET", f"{API}/auth/me", 401)
            said("its token is worth nothing any more")
        self.headers = {}

    def limit(self) -> None:
        """Of an account that is gone: the limit counts before anybody looks for the account."""
        wrong = {"email": self.email, "password": self.password[::-1]}
        with self.report.check("limit of passwords tried") as said:
            for tried in range(1, TRIES + 1):
                answer = self.client.post(f"{API}/auth/login", json=wrong)
                if answer.status_code == 429:
                    wait = answer.headers.get("retry-after")
                    said(f"429 at attempt {tried}")
                    said(f"Retry-After {wait} s" if wait else "from the proxy, no Retry-After")
                    return
                if answer.status_code != 401:
                    raise Fault(f"a wrong password gave {answer.status_code}")
            raise Fault(f"{TRIES} wrong passwords, and no 429")
