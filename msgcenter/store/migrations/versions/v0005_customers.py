"""Customers: the directory, its evidence, and the log by which processes learn of changes."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, Key, nullable=False)


def _ms(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "customer",
        _key("id"),
        _key("root"),
        _key("own"),
        sa.Column("profile", sa.JSON(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        _ms("created_at"),
        _ms("updated_at"),
        _ms("erased_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
    )
    op.create_index(op.f("ix_customer_root"), "customer", ["root"], unique=False)
    op.create_index(op.f("ix_customer_blocked_id"), "customer", ["blocked", "id"], unique=False)
    op.create_table(
        "customer_address",
        _key("address"),
        sa.Column("valid_from", sa.BigInteger(), autoincrement=False, nullable=False),
        _key("customer"),
        _ms("valid_to"),
        sa.PrimaryKeyConstraint(
            "address", "valid_from", "customer", name=op.f("pk_customer_address")
        ),
    )
    op.create_index(
        op.f("ix_customer_address_customer"), "customer_address", ["customer"], unique=False
    )
    op.create_table(
        "customer_tag",
        _key("tag"),
        _key("customer"),
        sa.PrimaryKeyConstraint("tag", "customer", name=op.f("pk_customer_tag")),
    )
    op.create_index(op.f("ix_customer_tag_customer"), "customer_tag", ["customer"], unique=False)
    op.create_table(
        "customer_consent",
        _key("id"),
        _key("customer"),
        _key("channel"),
        _key("category"),
        _key("state"),
        _ms("at"),
        _key("wording"),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        _ms("keep_until"),
        _key("by"),
        _ms("recorded_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_consent")),
    )
    op.create_index(
        op.f("ix_customer_consent_customer_at_id"),
        "customer_consent",
        ["customer", "at", "id"],
        unique=False,
    )
    op.create_table(
        "customer_link",
        _key("id"),
        _key("a"),
        _key("b"),
        _key("evidence"),
        sa.Column("confidence", sa.Float(), nullable=False),
        _key("canonical"),
        _ms("at"),
        _key("by"),
        _ms("undone_at"),
        _key("undone_by"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_link")),
    )
    op.create_index(op.f("ix_customer_link_a"), "customer_link", ["a"], unique=False)
    op.create_index(op.f("ix_customer_link_b"), "customer_link", ["b"], unique=False)
    head = op.create_table(
        "customer_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        _ms("position"),
        _key("salt"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_head")),
    )
    op.create_table(
        "customer_change",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        _ms("at"),
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_customer_change")),
    )
    op.bulk_insert(head, [{"id": 1, "position": 0, "salt": secrets.token_hex(32)}])


def downgrade() -> None:
    for table in ("change", "head", "link", "consent", "tag", "address"):
        op.drop_table(f"customer_{table}")
    op.drop_table("customer")
