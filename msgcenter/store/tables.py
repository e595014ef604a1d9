"""The tables, as SQLAlchemy MetaData; a migration brings every database to exactly this (a test
compares them).

Texts that are keys compare by byte on PostgreSQL (collation C): faster, and an operating system's
new collation rules cannot damage an index. JSON is kept as text JSON there: JSONB refuses the NUL
escape that a hostile text may hold.

Long because it is the whole schema, which is read, and compared with the migrations, as one.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
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


#: Due rows that wait for the end of a pause, in the words of the index over them.
PAUSED = "rule >= 'paused:' AND rule < 'paused;'"

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
    Index(None, "rule", "message", sqlite_where=text(PAUSED), postgresql_where=text(PAUSED)),
)

pause = Table(
    "pause",
    metadata,
    _key("gate", primary=True),
    _ms("since"),
    _ms("until"),
    _key("by"),
    Column("why", Text, nullable=False),
    _ms("ended_at"),
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
    _key("chat"),
    Column("mentions", JSON, nullable=False),
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
    # Most messages are said in no group.
    Index(
        None,
        "chat",
        "created_at",
        "id",
        sqlite_where=text("chat <> ''"),
        postgresql_where=text("chat <> ''"),
    ),
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

#: Texts of configuration files, each once; secrets are only ever referred to in them.
config_text = Table(
    "config_text",
    metadata,
    _key("sha256", primary=True),
    Column("body", LargeBinary, nullable=False),
)

config_version = Table(
    "config_version",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    _key("hash"),
    _ms("at"),
    _key("how"),
    _key("who"),
    Column("reason", Text, nullable=False),
    _ms("until"),
    Column("files", JSON, nullable=False),
    sqlite_autoincrement=True,
)

config_approval = Table(
    "config_approval",
    metadata,
    _key("file", primary=True),
    _key("sha256", primary=True),
    _key("role", primary=True),
    _key("who", primary=True),
    _key("state"),
    _ms("at"),
)

config_order = Table(
    "config_order",
    metadata,
    _key("hash", primary=True),
    _key("kind"),
    Column("version", BigInteger, nullable=False),
    _key("who"),
    Column("reason", Text, nullable=False),
    _ms("at"),
    _ms("until"),
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

account_state = Table(
    "account_state",
    metadata,
    _key("name", primary=True),
    _key("channel"),
    _key("health"),
    Column("detail", Text, nullable=False),
    _ms("since"),
    _ms("last_in"),
    _ms("last_out"),
    _ms("revoked_at"),
    _key("revoked_by"),
)

grp = Table(
    "grp",
    metadata,
    _key("id", primary=True),
    _key("caller"),
    Column("name", Text, nullable=False),
    _key("owner"),
    Column("members", JSON, nullable=False),
    _key("kind"),
    _key("channel"),
    _key("account"),
    _key("chat"),
    _key("state"),
    _key("code"),
    Column("imported", Boolean, nullable=False),
    _key("command"),
    _ms("undo_until"),
    _ms("created_at"),
    _ms("updated_at"),
    _ms("since"),
    Column("asked", JSON, nullable=False),
    _ms("unapproved_since"),
    Column("seal", JSON, nullable=False),
    Index(None, "channel", "chat"),
    Index(None, "caller", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "state"),
    Index(
        None,
        "unapproved_since",
        sqlite_where=text("unapproved_since > 0"),
        postgresql_where=text("unapproved_since > 0"),
    ),
)

#: What a seal covers: the messages of a group at one moment, each with the hash of its content.
sealed = Table(
    "sealed",
    metadata,
    _key("seal", primary=True),
    _key("message", primary=True),
    _key("digest"),
)

sighting = Table(
    "sighting",
    metadata,
    _key("id", primary=True),
    _key("place"),
    _ms("at"),
    _key("channel"),
    _key("message"),
    Column("own", Boolean, nullable=False),
    Column("copy", Boolean, nullable=False),
    _ms("until"),
    Column("step", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    _key("remote_id"),
    _key("account"),
    _key("person"),
    Index(None, "place", "at"),
    Index(None, "account", "at"),
    Index(None, "at"),
    Index(None, "message", "step", "attempt", "channel", unique=True),
)

customer = Table(
    "customer",
    metadata,
    _key("id", primary=True),
    _key("root"),
    _key("own"),
    Column("profile", JSON, nullable=False),
    Column("blocked", Boolean, nullable=False),
    _ms("created_at"),
    _ms("updated_at"),
    _ms("erased_at"),
    Index(None, "root"),
    Index(None, "blocked", "id"),
)

customer_address = Table(
    "customer_address",
    metadata,
    _key("address", primary=True),
    Column("valid_from", BigInteger, primary_key=True, autoincrement=False),
    _key("customer", primary=True),
    _ms("valid_to"),
    Index(None, "customer"),
)

customer_tag = Table(
    "customer_tag",
    metadata,
    _key("tag", primary=True),
    _key("customer", primary=True),
    Index(None, "customer"),
)

customer_consent = Table(
    "customer_consent",
    metadata,
    _key("id", primary=True),
    _key("customer"),
    _key("channel"),
    _key("category"),
    _key("state"),
    _ms("at"),
    _key("wording"),
    Column("source", Text, nullable=False),
    Column("proof", Text, nullable=False),
    _ms("keep_until"),
    _key("by"),
    _ms("recorded_at"),
    Index(None, "customer", "at", "id"),
)

customer_link = Table(
    "customer_link",
    metadata,
    _key("id", primary=True),
    _key("a"),
    _key("b"),
    _key("evidence"),
    Column("confidence", Float, nullable=False),
    _key("canonical"),
    _ms("at"),
    _key("by"),
    _ms("undone_at"),
    _key("undone_by"),
    Index(None, "a"),
    Index(None, "b"),
)

#: One row: the position of the last change, and the salt of what is kept as a hash.
customer_head = Table(
    "customer_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _ms("position"),
    _key("salt"),
)

customer_change = Table(
    "customer_change",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    _ms("at"),
    Column("keys", JSON, nullable=False),
)

#: One row per inbox, locked while it changes: positions are given out in commit order, so that a reader skips none.
inbox_head = Table(
    "inbox_head",
    metadata,
    _key("owner", primary=True),
    _ms("position"),
    _ms("unread"),
)

inbox_item = Table(
    "inbox_item",
    metadata,
    _key("id", primary=True),
    _key("owner"),
    _ms("position"),
    _key("channel"),
    _key("caller"),
    _key("category"),
    _key("reference"),
    _ms("at"),
    Column("content", JSON, nullable=False),
    _ms("read_at"),
    _ms("withdrawn_at"),
    Index(None, "owner", "position"),
    Index(None, "owner", "at", "id"),
)

review = Table(
    "review",
    metadata,
    _key("id", primary=True),
    _key("message"),
    _ms("step"),
    _key("caller"),
    _key("key"),
    _key("category"),
    _key("campaign"),
    _key("reference"),
    _key("rule"),
    Column("found", JSON, nullable=False),
    Column("content", JSON, nullable=False),
    _ms("at"),
    _ms("until"),
    _key("state"),
    _key("by"),
    _ms("decided_at"),
    _key("reason"),
    Index(None, "state", "at", "id"),
    Index(None, "until"),
)

short_link = Table(
    "short_link",
    metadata,
    _key("id", primary=True),
    _key("message"),
    _key("caller"),
    _key("name"),
    Column("url", Text, nullable=False),
    _ms("at"),
    _ms("until"),
    _ms("clicks"),
    _ms("first_at"),
    _ms("last_at"),
    Index(None, "message"),
    Index(None, "until"),
)

subscription = Table(
    "subscription",
    metadata,
    _key("id", primary=True),
    _key("caller"),
    Column("url", Text, nullable=False),
    Column("types", JSON, nullable=False),
    Column("everyone", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    _key("state"),
    _ms("generation"),
    Column("cursor", Text, nullable=False),
    Column("secret_version", Integer, nullable=False),
    _key("secret_mark"),
    _ms("rotated_at"),
    _ms("created_at"),
    _ms("updated_at"),
    _ms("handed_at"),
    Index(None, "caller", "id"),
)
