"""First tables: due rows, parked keys, messages, records, event log, dead letters, invalid frames,
keys, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("keyid", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", Key, nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("keyid", name=op.f("pk_api_key")),
    )
    op.create_table(
        "audit",
        sa.Column("seq", Serial, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", Key, nullable=False),
        sa.Column("what", Key, nullable=False),
        sa.Column("target", Key, nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_target_seq"), "audit", ["target", "seq"], unique=False)
    op.create_table(
        "dead",
        sa.Column("id", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("code", Key, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("replayed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead")),
    )
    op.create_index(op.f("ix_dead_at_id"), "dead", ["at", "id"], unique=False)
    op.create_index(op.f("ix_dead_caller_at_id"), "dead", ["caller", "at", "id"], unique=False)
    op.create_table(
        "due",
        sa.Column("id", Key, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("rule", Key, nullable=False),
        sa.Column("lane", Key, nullable=False),
        sa.Column("person", Key, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_due")),
    )
    op.create_index(op.f("ix_due_at_ms_id"), "due", ["at_ms", "id"], unique=False)
    op.create_index(op.f("ix_due_message"), "due", ["message"], unique=False)
    op.create_table(
        "event",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("type", Key, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "position", name=op.f("pk_event")),
    )
    op.create_index(
        op.f("ix_event_caller_partition_position"),
        "event",
        ["caller", "partition", "position"],
        unique=False,
    )
    op.create_index(op.f("ix_event_id"), "event", ["id"], unique=True)
    op.create_table(
        "event_head",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition", name=op.f("pk_event_head")),
    )
    op.create_table(
        "invalid",
        sa.Column("id", Key, nullable=False),
        sa.Column("queue", Key, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invalid")),
    )
    op.create_index(op.f("ix_invalid_at_id"), "invalid", ["at", "id"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", Key, nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("direction", Key, nullable=False),
        sa.Column("to", Key, nullable=False),
        sa.Column("sender", Key, nullable=False),
        sa.Column("address", Key, nullable=False),
        sa.Column("person", Key, nullable=False),
        sa.Column("account", Key, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("campaign", Key, nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reply_to", Key, nullable=False),
        sa.Column("order_key", Key, nullable=False),
        sa.Column("status", Key, nullable=False),
        sa.Column("code", Key, nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("status_order", Key, nullable=False),
        sa.Column("envelope_order", Key, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index(
        op.f("ix_message_address_created_at_id"),
        "message",
        ["address", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_message_caller_created_at_id"),
        "message",
        ["caller", "created_at", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_message_created_at_id"), "message", ["created_at", "id"], unique=False)
    op.create_index(
        op.f("ix_message_person_created_at_id"),
        "message",
        ["person", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "park_key",
        sa.Column("queue", Key, nullable=False),
        sa.Column("order_key", Key, nullable=False),
        sa.Column("wake_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "order_key", name=op.f("pk_park_key")),
    )
    op.create_table(
        "parked",
        sa.Column("seq", Serial, autoincrement=True, nullable=False),
        sa.Column("id", Key, nullable=False),
        sa.Column("queue", Key, nullable=False),
        sa.Column("order_key", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_parked")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_parked_id"), "parked", ["id"], unique=True)
    op.create_index(
        op.f("ix_parked_queue_order_key_seq"), "parked", ["queue", "order_key", "seq"], unique=False
    )
    op.create_table(
        "record",
        sa.Column("id", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("pipeline", Key, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", Key, nullable=False),
        sa.Column("code", Key, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("receipt", sa.Boolean(), nullable=False),
        sa.Column("status", Key, nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("decisions", sa.JSON(), nullable=False),
        sa.Column("remote_ids", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_record")),
    )
    op.create_index(op.f("ix_record_message"), "record", ["message"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_record_message"), table_name="record")
    op.drop_table("record")
    op.drop_index(op.f("ix_parked_queue_order_key_seq"), table_name="parked")
    op.drop_index(op.f("ix_parked_id"), table_name="parked")
    op.drop_table("parked")
    op.drop_table("park_key")
    op.drop_index(op.f("ix_message_person_created_at_id"), table_name="message")
    op.drop_index(op.f("ix_message_created_at_id"), table_name="message")
    op.drop_index(op.f("ix_message_caller_created_at_id"), table_name="message")
    op.drop_index(op.f("ix_message_address_created_at_id"), table_name="message")
    op.drop_table("message")
    op.drop_index(op.f("ix_invalid_at_id"), table_name="invalid")
    op.drop_table("invalid")
    op.drop_table("event_head")
    op.drop_index(op.f("ix_event_id"), table_name="event")
    op.drop_index(op.f("ix_event_caller_partition_position"), table_name="event")
    op.drop_table("event")
    op.drop_index(op.f("ix_due_message"), table_name="due")
    op.drop_index(op.f("ix_due_at_ms_id"), table_name="due")
    op.drop_table("due")
    op.drop_index(op.f("ix_dead_caller_at_id"), table_name="dead")
    op.drop_index(op.f("ix_dead_at_id"), table_name="dead")
    op.drop_table("dead")
    op.drop_index(op.f("ix_audit_target_seq"), table_name="audit")
    op.drop_table("audit")
    op.drop_table("api_key")
