"""What is kept in PostgreSQL. The migrations make these tables; a test compares the two."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

# Constraints by a rule and not by chance, so that a later migration can name them.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
ROLES = ("traveller", "guide", "admin")
THEMES = ("pilgrimage", "retreat", "nature", "culture")
STATUSES = ("pending", "published", "rejected")


def one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(word) for word in words)})"


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: DateTime(timezone=True)}


class User(Table):
    __tablename__ = "users"
    __table_args__ = (CheckConstraint(one_of("role", ROLES), name="role"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    # In lower case: two spellings are one person.
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    role: Mapped[str] = mapped_column(String(16), default="traveller")
    password_hash: Mapped[str] = mapped_column(Text)
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Table):
    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    # The key's beginning, for people to tell keys apart.
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Departure(Table):
    __tablename__ = "departures"
    __table_args__ = (CheckConstraint("seats >= 0", name="seats"),)

    tour_id: Mapped[str] = mapped_column(
        ForeignKey("tours.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    # Those that are still free.
    seats: Mapped[int] = mapped_column(SmallInteger, default=12)


class TourRow(Table):
    __tablename__ = "tours"
    __table_args__ = (
        CheckConstraint(one_of("theme", THEMES), name="theme"),
        CheckConstraint("days >= 1", name="days"),
        CheckConstraint("price_amount >= 0", name="price_amount"),
        Index("ix_tours_title_id", "title", "id"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    summary: Mapped[str] = mapped_column(Text)
    country: Mapped[str] = mapped_column(String(2))
    theme: Mapped[str] = mapped_column(String(16))
    days: Mapped[int] = mapped_column(SmallInteger)
    price_amount: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    price_currency: Mapped[str] = mapped_column(String(3))
    departures: Mapped[list[Departure]] = relationship(
        lazy="selectin",
        order_by=Departure.day,
        cascade="all, delete-orphan",
        passive_deletes=True,
    )


class Review(Table):
    __tablename__ = "reviews"
    __table_args__ = (
        UniqueConstraint("user_id", "tour_id"),
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        CheckConstraint(one_of("status", STATUSES), name="status"),
        Index("ix_reviews_tour_id_status_created_at", "tour_id", "status", "created_at"),
        Index("ix_reviews_status_created_at", "status", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tour_id: Mapped[str] = mapped_column(ForeignKey("tours.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    rating: Mapped[int] = mapped_column(SmallInteger)
    text: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    moderated_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    author: Mapped[User] = relationship(foreign_keys=[user_id], lazy="joined", innerjoin=True)
