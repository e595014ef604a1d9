"""Joins the parts of long messages that arrive in any order, twice, interleaved, or not at all.

The key is source, destination, reference and total: the same reference is reused with other totals.
Time is a float of seconds passed in; memory is bounded by `max_open`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from protocols.sms import text
from protocols.sms.udh import Concat

Key = tuple[str, str, int, bool, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """One part as it came: its number, format, user data without header, and what the owner tied
    to it.
    """

    number: int
    msg_fmt: int
    data: bytes
    tag: object = None


@dataclass(frozen=True, slots=True)
class Joined:
    """A message whose parts are all there, or (`complete` false) what there was of it when its
    time ran out.
    """

    source: str
    destination: str
    reference: int
    total: int
    pieces: tuple[Piece, ...]  #: in order of number

    @property
    def complete(self) -> bool:
        return len(self.pieces) == self.total

    @property
    def text(self) -> str:
        """The text, its formats being Msg_Fmt; see `decoded`."""
        return self.decoded(text.decode)

    def decoded(self, read: Callable[[bytes, int], str | None]) -> str:
        """The text by `read(octets, format)`; neighbours of one format are joined before decoding,
        so a character cut in two is whole again.

        A part that is not text (`read` gives None) shows as its octets in hex.
        """
        runs: list[tuple[int, list[bytes]]] = []
        last = 0
        for piece in self.pieces:
            if runs and runs[-1][0] == piece.msg_fmt and piece.number == last + 1:
                runs[-1][1].append(piece.data)
            else:
                runs.append((piece.msg_fmt, [piece.data]))
            last = piece.number
        out = []
        for msg_fmt, chunks in runs:
            data = b"".join(chunks)
            shown = read(data, msg_fmt)
            out.append(data.hex() if shown is None else shown)
        return "".join(out)


@dataclass(slots=True)
class _Open:
    since: float
    pieces: dict[int, Piece] = field(default_factory=dict)


class Reassembler:
    """`add` every part that has a `Concat`; call `expire` now and then. Not thread-safe.

    A part already held is dropped when its octets are the same; when they differ, a new message has
    taken the reference: the old one comes out incomplete. With `remember` > 0, parts of a message
    completed that many seconds ago or less are dropped as late duplicates.
    """

    def __init__(
        self, timeout: float = 600.0, max_open: int = 10_000, remember: float = 0.0
    ) -> None:
        self._timeout = timeout
        self._max_open = max_open
        self._remember = remember
        self._open: dict[Key, _Open] = {}  # oldest first
        self._done: dict[Key, tuple[float, dict[int, bytes]]] = {}
        self.duplicates = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self,
        source: str,
        destination: str,
        concat: Concat,
        msg_fmt: int,
        data: bytes,
        *,
        now: float,
        tag: object = None,
    ) -> list[Joined]:
        """Take one part (`data` without header) and return what became ready: mostly nothing or
        one message.
        """
        key = (source, destination, concat.reference, concat.wide, concat.total)
        if self._remember and self._late_duplicate(key, concat.number, data, now):
            self.duplicates += 1
            return []
        ready: list[Joined] = []
        entry = self._open.get(key)
        held = entry.pieces.get(concat.number) if entry else None
        if entry is not None and held is not None:
            if held.data == data:
                self.duplicates += 1
                return ready
            ready.append(self._take(key))
            entry = None
        if entry is None:
            if len(self._open) >= self._max_open:
                ready.append(self._take(next(iter(self._open))))
            entry = self._open[key] = _Open(now)
        entry.pieces[concat.number] = Piece(concat.number, msg_fmt, data, tag)
        if len(entry.pieces) == concat.total:
            if self._remember:
                self._done[key] = (now, {n: p.data for n, p in entry.pieces.items()})
                if len(self._done) > self._max_open:
                    del self._done[next(iter(self._done))]
            ready.append(self._take(key))
        return ready

    def expire(self, now: float) -> list[Joined]:
        """The messages whose first part came `timeout` or more seconds ago, incomplete, oldest
        first.
        """
        ready = []
        while self._open:
            key, entry = next(iter(self._open.items()))
            if now - entry.since < self._timeout:
                break
            ready.append(self._take(key))
        while self._done:
            key, (when, _) = next(iter(self._done.items()))
            if now - when <= self._remember:
                break
            del self._done[key]
        return ready

    def _late_duplicate(self, key: Key, number: int, data: bytes, now: float) -> bool:
        done = self._done.get(key)
        if done is None:
            return False
        if now - done[0] <= self._remember and done[1].get(number) == data:
            return True
        del self._done[key]  # the reference has been taken by a new message
        return False

    def _take(self, key: Key) -> Joined:
        entry = self._open.pop(key)
        source, destination, reference, _, total = key
        pieces = tuple(sorted(entry.pieces.values(), key=lambda piece: piece.number))
        return Joined(source, destination, reference, total, pieces)
