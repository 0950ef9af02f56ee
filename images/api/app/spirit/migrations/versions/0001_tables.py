"""The first tables: users, their API keys, tours with departures, reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def now(name: str) -> sa.Column:
    return sa.Column(name, MOMENT, server_default=sa.func.now(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.CheckConstraint("role IN ('traveller', 'guide', 'admin')", name=op.f("ck_users_role")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        now("created_at"),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_api_keys_user_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"])
    op.create_table(
        "tours",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("theme", sa.String(16), nullable=False),
        sa.Column("days", sa.SmallInteger(), nullable=False),
        sa.Column("price_amount", sa.Numeric(10, 2), nullable=False),
        sa.Column("price_currency", sa.String(3), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tours"),
        sa.CheckConstraint(
            "theme IN ('pilgrimage', 'retreat', 'nature', 'culture')", name=op.f("ck_tours_theme")
        ),
        sa.CheckConstraint("days >= 1", name=op.f("ck_tours_days")),
        sa.CheckConstraint("price_amount >= 0", name=op.f("ck_tours_price_amount")),
    )
    op.create_index("ix_tours_title_id", "tours", ["title", "id"])
    op.create_table(
        "departures",
        sa.Column("tour_id", sa.String(64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("seats", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tour_id", "day", name="pk_departures"),
        sa.ForeignKeyConstraint(
            ["tour_id"], ["tours.id"], name="fk_departures_tour_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("seats >= 0", name=op.f("ck_departures_seats")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tour_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("moderated_by", sa.Uuid()),
        now("created_at"),
        now("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.UniqueConstraint("user_id", "tour_id", name="uq_reviews_user_id_tour_id"),
        sa.ForeignKeyConstraint(
            ["tour_id"], ["tours.id"], name="fk_reviews_tour_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_reviews_user_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["moderated_by"], ["users.id"], name="fk_reviews_moderated_by", ondelete="SET NULL"
        ),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_reviews_rating")),
        sa.CheckConstraint(
            "status IN ('pending', 'published', 'rejected')", name=op.f("ck_reviews_status")
        ),
    )
    op.create_index(
        "ix_reviews_tour_id_status_created_at", "reviews", ["tour_id", "status", "created_at"]
    )
    op.create_index("ix_reviews_status_created_at", "reviews", ["status", "created_at"])


def downgrade() -> None:
    for table in ("reviews", "departures", "tours", "api_keys", "users"):
        op.drop_table(table)
