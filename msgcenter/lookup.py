"""Lookup: groups by id for the hot path, read in batches from the Store and remembered for a moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgcenter.clock import Clock
from msgcenter.store import GroupRow

FRESH_S = 2.0
"""How long a settled group is believed: a dissolved one is written to no longer than that."""
KEPT = 20_000


class GroupSource(Protocol):
    async def groups_by_id(self, ids: Sequence[str]) -> dict[str, GroupRow]: ...


class GroupLookup:
    """One per process. A group that is being created is asked for every time: somebody waits for it."""

    def __init__(self, store: GroupSource, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, tuple[GroupRow, float]] = OrderedDict()

    async def find(self, ids: Iterable[str]) -> Mapping[str, GroupRow]:
        """Those that exist. Raises StoreError."""
        now = self._clock.monotonic()
        out: dict[str, GroupRow] = {}
        missing: list[str] = []
        for one in dict.fromkeys(ids):
            known = self._known.get(one)
            if known is not None and now - known[1] < FRESH_S:
                out[one] = known[0]
            else:
                missing.append(one)
        if missing:
            found = await self._store.groups_by_id(missing)
            for one, row in found.items():
                if row.state not in ("creating", "uncertain"):
                    self._known[one] = (row, now)
                    self._known.move_to_end(one)
            out.update(found)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return out

    def forget(self, group: str) -> None:
        """This process just changed it."""
        self._known.pop(group, None)
