"""What channels keep: durable cursors of what they read, and what is known of the files they carry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("channel", Key, nullable=False),
        sa.Column("name", Key, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "name", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "media",
        sa.Column("id", Key, nullable=False),
        sa.Column("caller", Key, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mime", Key, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", Key, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", "caller", name=op.f("pk_media")),
    )
    op.create_index(op.f("ix_media_created_at_id"), "media", ["created_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_media_created_at_id"), table_name="media")
    op.drop_table("media")
    op.drop_table("checkpoint")
