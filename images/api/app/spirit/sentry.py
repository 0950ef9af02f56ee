"""Reports errors to Sentry, if `SENTRY_DSN` names one; without it nothing is loaded or sent."""

from typing import Any

import sentry_sdk

from spirit.logs import request_id_of_now
from spirit.settings import Settings
from spirit.version import VERSION


def start(settings: Settings) -> bool:
    if settings.sentry_dsn is None:
        return False
    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        release=f"spirit@{VERSION}",
        environment=settings.spirit_environment,
        traces_sample_rate=settings.sentry_traces_sample_rate,
        # No addresses, cookies or bodies: passwords and tokens travel in them.
        send_default_pii=False,
        max_request_body_size="never",
        # Local variables hold passwords while they are checked.
        include_local_variables=False,
        before_send=mark,
    )
    return True


def mark(event: dict[str, Any], _hint: dict[str, Any]) -> dict[str, Any]:
    """The id that the log lines of the same request carry."""
    if request_id := request_id_of_now.get():
        event.setdefault("tags", {})["request_id"] = request_id
    return event
