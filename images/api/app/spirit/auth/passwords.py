"""Passwords, hashed with Argon2id.

The parameters are OWASP's smallest (19 MiB, two passes): a worker that hashes two at once needs
38 MiB for it, which a replica's memory limit has to allow for. A stored hash carries its own
parameters, so they can be raised; `needs_rehash` then renews a hash at the next login.
"""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Argon2 lets other threads run. More at once would only cost memory.
THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")

# What an unknown account's password is compared with, so that it takes as long as a known one's.
NOBODY = HASHER.hash(secrets.token_urlsafe())


async def hashed(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(THREADS, HASHER.hash, password)


async def matches(password: str, stored: str | None) -> bool:
    def verify() -> bool:
        try:
            return HASHER.verify(stored or NOBODY, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    return await asyncio.get_running_loop().run_in_executor(THREADS, verify)


def needs_rehash(stored: str) -> bool:
    return HASHER.check_needs_rehash(stored)
