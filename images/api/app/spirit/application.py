"""Puts the service together: settings in, an ASGI application out.

Nothing here reads the environment or opens a connection at import time, so a test builds as many
applications as it likes, each with its own settings and metrics.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from spirit import errors, health, metrics, ready, redis_client
from spirit.access_log import AccessLog
from spirit.analytics import routes as analytics
from spirit.auth import routes as auth
from spirit.auth import users
from spirit.auth.sessions import Sessions
from spirit.auth.tokens import Tokens
from spirit.body_limit import BodyLimit
from spirit.cache import Cache
from spirit.database.engine import Database
from spirit.metrics import Metrics, RequestMetrics
from spirit.rate_limit import Limiter, RateLimit
from spirit.reviews import routes as reviews
from spirit.settings import Settings
from spirit.tours import routes as tours
from spirit.tours import streams
from spirit.tours.live import Live
from spirit.tours.pictures import Pictures
from spirit.version import VERSION

ROUTERS = (
    health.router,
    ready.router,
    metrics.router,
    auth.router,
    users.router,
    tours.router,
    streams.router,
    reviews.router,
    analytics.router,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What runs beside requests. The database and Redis may be away: that is `/ready`'s matter."""
    if app.state.settings.feature_live_availability:
        app.state.live.start()
    yield
    await app.state.live.stop()
    await app.state.redis.aclose()
    await app.state.database.close()


def create_app(settings: Settings) -> FastAPI:
    app = FastAPI(
        title="Spirit Tours",
        version=VERSION,
        lifespan=lifespan,
        routes=[route for each in ROUTERS for route in each.routes],
        openapi_url="/api/openapi.json",
        # Both pages load scripts from other people's servers.
        docs_url=None,
        redoc_url=None,
    )
    numbers = Metrics()
    redis = redis_client.connect(settings)
    state = app.state
    state.settings = settings
    state.metrics = numbers
    state.redis = redis
    state.database = Database(settings, numbers)
    state.tokens = Tokens(settings)
    state.sessions = Sessions(redis, settings.refresh_token_ttl)
    state.limiter = Limiter(settings, redis, numbers)
    state.live = Live(redis, settings.max_streams)
    state.pictures = Pictures.configured(settings)
    ttl = settings.cache_ttl if settings.feature_cache else timedelta(0)
    state.tour_cache = Cache(redis, numbers, "tours", ttl)

    errors.install(app)

    # The last one added is the outermost: the log line covers all the others.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(RateLimit, limiter=state.limiter)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_credentials=settings.cors_allow_credentials,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["x-request-id", "retry-after", "location"],
            max_age=int(settings.cors_max_age.total_seconds()),
        )
    app.add_middleware(RequestMetrics, metrics=numbers)
    app.add_middleware(AccessLog)
    return app
