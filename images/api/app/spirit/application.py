"""Puts the service together: settings in, an ASGI application out.

Nothing here reads the environment or opens a connection at import time, so a test builds as many
applications as it likes, each with its own settings, catalogue and metrics.
"""

from fastapi import FastAPI

from spirit import health, tours
from spirit.access_log import AccessLog
from spirit.metrics import Metrics, RequestMetrics
from spirit.settings import Settings
from spirit.tours.catalogue import Catalogue, JsonCatalogue
from spirit.version import VERSION


def create_app(
    settings: Settings,
    *,
    catalogue: Catalogue | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Build the application; what is not given is made from the settings."""
    metrics = metrics or Metrics()
    app = FastAPI(
        title="Spirit Tours",
        version=VERSION,
        openapi_url="/api/openapi.json",
        # Both pages load scripts from other people's servers.
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.catalogue = catalogue or JsonCatalogue.read(settings.tours_file)
    app.state.metrics = metrics

    app.include_router(health.router)
    app.include_router(metrics.router())
    app.include_router(tours.router, prefix="/api/v1/tours", tags=["tours"])

    # The last one added is the outermost: the log line also covers the time spent in metrics.
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.add_middleware(AccessLog)
    return app
