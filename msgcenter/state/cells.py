"""How a message looks inside State, on every backend: its fields, its evidence, its receipts.

A message is one hash: `meta` (as accepted), `v` and `vo` (view and its order), `e` (evidence),
`o:<pass>` (outcome), `c:<pass>` (claim), `r` (what it holds of counters); `<pass>` is `pipeline:step.attempt`. Evidence is one
msgpack list of `[step, attempt, part, rank, at, code]`, rank being the index in `EVIDENCE`: one
field, because a settle reads all of it and a Redis hash is cheapest to read by known names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack

from msgcenter.state import EVIDENCE, Evidence, Halt, Mark, Match, Receipt, Snapshot
from protocols.envelope import Key

Hash = dict[str, bytes]


class Cells(Protocol):
    """A store of hashes: what is absent or expired loads empty, storing an empty one deletes it."""

    def now_ms(self) -> int: ...

    def load(self, key: str) -> Hash:
        """A copy that the caller may change."""
        ...

    def store(self, key: str, cells: Hash, expires_ms: int) -> None:
        """Replace the hash; `expires_ms` epoch milliseconds, 0 = never."""
        ...


RANK: Mapping[str, int] = {name: rank for rank, name in enumerate(EVIDENCE)}

Place = tuple[str, int, int]
"""One delivery: message, step, attempt."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds that things stay after their last write: a message (with its correlations), a key."""

    message_s: float = 3 * 86400.0
    key_s: float = 7 * 86400.0


def key_name(caller: str, key: str) -> str:
    """Where an Idempotency-Key lies; the separator is in no name, so no two callers share one."""
    return f"k:{caller}\x1f{key}"


def remote_name(scope: str, remote_id: str) -> str:
    """Where the correlation of a far end's id lies."""
    return f"r:{scope}\x1f{remote_id}"


def unknown_name(scope: str, recipient: str) -> str:
    """Where a recipient's open unknowns are listed: delivery -> deadline in epoch milliseconds."""
    return f"u:{scope}\x1f{recipient}"


def checked_bucket(rate: float, burst: float, lasts_s: float = 0.0) -> None:
    """Raises ValueError for a token bucket that could never give a token."""
    if lasts_s > 0 and rate == 0 and burst >= 1:
        return
    if not (rate > 0 and burst >= 1):
        raise ValueError(f"token bucket: rate {rate} must be above 0 and burst {burst} at least 1")


ALLOW_PARTS = 12
"""Into so many parts the span of an allowance is cut: counts are kept per part, and the part that is running out still counts."""


def checked_limits(limits: Sequence[tuple[int, float]]) -> list[tuple[int, int, int]]:
    """(count, milliseconds, milliseconds of a part). Raises ValueError for a limit that never has room."""
    checked = []
    for count, seconds in limits:
        span = round(seconds * 1000)
        if count < 1 or span < ALLOW_PARTS:
            raise ValueError(f"allowance: {count} in {seconds} s is no limit")
        checked.append((count, span, -(-span // ALLOW_PARTS)))
    return checked


def pass_of(key: Key) -> str:
    """The part of a field's name that says which pass of its message it belongs to."""
    return f"{key.pipeline}:{key.step}.{key.attempt}"


def message_of(gate: str) -> str:
    """The id in a `message:<id>` or `message:<id>/<step>` gate, else ""."""
    return gate[8:].partition("/")[0] if gate.startswith("message:") else ""


def step_gate(message: str, step: int) -> str:
    """The gate that stops one step of a message alone."""
    return f"message:{message}/{step}"


PAUSE = "~"
"""How the word of a gate begins that holds: `~<until, epoch ms, 0 = until lifted>|<rule>`; any other word is the rule itself."""


def pause_word(rule: str, until_ms: int) -> str:
    """What lies under a gate that holds."""
    return f"{PAUSE}{until_ms}|{rule}"


def pause_from(word: str) -> tuple[int, str] | None:
    """(until, rule) of a gate that holds, else None."""
    if not word.startswith(PAUSE):
        return None
    until, _, rule = word[1:].partition("|")
    return int(until), rule


PLAN_ORDER = 10**12
"""A view that a plan wrote outranks those of its passes: their order stays far below."""


def halt_of(cells: Mapping[str, bytes], step: int) -> Halt:
    """What can still become of a step that is stopped, from its message's cells."""
    if any(name.startswith(f"c:channel:{step}.") for name in cells):
        return "claimed"
    evidence = cells.get("e")
    rows = msgpack.unpackb(evidence, raw=True) if evidence else []
    ranks = {row[3] for row in rows if row[0] == step}
    return "claimed" if ranks - {RANK["unknown"]} else "left" if ranks else ""


def own_gate(gate: str, message: str) -> bool:
    """Whether a gate is the message's own (else it is a wide one).

    Raises ValueError for another message's: on a Cluster that may lie in another shard, which no
    step that claims this message can read.
    """
    other = message_of(gate)
    if other and other != message:
        raise ValueError(f"{message}: the gate {gate} is another message's")
    return bool(other)


def may_have_left(cells: Mapping[str, bytes]) -> bool:
    """Whether some pass of this message was let go and is not known as a definite non-send.

    A claim is removed by its outcome and by `release`, so any claim is one without outcome;
    evidence and the views named after evidence are only ever written for what left.
    """
    if cells.get("e") or cells.get("v", b"").decode() in RANK:
        return True
    return any(name.startswith("c:") for name in cells)


# -- evidence -----------------------------------------------------------------------------------


def merged(blob: bytes, marks: Iterable[Mark]) -> bytes:
    """`blob` with the marks added: per part the highest rank stands, among equals the earliest.

    (At the same time the smaller code.) That choice does not depend on the order of arrival, so
    any permutation of marks ends in the same bytes.
    """
    rows: list[list[Any]] = msgpack.unpackb(blob, raw=True) if blob else []
    by_part = {(row[0], row[1], row[2]): row for row in rows}
    for mark in marks:
        place = (mark.step, mark.attempt, mark.part)
        rank, code = RANK[mark.evidence], mark.code.encode()
        old = by_part.get(place)
        if old is None or (-rank, mark.at, code) < (-old[3], old[4], old[5]):
            by_part[place] = [*place, rank, mark.at, code]
    return packed([by_part[place] for place in sorted(by_part)])


def packed(value: object) -> bytes:
    """msgpack that Redis's cmsgpack reads too: there text and octets are the same `raw` family."""
    data: bytes = msgpack.packb(value, use_bin_type=False)
    return data


def snapshot(meta: bytes | None, view: bytes | None, blob: bytes | None) -> Snapshot:
    """What the fields `meta`, `v` and `e` say (None = no such field)."""
    if not blob:
        if meta is None and view is None:
            return Snapshot()
        return Snapshot(True, meta or b"", view.decode() if view else "", {})
    deliveries: dict[tuple[int, int], dict[int, tuple[Evidence, str, int]]] = {}
    for step, attempt, part, rank, at, code in msgpack.unpackb(blob, raw=True):
        parts = deliveries.setdefault((step, attempt), {})
        parts[part] = (EVIDENCE[rank], code.decode(), at)
    return Snapshot(True, meta or b"", view.decode() if view else "", deliveries)


# -- receipts -----------------------------------------------------------------------------------


def place_text(message: str, step: int, attempt: int, part: int | None = None) -> str:
    """A delivery, or one part of it, as a correlation's value or an open unknown's name."""
    text = f"{message}|{step}|{attempt}"
    return text if part is None else f"{text}|{part}"


def delivery_from(text: str) -> Place:
    """The reverse of `place_text` without a part. The message id may hold any character."""
    message, step, attempt = text.rsplit("|", 2)
    return message, int(step), int(attempt)


def part_from(text: str) -> Match:
    """The reverse of `place_text` with a part."""
    message, step, attempt, part = text.rsplit("|", 3)
    return Match(message, int(step), int(attempt), int(part))


class Guess:
    """Joins receipts that no remote id explains to the open unknowns of their recipients.

    An unknown is over once all its parts have better evidence. Several receipts of one call (the
    parts of a long message) take its parts in turn; between two unknowns nobody chooses.
    """

    def __init__(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._snapshots = snapshots
        self._taken: dict[Place, dict[str, int]] = {}

    def match(self, receipt: Receipt, candidates: Sequence[Place]) -> Match | None:
        """`candidates`: the recipient's unknowns inside their deadline."""
        live = [(place, parts) for place in candidates if (parts := self._open_parts(place))]
        if len(live) != 1:
            return None
        place, parts = live[0]
        taken = self._taken.setdefault(place, {})
        if receipt.remote_id not in taken:
            free = [part for part in parts if part not in taken.values()]
            if not free:
                return None
            taken[receipt.remote_id] = free[0]
        return Match(*place, taken[receipt.remote_id], guessed=True)

    def _open_parts(self, place: Place) -> list[int]:
        message, step, attempt = place
        known = self._snapshots.get(message, Snapshot()).deliveries.get((step, attempt))
        if not known:
            return [0]  # concluded as Unknown without a mark: taken as one part
        return sorted(part for part, (evidence, _, _) in known.items() if evidence == "unknown")
