"""Sessions in Redis: each login opens one, and ending it makes its tokens worthless at once.

`spirit:session:ID` is a hash (user, refresh, opened, client) that lives as long as its refresh
token; `spirit:sessions:USER` is the set of a user's sessions.

A refresh token works once. One that comes a second time has been copied, by the client or by a
thief, and nobody can say which: the session ends.
"""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from redis.asyncio import Redis

# KEYS: session, ARGV: token that came, token to come, milliseconds. In one step, so that of two
# clients with the same token only one gets on.
ROTATE = """
local current = redis.call('HGET', KEYS[1], 'refresh')
if not current then return 0 end
if current ~= ARGV[1] then
    redis.call('DEL', KEYS[1])
    return 0
end
redis.call('HSET', KEYS[1], 'refresh', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


@dataclass(frozen=True)
class Session:
    id: str
    opened: datetime
    client: str


def key(session_id: str) -> str:
    return f"spirit:session:{session_id}"


def keys_of(user_id: UUID) -> str:
    return f"spirit:sessions:{user_id}"


def new_id() -> str:
    return secrets.token_hex(16)


class Sessions:
    def __init__(self, redis: Redis, lifetime: timedelta) -> None:
        self.redis = redis
        self.lifetime = lifetime
        self.rotation = redis.register_script(ROTATE)

    async def open(self, user_id: UUID, refresh_id: str, client: str) -> str:
        session_id = new_id()
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hset(
                key(session_id),
                mapping={
                    "user": str(user_id),
                    "refresh": refresh_id,
                    "opened": int(time.time()),
                    "client": client,
                },
            )
            pipe.pexpire(key(session_id), self.lifetime)
            pipe.sadd(keys_of(user_id), session_id)
            pipe.pexpire(keys_of(user_id), self.lifetime)
            await pipe.execute()
        return session_id

    async def is_open(self, session_id: str, user_id: UUID) -> bool:
        return await self.redis.hget(key(session_id), "user") == str(user_id)

    async def rotate(self, session_id: str, user_id: UUID, old: str, new: str) -> bool:
        """Takes a refresh token for the next; `False` if the session is not, or no longer, open."""
        milliseconds = int(self.lifetime.total_seconds() * 1000)
        rotated = await self.rotation(keys=[key(session_id)], args=[old, new, milliseconds])
        if rotated:
            await self.redis.pexpire(keys_of(user_id), self.lifetime)
        return bool(rotated)

    async def list(self, user_id: UUID) -> list[Session]:
        ids = sorted(await self.redis.smembers(keys_of(user_id)))
        async with self.redis.pipeline(transaction=False) as pipe:
            for session_id in ids:
                pipe.hgetall(key(session_id))
            found = dict(zip(ids, await pipe.execute(), strict=True))
        if ended := [session_id for session_id, values in found.items() if not values]:
            await self.redis.srem(keys_of(user_id), *ended)
        return sorted(
            (
                Session(each, datetime.fromtimestamp(int(values["opened"]), UTC), values["client"])
                for each, values in found.items()
                if values
            ),
            key=lambda session: (session.opened, session.id),
        )

    async def end(self, session_id: str, user_id: UUID) -> bool:
        """Ends one of this user's sessions; `False` if it is not one of theirs."""
        if not await self.is_open(session_id, user_id):
            return False
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(key(session_id))
            pipe.srem(keys_of(user_id), session_id)
            await pipe.execute()
        return True

    async def end_all(self, user_id: UUID) -> None:
        ids = await self.redis.smembers(keys_of(user_id))
        await self.redis.delete(keys_of(user_id), *(key(each) for each in ids))
