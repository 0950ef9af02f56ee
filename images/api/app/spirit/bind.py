"""Where to listen. Apart from the settings, so that the health check starts without them."""

import os
from collections.abc import Mapping

DEFAULT_BIND = "unix:/run/spirit/api.sock"


def bind_address(environ: Mapping[str, str] = os.environ) -> str:
    """Where to listen, as Gunicorn writes it: `unix:/path` or `host:port`.

    The host's word goes first, so that an image with a `BIND` of its own runs under systemd
    without a change.
    """
    if socket := environ.get("CAIRN_SOCKET"):
        return f"unix:{socket}"
    return environ.get("BIND") or DEFAULT_BIND
