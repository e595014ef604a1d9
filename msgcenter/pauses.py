"""Pauses: the stop button; what is paused is held where it would leave, in every process at once, and let out again in its order.

A pause is a gate in State that `admit` asks, so nothing leaves after the answer to it; the Store keeps it over restarts and
losses of State. What it holds are due rows; conversations wait where they are, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from msgcenter.clock import Clock
from msgcenter.metrics import Metrics
from msgcenter.policy.held import release_at
from msgcenter.state import State, StateError, Suppression
from msgcenter.store import PauseRow, StoreError
from msgcenter.store.pauses import rule_of
from msgcenter.store.store import Store
from protocols.envelope import Envelope

Scope = Literal["campaign", "caller", "category", "template", "channel"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

PAUSED = "paused"
"""The reason code of what a pause holds."""
WHY = "\x1f"
"""Between gate and reason in the word that State keeps."""
ASK_AGAIN_S = 5.0
"""How often the head of a paused conversation asks whether it may go."""
LOOK_AGAIN_S = 6 * 3600.0
"""How long at most a held message waits before it asks again: a net only, the end of its pause lets it out."""
FALLBACK_SPREAD_S = 60.0
"""Over how long what a timed pause holds leaves if no schedule role is there to let it out."""
RELEASE_RATE = 100.0
"""Messages a second that are let out at the end of a pause, unless that takes longer than the policy's spread."""
POLL_S = 1.0
STRAGGLERS_MS = 15 * 60_000
"""So long after its end what was still on its way into a pause is looked for and let out."""


def gate_of(scope: Scope, value: str) -> str:
    return f"{scope}:{value}"


def channel_gates(envelope: Envelope) -> list[str]:
    """The gates of the channel that a message goes out by: its name, and its kind."""
    kind = envelope.channels[envelope.step] if envelope.step < len(envelope.channels) else ""
    names = dict.fromkeys(name for name in (envelope.channel, kind) if name)
    return [gate_of("channel", name) for name in names]


def hold_until(envelope: Envelope, until: int, now: int) -> int:
    """When a message held by a pause is looked at if nobody lets it out before: not later than its expiry, so that it ends in
    time. `until`: when the pause ends, 0 = nobody knows."""
    at = now + round(LOOK_AGAIN_S * 1000)
    if until:
        at = min(at, release_at(until, FALLBACK_SPREAD_S, rank=5, waited=0.0, message=envelope.id))
    if envelope.expires_at:
        at = min(at, envelope.expires_at)
    return max(at, now + 1000)


@dataclass(frozen=True, slots=True)
class Resumed:
    """`ended`: this call ended the pause (else it was over already). `released`: messages let out, over `spread_s`."""

    ended: bool
    released: int
    spread_s: float


class Pauses:
    """One per process. Every method raises StateError, StoreError; each may be repeated."""

    def __init__(self, state: State, store: Store, clock: Clock) -> None:
        self._state = state
        self._store = store
        self._clock = clock

    async def pause(self, gate: str, by: str, why: str = "", lasts_s: float = 0.0) -> PauseRow:
        """Hold what carries this gate, from the return on, for `lasts_s` (0 = until `resume`). A running pause is changed."""
        now = self._clock.now_ms()
        row = PauseRow(gate, now, now + round(lasts_s * 1000) if lasts_s else 0, by, why)
        # State before Store: whatever fails, it is silent.
        await self._state.suppress([_suppression(row, now)])
        await self._store.put_pause(row)
        await self.restore(gate)  # a `resume` may have come between the two
        detail = {"until": row.until, "why": why}
        await self._store.audit(by, "pause", gate, detail, now)
        return row

    async def resume(self, gate: str, by: str, spread_s: float | None, most_s: float) -> Resumed:
        """Let what carries this gate go again, over `spread_s`; None = by how many they are, `most_s` at most."""
        now = self._clock.now_ms()
        # Store before State: whatever fails, it is silent.
        ended = await self._store.end_pause(gate, now, began_by=now)
        await self._state.unsuppress([gate])
        await self.restore(gate)  # somebody may have paused it anew meanwhile
        return await self._let_out(gate, by, "resume", ended, spread_s, most_s)

    async def running(self) -> Sequence[tuple[PauseRow, int]]:
        """The pauses in force, oldest first, and how many messages each holds."""
        now = self._clock.now_ms()
        held = await self._store.count_paused()
        rows = await self._store.list_pauses()
        return [(row, held.get(rule_of(row.gate), 0)) for row in rows if not 0 < row.until <= now]

    async def restore(self, gate: str = "") -> None:
        """Put the pauses in force (that of `gate` alone, if given) into State again: it may have been lost."""
        now = self._clock.now_ms()
        rows = [row for row in await self._store.list_pauses() if not 0 < row.until <= now]
        rows = [row for row in rows if gate in ("", row.gate)]
        if not rows:
            return
        await self._state.suppress([_suppression(row, now) for row in rows])
        running = {row.gate for row in await self._store.list_pauses()}
        resumed = [row.gate for row in rows if row.gate not in running]
        if resumed:  # between our reading and our writing
            await self._state.unsuppress(resumed)

    async def end_due(self, most_s: float) -> int:
        """End the pauses whose time is over, and let out what came late to one that ended; how many messages."""
        now, released = self._clock.now_ms(), 0
        held = await self._store.count_paused()
        for row in await self._store.list_pauses(now - STRAGGLERS_MS):
            ends = not row.ended_at and 0 < row.until <= now
            if ends:
                ends = await self._store.end_pause(row.gate, now, began_by=row.since)
            if ends or (row.ended_at and rule_of(row.gate) in held):
                told = await self._let_out(row.gate, "clock", "pause.end", ends, None, most_s)
                released += told.released
        return released

    async def _let_out(
        self, gate: str, by: str, what: str, ended: bool, spread_s: float | None, most_s: float
    ) -> Resumed:
        now = self._clock.now_ms()
        if spread_s is None:
            held = (await self._store.count_paused()).get(rule_of(gate), 0)
            spread_s = min(held / RELEASE_RATE, most_s)
        released = await self._store.release_paused(gate, now, round(spread_s * 1000))
        if ended:
            detail = {"released": released, "spread_s": spread_s}
            await self._store.audit(by, what, gate, detail, now)
        return Resumed(ended, released, spread_s)


class PauseWatch:
    """The role schedule's loop: ends what is over, puts pauses back after a loss of State, shows them in /metrics."""

    def __init__(
        self,
        pauses: Pauses,
        state: State,
        spread_s: Callable[[], float],
        *,
        clock: Clock,
        metrics: Metrics,
        log: Any,
    ) -> None:
        self._pauses = pauses
        self._state = state
        self._spread_s = spread_s
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._epoch = ""

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.once()
            except (StateError, StoreError) as error:
                self._log.info("pauses_wait", error=error)
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def once(self) -> None:
        """One look. Raises StateError, StoreError."""
        epoch = await self._state.epoch()
        if epoch != self._epoch:
            await self._pauses.restore()
        self._epoch = epoch
        released = await self._pauses.end_due(self._spread_s())
        if released:
            self._log.info("paused_messages_let_out", messages=released)
        running = await self._pauses.running()
        for scope in SCOPES:
            fitting = [held for row, held in running if row.gate.startswith(f"{scope}:")]
            self._metrics.pauses.labels(scope).set(len(fitting))
            self._metrics.paused_messages.labels(scope).set(sum(fitting))


def _suppression(row: PauseRow, now: int) -> Suppression:
    ttl_s = max(0.001, (row.until - now) / 1000) if row.until else 0.0
    return Suppression(row.gate, f"{row.gate}{WHY}{row.why}", ttl_s, hold=True)
