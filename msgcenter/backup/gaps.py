"""Gaps: what reality knows and a restored deployment does not, from the archive and the State of the folder it replaces."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgcenter import status
from msgcenter.archive.file_sink import read_file
from msgcenter.backup.pending import remembered

Kind: TypeAlias = Literal["missing", "settled", "behind", "pending"]
KINDS: Mapping[Kind, str] = {
    "missing": "accepted or received after the backup, not in it",
    "settled": "pending in the backup; what became of it is known",
    "pending": "pending in the backup; nobody knows what became of it",
    "behind": "over in the backup, its status moved on since",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The last word on a message outside the backup. Times are epoch milliseconds; `source`: archive or state."""

    message: str
    at: int
    status: str
    source: str
    direction: str = ""
    caller: str = ""
    to: str = ""
    category: str = ""
    reference: str = ""
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """One line of the report. `restored`: the status that the restored deployment shows, "" = it has no such message."""

    gap: Kind
    restored: str
    seen: Seen

    def as_dict(self) -> dict[str, Any]:
        return {"gap": self.gap, "restored": self.restored, **asdict(self.seen)}


def from_archive(folder: Path, since_ms: int) -> dict[str, Seen]:
    """Message -> what the archive's files say of it, of the records since then; damaged files are read as far as they go."""
    found: dict[str, Seen] = {}
    for path in sorted(folder.rglob("records-*.jsonl")):
        with suppress(FileNotFoundError):  # a file that is being rotated away
            for value in read_file(path):
                if value["at"] >= since_ms:
                    _learn(found, value)
    return found


def _learn(found: dict[str, Seen], value: Mapping[str, Any]) -> None:
    envelope = value.get("envelope") or {}
    before = found.get(value["message"])
    if before is None and not envelope and not value["status"]:
        return
    old = before or Seen(value["message"], 0, "", "archive")
    if not old.created_at and envelope.get("category") in ("event", "receipt"):
        return  # what we tell callers, and what far ends tell us of messages, are no messages
    found[value["message"]] = Seen(
        value["message"],
        max(old.at, value["at"]),
        value["status"] if value["status"] and value["at"] >= old.at else old.status,
        "archive",
        old.direction or envelope.get("direction", ""),
        old.caller or value.get("caller", ""),
        old.to or envelope.get("to", ""),
        old.category or envelope.get("category", ""),
        old.reference or value.get("reference", ""),
        old.created_at or envelope.get("created_at", 0),
    )


def from_state(path: Path) -> dict[str, Seen]:
    """Message -> what an embedded State's file says of it; nothing when it cannot be read."""
    found: dict[str, Seen] = {}
    with suppress(sqlite3.Error):
        for one in remembered(path):
            meta = one.meta
            found[one.id] = Seen(
                one.id,
                meta.created_at,
                one.status,
                "state",
                "outbound",
                meta.caller,
                meta.to,
                meta.category,
                meta.reference,
                meta.created_at,
            )
    return found


def joined(archive: Mapping[str, Seen], state: Mapping[str, Seen]) -> dict[str, Seen]:
    """State says the last status, the archive what the message was."""
    out = dict(state)
    for id_, seen in archive.items():
        known = state.get(id_)
        out[id_] = seen if known is None or known.status in status.PENDING else known
    return out


def compare(
    seen: Mapping[str, Seen], known: Mapping[str, str], marked: Mapping[str, Seen], since_ms: int
) -> Iterator[Gap]:
    """`known`: message -> status, of what the backup has; `marked`: what was pending in it, as the backup knew it."""
    for id_, one in sorted(seen.items()):
        if id_ in marked:
            over = one.status and one.status not in status.PENDING
            yield Gap("settled" if over else "pending", "unknown", one)
        elif id_ not in known:
            yield Gap("missing", "", one)
        elif one.status and one.status != known[id_] and one.status not in status.PENDING:
            yield Gap("behind", known[id_], one)
    for id_, one in sorted(marked.items()):
        if id_ not in seen:
            yield Gap("pending", "unknown", one)


def counts(gaps: Iterable[Gap]) -> dict[Kind, int]:
    out: dict[Kind, int] = dict.fromkeys(KINDS, 0)
    for gap in gaps:
        out[gap.gap] += 1
    return out
