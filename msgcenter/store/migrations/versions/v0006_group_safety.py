"""Groups: who asked for a dissolution, whether it waits for approval, and the seal of what was said."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    for name in ("asked", "seal"):
        op.add_column("grp", sa.Column(name, sa.JSON(), nullable=False, server_default="{}"))
    op.add_column(
        "grp", sa.Column("unapproved_since", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_index(
        op.f("ix_grp_unapproved_since"),
        "grp",
        ["unapproved_since"],
        unique=False,
        **_where("unapproved_since > 0"),
    )
    op.create_index(
        op.f("ix_message_chat_created_at_id"),
        "message",
        ["chat", "created_at", "id"],
        unique=False,
        **_where("chat <> ''"),
    )
    op.create_table(
        "sealed",
        sa.Column("seal", Key, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("digest", Key, nullable=False),
        sa.PrimaryKeyConstraint("seal", "message", name=op.f("pk_sealed")),
    )


def downgrade() -> None:
    op.drop_table("sealed")
    op.drop_index(op.f("ix_message_chat_created_at_id"), table_name="message")
    op.drop_index(op.f("ix_grp_unapproved_since"), table_name="grp")
    for name in ("seal", "unapproved_since", "asked"):
        op.drop_column("grp", name)
