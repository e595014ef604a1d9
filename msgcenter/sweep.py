"""Sweep: finds groups whose command never became durable because a process died between Store and bus, and dissolutions that
nobody approved in time.

A group that is `creating` or `dissolving` for ten minutes without State or message store knowing of its command was given up
half-way; whoever asked has had no answer. A group that was to be made becomes `failed` with `not_accepted`, as if the bus had
refused it: the caller may have asked anew meanwhile, and a second group would be worse than none (the same Idempotency-Key
still makes this one, and so does its command, should it turn up after all). A dissolution is published again under the same
id: the group is closed to messages and is shown as dissolving, and a command that is there after all absorbs the second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgcenter.bus import Bus
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.dissolution import dissolving
from msgcenter.groups import APPROVAL_MS, LAPSED, NOT_ACCEPTED, step, unasked
from msgcenter.settle import frames, publish_frames
from msgcenter.state import State
from msgcenter.store import GroupRow
from msgcenter.store.store import Store
from protocols import wire

QUIET_MS = 600_000
"""So long a command may be under way without anybody knowing of it; longer than any request takes."""
PAGE = 500
WHO = "msgcenter/tidy"


class Sweep:
    """Any number of processes may sweep: what is changed is looked at again while it is locked."""

    def __init__(
        self,
        current: Callable[[], Config],
        *,
        bus: Bus,
        state: State,
        store: Store,
        clock: Clock,
        partitions: int,
        log: Any,
    ) -> None:
        self._current = current
        self._bus = bus
        self._state = state
        self._store = store
        self._clock = clock
        self._partitions = partitions
        self._log = log

    async def once(self) -> None:
        """Look at all of them. Raises BusError, StateError, StoreError: then the next time."""
        await self._lost()
        await self._lapsed()

    async def _lost(self) -> None:
        last = ""
        while True:
            before = self._clock.now_ms() - QUIET_MS
            rows = await self._store.groups_under_way(before, last, PAGE)
            if not rows:
                return
            last = rows[-1].id
            snapshots = await self._state.get_many([row.command for row in rows])
            for row, snapshot in zip(rows, snapshots, strict=True):
                if snapshot.exists or await self._store.message(row.command) is not None:
                    continue
                self._log.warning("group_command_lost", group=row.id, state=row.state)
                if row.state == "creating":
                    await self._fail(row)
                else:
                    await self._publish(row)

    async def _fail(self, row: GroupRow) -> None:
        now = self._clock.now_ms()

        def change(kept: GroupRow) -> GroupRow:
            if kept.state != "creating" or kept.command != row.command or kept.since != row.since:
                return kept
            return step(kept, "refused", now, code=NOT_ACCEPTED)

        await self._store.change_group(row.id, change)
        await self._audit("group.create_lost", row)

    async def _publish(self, row: GroupRow) -> None:
        envelopes = dissolving(row, self._current(), self._clock.now_ms())
        queue = place(SUBMIT, envelopes[-1], self._partitions)
        await publish_frames(self._bus, frames(queue, [wire.seal(one) for one in envelopes]))
        await self._audit("group.dissolve_resumed", row)

    async def _lapsed(self) -> None:
        now = self._clock.now_ms()
        while rows := await self._store.groups_unapproved(now - APPROVAL_MS, PAGE):
            for row in rows:

                def change(kept: GroupRow, row: GroupRow) -> GroupRow:
                    same = kept.unapproved_since == row.unapproved_since
                    return unasked(kept, now, LAPSED) if same else kept

                await self._store.change_group(row.id, partial(change, row=row))
                await self._audit("group.dissolve_lapsed", row)

    async def _audit(self, what: str, row: GroupRow) -> None:
        await self._store.audit(WHO, what, row.id, {"message": row.command}, self._clock.now_ms())
