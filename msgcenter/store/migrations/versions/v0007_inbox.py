"""Inboxes: what was put into each, what was read and what was taken back, in an order a reader can resume in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "inbox_head",
        sa.Column("owner", Key, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("unread", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_inbox_head")),
    )
    op.create_table(
        "inbox_item",
        sa.Column("id", Key, nullable=False),
        sa.Column("owner", Key, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("reference", Key, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_item")),
    )
    op.create_index(op.f("ix_inbox_item_owner_position"), "inbox_item", ["owner", "position"])
    op.create_index(op.f("ix_inbox_item_owner_at_id"), "inbox_item", ["owner", "at", "id"])


def downgrade() -> None:
    op.drop_table("inbox_item")
    op.drop_table("inbox_head")
