"""`python -m tests.flow.next_release serve …`: this product as a release that is not written yet, one step ahead by every rule of
docs/upgrades.md: each list on the wire one field longer, the Store one migration ahead and writing what only it knows.

Where `NEXT_TELLS` names a file, one letter is appended for each envelope it reads: `n` from its own kind, `o` from an older one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from alembic.config import Config
from sqlalchemy import Column, Text

from msgcenter.store import migrate
from msgcenter.store.tables import due, message
from protocols import wire
from protocols.envelope import Envelope

REVISION = "0999"
NOVELTY = "whim"
_PREDECESSOR = migrate.newest()
_DEFAULTS = [None if one.default is MISSING else one.default for one in fields(Envelope)]
_MIGRATION = f'''
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{REVISION}", "{_PREDECESSOR}", None, None


def upgrade() -> None:
    for table in ("due", "message"):
        op.add_column(table, sa.Column("{NOVELTY}", sa.Text(), nullable=False, server_default="none"))
    op.create_table("{NOVELTY}", sa.Column("id", sa.Text(), primary_key=True))
'''


def _longer(name: str) -> None:
    """What `wire.<name>` makes has one field more: text, and a list where a list of texts may stand."""
    written: Callable[[Any], list[Any]] = getattr(wire, name)
    setattr(wire, name, lambda value: [*written(value), NOVELTY, [[NOVELTY]]])


def _envelopes(tells: Path | None) -> None:
    written, read = wire._envelope_to, wire._envelope

    def write(envelope: Envelope) -> list[Any]:
        out = written(envelope)
        return [*out, *_DEFAULTS[len(out) :], NOVELTY, [[NOVELTY]]]

    def look(value: Any) -> Any:
        if tells is not None:
            with tells.open("a") as file:
                file.write("n" if NOVELTY in value[len(_DEFAULTS) :] else "o")
        return read(value)

    wire._envelope_to, wire._envelope = write, look


def _ahead(folder: Path) -> None:
    """A migration more than there is, and the tables as it makes them."""
    (folder / "v0999_next.py").write_text(_MIGRATION)
    plain = migrate._config

    def config(connection: Any = None) -> Config:
        out = plain(connection)
        ours = Path(out.get_main_option("script_location") or "") / "versions"
        out.set_main_option("path_separator", "os")
        out.set_main_option("version_locations", os.pathsep.join((str(ours), str(folder))))
        return out

    migrate._config = config
    for table in (due, message):
        table.append_column(Column(NOVELTY, Text, nullable=False, default=NOVELTY))


def main() -> None:
    folder = Path(os.environ["NEXT_MIGRATIONS"])
    folder.mkdir(exist_ok=True)
    _ahead(folder)
    told = os.environ.get("NEXT_TELLS")
    _envelopes(Path(told) if told else None)
    for name in ("_record_to", "_decision_to", "_payload_to", "_outcome_to"):
        _longer(name)
    from msgcenter.cli import main as command

    command()


if __name__ == "__main__":
    main()
