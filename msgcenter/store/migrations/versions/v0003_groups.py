"""Groups and the runtime state of accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "account_state",
        sa.Column("name", Key, nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("health", Key, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("last_in", sa.BigInteger(), nullable=False),
        sa.Column("last_out", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_by", Key, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_account_state")),
    )
    op.create_table(
        "grp",
        sa.Column("id", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", Key, nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("kind", Key, nullable=False),
        sa.Column("channel", Key, nullable=False),
        sa.Column("account", Key, nullable=False),
        sa.Column("chat", Key, nullable=False),
        sa.Column("state", Key, nullable=False),
        sa.Column("code", Key, nullable=False),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("command", Key, nullable=False),
        sa.Column("undo_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grp")),
    )
    op.create_index(op.f("ix_grp_channel_chat"), "grp", ["channel", "chat"], unique=False)
    op.create_index(
        op.f("ix_grp_caller_created_at_id"), "grp", ["caller", "created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_grp_created_at_id"), "grp", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_grp_state"), "grp", ["state"], unique=False)


def downgrade() -> None:
    op.drop_table("grp")
    op.drop_table("account_state")
