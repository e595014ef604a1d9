"""Pauses: what operators have stopped for a while, and a quick way to what waits for its end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
PAUSED = "rule >= 'paused:' AND rule < 'paused;'"


def upgrade() -> None:
    op.create_table(
        "pause",
        sa.Column("gate", Key, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("by", Key, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gate", name=op.f("pk_pause")),
    )
    op.create_index(
        op.f("ix_due_rule_message"),
        "due",
        ["rule", "message"],
        sqlite_where=sa.text(PAUSED),
        postgresql_where=sa.text(PAUSED),
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_due_rule_message"), "due")
    op.drop_table("pause")
