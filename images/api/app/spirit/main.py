"""What the server is pointed at: `gunicorn spirit.main:app`."""

from spirit import sentry
from spirit.application import create_app
from spirit.settings import Settings

settings = Settings.read()
sentry.start(settings)
app = create_app(settings)
