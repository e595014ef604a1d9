"""Traffic: what the rules were asked with, kept on each record, and read back from the archive files, so that they can be asked again."""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from msgcenter.archive.file_sink import unframe
from msgcenter.customers import CustomerRow, Person, profile_of, row_of
from msgcenter.pipeline import Item
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed
from protocols.payload import Text

#: What people read of a message, by the names of the archived content, in the order in which content rules see it.
_SAID = ("text", "name", "title", "description", "url", "button", "body")
PEOPLE_KEPT = 50_000
"""People remembered as they were written last: who comes again unchanged is read once, and in memory once."""
REORDER = 20_000
"""Records held to put them in order of time: several writers fill one archive."""

Verdict = str
"""`sent` (the rules let it go), `held` or `dropped`."""
_VERDICTS: Mapping[str, Verdict] = {
    "routed": "sent",
    "held": "held",
    "suppressed": "dropped",
    "rejected": "sent",  # by no rule: there was no way to it
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The rules were asked about a message at `at`, and said: `verdict`, by `rule` (empty: they let it pass), `until` if held."""

    at: int
    envelope: Envelope
    who: Person | None
    verdict: Verdict
    rule: str = ""
    until: int = 0

    @property
    def first(self) -> bool:
        """Whether the message came anew, not back from a hold or from another kind of its slip."""
        return not self.envelope.held_since and not self.envelope.step


@dataclass(frozen=True, slots=True)
class Failed:
    """A message that the rules had let go did surely not leave by this step."""

    at: int
    message: str
    step: int


def facts_of(item: Item) -> str:
    """What `Record.facts` holds of an item that the rules were asked about."""
    envelope = item.judged
    assert envelope is not None
    given: dict[str, Any] = {
        "at": item.judged_at,
        "to": str(envelope.to),
        "given": str(envelope.given or ""),
        "person": envelope.person,
        "channels": envelope.channels,
        "step": envelope.step,
        "account": envelope.account,
        "expires": envelope.expires_at,
        "once": envelope.once_key,
        "since": envelope.held_since,
    }
    out = {name: value for name, value in given.items() if value}
    if item.who is not None and item.who.id:
        # A person says the same under the same names as its row.
        profile = profile_of(cast(CustomerRow, item.who))
        out["who"] = {"id": item.who.id, "key": item.who.key, **profile}
    return json.dumps(out, ensure_ascii=False, separators=(",", ":"))


class Known:
    """The people of a traffic. Not for several threads at once."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Mapping[str, Any], Person]] = {}

    def person(self, kept: Mapping[str, Any]) -> Person:
        """Who is meant by what a record's facts keep of it."""
        id_ = str(kept["id"])
        seen = self._seen.get(id_)
        if seen is not None and seen[0] == kept:
            return seen[1]
        if len(self._seen) >= PEOPLE_KEPT:
            self._seen.clear()
        person = _person(kept)
        self._seen[id_] = (kept, person)
        return person


def read(line: Mapping[str, Any], known: Known | None = None) -> Asked | Failed | None:
    """One archived record; None = it says nothing about the rules. `known`: what was read before it."""
    pipeline, kind = line.get("pipeline"), line.get("kind")
    if pipeline == "channel" and kind in ("rejected", "suppressed") and not line.get("receipt"):
        return Failed(int(line["at"]), str(line["message"]), int(line["step"]))
    facts, kept = line.get("facts"), line.get("envelope")
    verdict = _VERDICTS.get(str(kind))
    if not facts or not kept or pipeline != "submit" or verdict is None:
        return None
    try:
        to, given = Address.parse(facts["to"]), facts.get("given")
        named = Address.parse(given) if given else None
    except Malformed:
        return None
    content = kept.get("content") or {}
    envelope = Envelope(
        id=str(line["message"]),
        caller=kept["caller"],
        to=to,
        given=named,
        category=kept["category"],
        tier=kept["tier"],
        payload=Text("\n".join(str(content[name]) for name in _SAID if content.get(name))),
        created_at=kept["created_at"],
        person=facts.get("person", ""),
        account=facts.get("account", ""),
        channels=tuple(facts["channels"]),
        step=facts.get("step", 0),
        attempt=line["attempt"],
        campaign=kept["campaign"],
        expires_at=facts.get("expires", 0),
        once_key=facts.get("once", ""),
        held_since=facts.get("since", 0),
    )
    decisions = line.get("decisions") or []
    rule = str(decisions[-1]["rule"]) if decisions and verdict != "sent" else ""
    who = (known or Known()).person(facts["who"]) if "who" in facts else None
    return Asked(int(facts["at"]), envelope, who, verdict, rule, int(line.get("until") or 0))


def _person(kept: Mapping[str, Any]) -> Person:
    row = row_of(
        {
            **{"id": kept["id"], "root": "", "own": kept["key"], "profile": kept},
            **{"created_at": 0, "updated_at": 0, "erased_at": 0},
        }
    )
    return Person(
        id=row.id,
        key=str(kept["key"]),
        members=(row.id,),
        aliases=frozenset({row.id, str(kept["key"])}),
        zone=row.zone,
        city=row.city,
        level=row.level,
        organisation=row.organisation,
        agent=row.agent,
        holdings=row.holdings,
        tags=row.tags,
        preferences=row.preferences,
        consents=row.consents,
        blocks=row.blocks,
    )


def files_of(place: Path, since_ms: int = 0) -> list[Path]:
    """The archive files of a folder (or the one file), oldest first; with `since_ms` those that were still written to then."""
    if place.is_file():
        return [place]
    found = [path for path in place.rglob("records-*.jsonl*") if path.is_file()]
    return sorted(
        (path for path in found if path.stat().st_mtime * 1000 >= since_ms),
        key=lambda path: path.name,
    )


def events(
    files: Sequence[Path], *, since_ms: int = 0, read_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Asked | Failed]:
    """What the files say of the rules, in order of time. `read_bytes` is told how much of the files was read, for a progress bar.

    Memory is bounded: what is out of order by more than REORDER records comes late.
    """
    waiting: list[tuple[int, int, Asked | Failed]] = []
    known = Known()
    number = 0
    for path in files:
        with _open(path) as file:
            for line in file:
                read_bytes(len(line))
                value = unframe(line)
                event = read(value, known) if value is not None else None
                if event is None or event.at < since_ms:
                    continue
                number += 1
                heapq.heappush(waiting, (event.at, number, event))
                if len(waiting) > REORDER:
                    yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))
