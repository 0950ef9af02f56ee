"""What the environment says, typed and checked once, at the start, with all faults in one list.

`config.toml` beside the image's definition describes the same variables to the deploy tool, with
those of the customer's template that this service does not read; a test holds the two together.
"""

from spirit.settings.groups import (
    ApplicationSettings,
    CorsSettings,
    DatabaseSettings,
    FeatureSettings,
    MonitoringSettings,
    PictureSettings,
    RedisSettings,
    SecuritySettings,
)
from spirit.settings.sources import SettingsError

__all__ = ["DatabaseSettings", "RedisSettings", "Settings", "SettingsError"]


class Settings(
    ApplicationSettings,
    DatabaseSettings,
    RedisSettings,
    SecuritySettings,
    CorsSettings,
    MonitoringSettings,
    PictureSettings,
    FeatureSettings,
):
    """Everything the service reads: `Settings.read()`, or `Settings(…)` in tests."""
