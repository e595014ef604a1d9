"""Sightings (which channels read a message), and the group in which a message was said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    # The defaults stay: the release before this one writes rows without these columns.
    op.add_column("message", sa.Column("chat", Key, nullable=False, server_default=""))
    op.add_column("message", sa.Column("mentions", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "sighting",
        sa.Column("id", Key, nullable=False),
        sa.Column("place", Key, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("copy", sa.Boolean(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("remote_id", Key, nullable=False),
        sa.Column("account", Key, nullable=False),
        sa.Column("person", Key, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sighting")),
    )
    op.create_index(op.f("ix_sighting_place_at"), "sighting", ["place", "at"])
    op.create_index(op.f("ix_sighting_account_at"), "sighting", ["account", "at"])
    op.create_index(op.f("ix_sighting_at"), "sighting", ["at"])
    op.create_index(
        op.f("ix_sighting_message_step_attempt_channel"),
        "sighting",
        ["message", "step", "attempt", "channel"],
        unique=True,
    )


def downgrade() -> None:
    op.drop_table("sighting")
    op.drop_column("message", "mentions")
    op.drop_column("message", "chat")
