"""`python -m spirit.healthcheck`: asks the service on this machine for `/health`.

For the image's health check. Exit code 0 means healthy, anything else comes with a line on standard
error.
"""

import sys

import httpx

from spirit.bind import bind_address

TIMEOUT_SECONDS = 2.5
# Where to ask a server that listens on all addresses.
ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # nosec


def client_of(bind: str) -> httpx.Client:
    # Verifying nothing saves loading the authorities: no TLS is spoken here.
    more = {"timeout": TIMEOUT_SECONDS, "trust_env": False, "verify": False}  # nosec
    if bind.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=bind.removeprefix("unix:"), verify=False)  # nosec
        return httpx.Client(base_url="http://localhost", transport=transport, **more)
    host, _, port = bind.rpartition(":")
    return httpx.Client(base_url=f"http://{ANYWHERE.get(host, host)}:{int(port)}", **more)


def main() -> int:
    bind = bind_address()
    try:
        with client_of(bind) as client:
            status = client.get("/health").status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        print(f"no answer from {bind}: {error}", file=sys.stderr)
        return 1
    if status != 200:
        print(f"{bind} answered /health with {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
