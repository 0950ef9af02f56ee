"""The tours we begin with. What is there already stays as it is, so it can run again."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import insert

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FILE = Path(__file__).parents[2] / "tours" / "tours.json"
SEATS = 12

# A migration describes the tables of its own day, not those of the code around it.
TOURS = sa.table(
    "tours",
    sa.column("id", sa.String),
    sa.column("title", sa.String),
    sa.column("summary", sa.Text),
    sa.column("country", sa.String),
    sa.column("theme", sa.String),
    sa.column("days", sa.SmallInteger),
    sa.column("price_amount", sa.Numeric),
    sa.column("price_currency", sa.String),
)
DEPARTURES = sa.table(
    "departures",
    sa.column("tour_id", sa.String),
    sa.column("day", sa.Date),
    sa.column("seats", sa.SmallInteger),
)


def upgrade() -> None:
    connection = op.get_bind()
    for tour in json.loads(FILE.read_text()):
        price = tour.pop("price")
        days = tour.pop("departures")
        row = tour | {
            "price_amount": Decimal(price["amount"]),
            "price_currency": price["currency"],
        }
        added = insert(TOURS).values(row).on_conflict_do_nothing().returning(TOURS.c.id)
        if connection.execute(added).first() is None:
            continue
        for day in days:
            departure = {"tour_id": tour["id"], "day": date.fromisoformat(day), "seats": SEATS}
            connection.execute(insert(DEPARTURES).values(departure).on_conflict_do_nothing())


def downgrade() -> None:
    ids = [tour["id"] for tour in json.loads(FILE.read_text())]
    op.get_bind().execute(sa.delete(TOURS).where(TOURS.c.id.in_(ids)))
