"""Configurations: the texts that were in force, who agreed to what, and what was ordered about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "config_text",
        sa.Column("sha256", Key, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_config_text")),
    )
    op.create_table(
        "config_version",
        sa.Column("number", Serial, nullable=False, autoincrement=True),
        sa.Column("hash", Key, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("how", Key, nullable=False),
        sa.Column("who", Key, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_config_version")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "config_approval",
        sa.Column("file", Key, nullable=False),
        sa.Column("sha256", Key, nullable=False),
        sa.Column("role", Key, nullable=False),
        sa.Column("who", Key, nullable=False),
        sa.Column("state", Key, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("file", "sha256", "role", "who", name=op.f("pk_config_approval")),
    )
    op.create_table(
        "config_order",
        sa.Column("hash", Key, nullable=False),
        sa.Column("kind", Key, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("who", Key, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_config_order")),
    )


def downgrade() -> None:
    for table in ("config_order", "config_approval", "config_version", "config_text"):
        op.drop_table(table)
