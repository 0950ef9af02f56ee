"""What the server is pointed at: `gunicorn spirit.main:app`."""

from spirit.application import create_app
from spirit.settings import Settings

app = create_app(Settings.from_environment())
