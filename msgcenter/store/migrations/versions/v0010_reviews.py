"""What waits for a review of its content, and the short links of messages with their clicks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "review",
        sa.Column("id", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("key", Key, nullable=False),
        sa.Column("category", Key, nullable=False),
        sa.Column("campaign", Key, nullable=False),
        sa.Column("reference", Key, nullable=False),
        sa.Column("rule", Key, nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("state", Key, nullable=False),
        sa.Column("by", Key, nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", Key, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
    )
    op.create_index(op.f("ix_review_state_at_id"), "review", ["state", "at", "id"])
    op.create_index(op.f("ix_review_until"), "review", ["until"])
    op.create_table(
        "short_link",
        sa.Column("id", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("name", Key, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("clicks", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_short_link")),
    )
    op.create_index(op.f("ix_short_link_message"), "short_link", ["message"])
    op.create_index(op.f("ix_short_link_until"), "short_link", ["until"])


def downgrade() -> None:
    op.drop_table("short_link")
    op.drop_table("review")
