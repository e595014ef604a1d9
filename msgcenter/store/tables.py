"""The tables, as SQLAlchemy MetaData; a migration brings every database to exactly this (a test
compares them).

Texts that are keys compare by byte on PostgreSQL (collation C): faster, and an operating system's
new collation rules cannot damage an index. JSON is kept as text JSON there: JSONB refuses the NUL
escape that a hostile text may hold.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"}
)

#: An id or another text that is compared and indexed.
Key = String().with_variant(String(collation="C"), "postgresql")
#: Counts up by itself; SQLite does so only for INTEGER.
Serial = BigInteger().with_variant(Integer(), "sqlite")


def _key(name: str, *, primary: bool = False) -> Column[str]:
    return Column(name, Key, primary_key=primary, nullable=False)


def _ms(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


due = Table(
    "due",
    metadata,
    _key("id", primary=True),
    _ms("at_ms"),
    _key("message"),
    _key("caller"),
    _key("rule"),
    _key("lane"),
    _key("person"),
    Column("body", LargeBinary, nullable=False),
    Index(None, "at_ms", "id"),
    Index(None, "message"),
)

park_key = Table(
    "park_key",
    metadata,
    _key("queue", primary=True),
    _key("order_key", primary=True),
    _ms("wake_at"),
    _ms("since"),
)

parked = Table(
    "parked",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    _key("id"),
    _key("queue"),
    _key("order_key"),
    _key("message"),
    Column("body", LargeBinary, nullable=False),
    Index(None, "id", unique=True),
    Index(None, "queue", "order_key", "seq"),
    sqlite_autoincrement=True,
)

message = Table(
    "message",
    metadata,
    _key("id", primary=True),
    Column("known", Boolean, nullable=False),
    _key("caller"),
    _key("direction"),
    _key("to"),
    _key("sender"),
    _key("address"),
    _key("person"),
    _key("account"),
    _key("category"),
    Column("tier", Integer, nullable=False),
    _key("channel"),
    _key("campaign"),
    Column("reference", Text, nullable=False),
    _key("reply_to"),
    _key("order_key"),
    _key("status"),
    _key("code"),
    Column("final", Boolean, nullable=False),
    _ms("created_at"),
    _ms("updated_at"),
    Column("content", JSON, nullable=False),
    _key("status_order"),
    _key("envelope_order"),
    Index(None, "created_at", "id"),
    Index(None, "caller", "created_at", "id"),
    Index(None, "address", "created_at", "id"),
    Index(None, "person", "created_at", "id"),
)

record = Table(
    "record",
    metadata,
    _key("id", primary=True),
    _key("message"),
    _ms("at"),
    _key("pipeline"),
    Column("step", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    _key("kind"),
    _key("code"),
    Column("detail", Text, nullable=False),
    _key("channel"),
    Column("receipt", Boolean, nullable=False),
    _key("status"),
    Column("final", Boolean, nullable=False),
    _ms("until"),
    Column("decisions", JSON, nullable=False),
    Column("remote_ids", JSON, nullable=False),
    Index(None, "message"),
)

event_head = Table(
    "event_head",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    _ms("position"),
)

event = Table(
    "event",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    _key("id"),
    _key("caller"),
    _key("type"),
    _ms("at"),
    Column("subject", Text, nullable=False),
    _key("message"),
    Column("data", JSON, nullable=False),
    Index(None, "id", unique=True),
    Index(None, "caller", "partition", "position"),
)

dead = Table(
    "dead",
    metadata,
    _key("id", primary=True),
    _key("message"),
    _key("caller"),
    _key("channel"),
    _key("code"),
    Column("detail", Text, nullable=False),
    _ms("at"),
    Column("body", LargeBinary, nullable=False),
    _ms("replayed_at"),
    Index(None, "at", "id"),
    Index(None, "caller", "at", "id"),
)

invalid = Table(
    "invalid",
    metadata,
    _key("id", primary=True),
    _key("queue"),
    Column("reason", Text, nullable=False),
    _ms("at"),
    Column("body", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index(None, "at", "id"),
)

api_key = Table(
    "api_key",
    metadata,
    _key("keyid", primary=True),
    _key("caller"),
    Column("name", Text, nullable=False),
    _key("hash"),
    Column("scopes", JSON, nullable=False),
    _ms("created_at"),
    _ms("expires_at"),
    _ms("revoked_at"),
    _ms("last_used_at"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    _key("channel", primary=True),
    _key("name", primary=True),
    Column("value", Text, nullable=False),
    _ms("at"),
)

media = Table(
    "media",
    metadata,
    _key("id", primary=True),
    _key("caller", primary=True),
    Column("name", Text, nullable=False),
    _key("mime"),
    Column("size", BigInteger, nullable=False),
    _key("sha256"),
    _ms("created_at"),
    Index(None, "created_at", "id"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    _ms("at"),
    _key("who"),
    _key("what"),
    _key("target"),
    Column("detail", JSON, nullable=False),
    Index(None, "target", "seq"),
    sqlite_autoincrement=True,
)
