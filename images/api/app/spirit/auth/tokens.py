"""JSON Web Tokens: a short-lived one for requests, a long-lived one to get the next.

Both name a session, and mean nothing once that has ended (`spirit.auth.sessions`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

import jwt

from spirit.settings import Settings

ALGORITHM = "HS256"
CLAIMS = ["exp", "iat", "iss", "sub", "sid", "jti", "use"]


class Use(StrEnum):
    ACCESS = "access"
    REFRESH = "refresh"


class BadToken(Exception):
    """With the reason, for the client."""


@dataclass(frozen=True)
class Claims:
    user_id: UUID
    session_id: str
    token_id: str


class Tokens:
    def __init__(self, settings: Settings) -> None:
        self.secret = settings.jwt_secret.get_secret_value()
        self.issuer = settings.jwt_issuer
        self.lifetimes = {
            Use.ACCESS: settings.access_token_ttl,
            Use.REFRESH: settings.refresh_token_ttl,
        }

    def lifetime(self, use: Use) -> timedelta:
        return self.lifetimes[use]

    def issue(self, use: Use, claims: Claims, now: datetime | None = None) -> str:
        now = now or datetime.now(UTC)
        return jwt.encode(
            {
                "iss": self.issuer,
                "sub": str(claims.user_id),
                "sid": claims.session_id,
                "jti": claims.token_id,
                "use": use,
                "iat": now,
                "exp": now + self.lifetimes[use],
            },
            self.secret,
            ALGORITHM,
        )

    def read(self, use: Use, token: str) -> Claims:
        try:
            claims = jwt.decode(
                token,
                self.secret,
                # Only ours: a token may otherwise choose "none" for itself.
                algorithms=[ALGORITHM],
                issuer=self.issuer,
                options={"require": CLAIMS},
            )
            if claims["use"] != use:
                raise BadToken(f"this is no {use} token")
            return Claims(UUID(claims["sub"]), claims["sid"], claims["jti"])
        except jwt.ExpiredSignatureError:
            raise BadToken("the token has expired") from None
        except (jwt.InvalidTokenError, ValueError):
            raise BadToken("the token is not valid") from None
