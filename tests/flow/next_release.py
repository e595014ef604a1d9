"""`python -m tests.flow.next_release serve …`: this product as a release that is not written yet, one step ahead by every rule of
docs/upgrades.md: each list on the wire one field longer, the Store one migration ahead and writing what only it knows.

Where `NEXT_TELLS` names a file, one letter is appended for each envelope it reads: `n` from its own kind, `o` from an older one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from alembic.config import Config
from sqlalchemy import bindparam, text

from msgcenter.store import ContentPolicy, migrate
from msgcenter.store.messages import Messages
from protocols import wire
from protocols.envelope import Envelope, Record
from protocols.outcome import Outcome, Routed

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


def _outcomes() -> None:
    """As `_longer`; the one field that this release leaves out when it is empty is written then."""
    written = wire._outcome_to

    def write(outcome: Outcome) -> list[Any]:
        out = written(outcome)
        if type(outcome) is Routed and outcome.amended is None:
            out.append(None)
        return [*out, NOVELTY, [[NOVELTY]]]

    wire._outcome_to = write


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


def _rows() -> None:
    """Messages are written with the new column."""
    written = Messages.write_records

    async def write(self: Messages, records: Sequence[Record], policy: ContentPolicy) -> None:
        await written(self, records, policy)
        ids = sorted({one.subject or one.envelope.id for one in records})
        change = text(f"UPDATE message SET {NOVELTY} = '{NOVELTY}' WHERE id IN :ids")
        await self._write(
            lambda connection: connection.execute(
                change.bindparams(bindparam("ids", ids, expanding=True))
            )
        )

    Messages.write_records = write  # type: ignore[method-assign]


def _ahead(folder: Path) -> None:
    """A migration more than there is."""
    (folder / "v0999_next.py").write_text(_MIGRATION)
    plain = migrate._config

    def config(connection: Any = None) -> Config:
        out = plain(connection)
        ours = Path(out.get_main_option("script_location") or "") / "versions"
        out.set_main_option("path_separator", "os")
        out.set_main_option("version_locations", os.pathsep.join((str(ours), str(folder))))
        return out

    migrate._config = config


def main() -> None:
    folder = Path(os.environ["NEXT_MIGRATIONS"])
    folder.mkdir(exist_ok=True)
    _ahead(folder)
    _rows()
    told = os.environ.get("NEXT_TELLS")
    _envelopes(Path(told) if told else None)
    for name in ("_record_to", "_decision_to", "_payload_to"):
        _longer(name)
    _outcomes()
    from msgcenter.cli import main as command

    command()


if __name__ == "__main__":
    main()
