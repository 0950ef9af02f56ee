"""One attempt: look at what is there, ask for another certificate if one is due, put it in force."""

from datetime import UTC, datetime

from . import client
from .client import ClientError
from .order import Certificate
from .settings import Settings, SettingsError
from .status import Status
from .volume import FILES, Volume


def attempt(volume: Volume, renew_now: bool = False) -> Status:
    """Never raises for what the world does wrong: that is the status."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        return Status.of("failed", "", [], None, str(error))
    try:
        result = work(settings, volume, renew_now)
        error = ""
    except (ClientError, OSError, ValueError) as fault:
        result, error = "failed", str(fault)
    return Status.of(result, settings.name, settings.names, in_force(volume, settings.name), error)


def work(settings: Settings, volume: Volume, renew_now: bool) -> str:
    kept = client.lineage(settings.name) / FILES[0]
    before = Certificate.read(kept) if kept.exists() else None
    due = before is not None and (renew_now or before.is_due(datetime.now(UTC), settings.renew_before))
    asked = before is None or due or not before.is_for(settings.names)
    if asked:
        client.obtain(settings, renew=due)
    now = Certificate.read(kept)
    # Also when nothing was asked for: the last run may have been killed before this.
    served = in_force(volume, settings.name)
    if served is None or served.serial != now.serial:
        volume.publish(settings.name, now.serial, client.lineage(settings.name))
    if not asked:
        return "kept"
    return "renewed" if before and before.is_for(settings.names) else "issued"


def in_force(volume: Volume, name: str) -> Certificate | None:
    file = volume.in_force(name)
    return Certificate.read(file) if file else None
