"""Reading: a frame of records goes to every sink's own queue; the sinks of one process open it once and share what is in it.

Opening costs more than most sinks do with a record. Records are frozen, so they may be shared. What is kept is bounded: a frame
is let go when every sink has had it, or when too many newer ones came (a sink that lags opens its frames itself then).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from protocols.envelope import Record


class RecordFrames:
    """One per process. `sinks`: how many want each frame; `keep`: records held at most."""

    def __init__(self, sinks: int, keep: int = 10_000) -> None:
        self._sinks = sinks
        self._keep = keep
        self._count = 0
        self._frames: OrderedDict[bytes, tuple[Sequence[Record], int]] = OrderedDict()

    def get(self, body: bytes) -> Sequence[Record] | None:
        """The records of a frame that another sink has opened, else None."""
        entry = self._frames.get(body)
        if entry is None:
            return None
        records, left = entry
        if left > 1:
            self._frames[body] = (records, left - 1)
        else:
            del self._frames[body]
            self._count -= len(records)
        return records

    def put(self, body: bytes, records: Sequence[Record]) -> None:
        """A frame that could be read as a whole, for the other sinks."""
        if self._sinks < 2 or body in self._frames:
            return
        self._frames[body] = (records, self._sinks - 1)
        self._count += len(records)
        while self._count > self._keep:
            _, (old, _) = self._frames.popitem(last=False)
            self._count -= len(old)
