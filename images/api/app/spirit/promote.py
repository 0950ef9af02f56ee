"""`python -m spirit.promote EMAIL ROLE`: gives an account a role, for the first admin.

Registration makes travellers, and only an admin gives roles: somebody with the database's own
credentials has to make the first one.
"""

import argparse
import sys

from sqlalchemy import create_engine, update

from spirit.auth.shapes import Role
from spirit.database.connection import connect_arguments, database_url
from spirit.database.tables import User
from spirit.settings import DatabaseSettings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spirit.promote")
    parser.add_argument("email")
    parser.add_argument("role", choices=list(Role))
    wanted = parser.parse_args(arguments)
    try:
        settings = DatabaseSettings.read()
    except SettingsError as error:
        print(f"these variables are wrong:\n{error}", file=sys.stderr)
        return 1
    engine = create_engine(database_url(settings), connect_args=connect_arguments(settings))
    email = wanted.email.lower()
    try:
        with engine.begin() as connection:
            changed = connection.execute(
                update(User).where(User.email == email).values(role=wanted.role)
            )
    finally:
        engine.dispose()
    if changed.rowcount != 1:
        print(f"there is no account {email}: register it first", file=sys.stderr)
        return 1
    print(f"{email} is now {wanted.role}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
