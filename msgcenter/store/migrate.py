"""Bring a database to this release's tables, or say how it differs; Alembic run from inside, without any ini file.

A newer release may have been here first: then its tables stay as they are, for migrations only add. What this release reads
and writes must be there, and what it does not know must do without it; otherwise it does not start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from msgcenter.store import StoreError
from msgcenter.store.tables import metadata

#: Any number: the same in every process that migrates, and used for nothing else.
_ADVISORY_LOCK = 7_410_563_812


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run what is missing inside the caller's transaction; nothing in a database of a newer release. Processes that start together
    take turns (PostgreSQL: an advisory lock; SQLite: the caller's BEGIN IMMEDIATE). Raises StoreError when this release cannot
    work on the newer tables."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
    if is_known(now := current(connection)):
        command.upgrade(_config(connection), revision)
    elif wrong := obstacles(connection):
        raise StoreError(
            f"the tables are of a newer release (migration {now}) that this one cannot work on: {'; '.join(wrong[:3])};"
            " start the newer release, or restore a backup of this one"
        )


def obstacles(connection: Connection) -> list[str]:
    """What keeps this release from working on a newer one's tables: something of its own that is gone, or something new that
    a row cannot be written without."""
    inspector = inspect(connection)
    there = set(inspector.get_table_names())
    wrong = []
    for table in metadata.sorted_tables:
        if table.name not in there:
            wrong.append(f"table {table.name} is gone")
            continue
        columns = {one["name"]: one for one in inspector.get_columns(table.name)}
        ours = {column.name for column in table.c}
        wrong += [f"{table.name}.{name} is gone" for name in ours - columns.keys()]
        wrong += [
            f"{table.name}.{name} is new and has no default"
            for name in columns.keys() - ours
            if not columns[name]["nullable"] and columns[name]["default"] is None
        ]
    return sorted(wrong)


def downgrade(connection: Connection) -> None:
    """Take every table away, inside the caller's transaction."""
    command.downgrade(_config(connection), "base")


def is_known(revision: str) -> bool:
    """Whether this release has this migration; one of a newer release is not."""
    script = ScriptDirectory.from_config(_config())
    return not revision or revision in {one.revision for one in script.walk_revisions()}


def current(connection: Connection) -> str:
    """The revision the database is at; empty when it has no tables yet."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def newest() -> str:
    """The revision this release needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def differences(connection: Connection) -> list[Any]:
    """How the database differs from `tables.metadata`, in Alembic's words; empty when it does
    not."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))
