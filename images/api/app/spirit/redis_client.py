"""The connection to Redis: sessions, limits, the cache and live news go through it."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from spirit.settings import RedisSettings


def connect(settings: RedisSettings) -> Redis:
    """A client with a pool; opens its first connection when something is asked."""
    password = settings.redis_password
    seconds = settings.redis_timeout.total_seconds()
    place = (
        {"unix_socket_path": settings.redis_socket}
        if settings.redis_socket
        else {
            "host": settings.redis_host,
            "port": settings.redis_port,
            "ssl": settings.redis_tls,
            "ssl_ca_certs": settings.redis_tls_ca,
        }
    )
    return Redis(
        **place,
        db=settings.redis_database,
        password=password.get_secret_value() if password else None,
        max_connections=settings.redis_pool_size,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        # Once at once, for a kept connection that died; the caller decides about the rest.
        retry=Retry(NoBackoff(), 1),
        decode_responses=True,
    )
