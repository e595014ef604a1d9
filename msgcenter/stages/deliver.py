"""deliver: slice by slice, admit each pass in State right before the bytes leave, hand it to the adapter, conclude right after.

Between `admit` and the adapter there is no gate: whatever must stop a message (cancel, opt-out, pause, revoked sender) is
asked inside admit. A claim without outcome (a worker died here) is Unknown, never sent again blindly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgcenter.adapter import Adapter, Dispatch, Unreachable
from msgcenter.bus import Lane
from msgcenter.bus.topology import lane_of
from msgcenter.clock import Clock
from msgcenter.lanes import LaneGate
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item
from msgcenter.state import Admit, Admitted, State
from protocols import wire
from protocols.envelope import Decision, Envelope
from protocols.outcome import Outcome, Suppressed, Unknown

SKEW_S = 2.0
"""How much longer a claim stands than a send may take: the far end's side of a cancelled call may still be under way."""


def gates(envelope: Envelope) -> tuple[str, ...]:
    """Suppression keys asked at admit, in the order in which their rule is named when several apply."""
    out = [f"message:{envelope.id}", f"person:{envelope.person}", f"category:{envelope.category}"]
    out.append(f"caller:{envelope.caller}")
    if envelope.account:
        out.append(f"account:{envelope.account}")
    if envelope.campaign:
        out.append(f"campaign:{envelope.campaign}")
    return tuple(out)


class Deliver:
    name = "deliver"

    def __init__(
        self,
        channel: str,
        adapter: Adapter,
        *,
        state: State,
        conclude: Callable[[Sequence[Item]], Awaitable[None]],
        gate: LaneGate,
        sender: Callable[[str], str],
        down: Callable[[str], None],
        delivered: Callable[[], None],
        owner: str,
        sole: bool,
        in_flight: set[tuple[str, int, int]],
        send_timeout_s: float,
        max_batch: int,
        clock: Clock,
        metrics: Metrics,
        log: Any,
    ) -> None:
        self._channel = channel
        self._adapter = adapter
        self._state = state
        self._conclude = conclude
        self._gate = gate
        self._sender = sender
        self._down = down
        self._delivered = delivered
        self._owner = owner
        self._sole = sole
        self._timeout = send_timeout_s
        self._max_batch = max_batch
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._in_flight = in_flight

    async def __call__(self, items: Sequence[Item]) -> None:
        slices = [items[i : i + self._max_batch] for i in range(0, len(items), self._max_batch)]
        if len(slices) == 1:
            await self._slice(slices[0])
            return
        results = await asyncio.gather(
            *(self._slice(part) for part in slices), return_exceptions=True
        )
        for (
            result
        ) in results:  # every slice has run its course before the first failure is passed on
            if isinstance(result, BaseException):
                raise result

    async def _slice(self, items: Sequence[Item]) -> None:
        lane: Lane = lane_of(items[0].envelope)
        async with self._gate.turn(lane, len(items)) as open_:
            if not open_:
                return  # the channel went down while waiting: given back
            admitted = await self._state.admit(
                [
                    Admit(
                        item.envelope.key("channel"),
                        gates(item.envelope),
                        self._owner,
                        self._timeout + SKEW_S,
                    )
                    for item in items
                ]
            )
            go = [i for i, answer in zip(items, admitted, strict=True) if answer.verdict == "go"]
            claimed = [_pass(item.envelope) for item in go]
            # In flight until the outcome is stored: a second copy of a message, in another worker's hands, must not take
            # its claim for an abandoned one.
            self._in_flight.update(claimed)
            try:
                for item, answer in zip(items, admitted, strict=True):
                    if answer.verdict != "go":
                        self._not_admitted(item, answer)
                if go:
                    await self._hand_over(go)
                await self._conclude(items)
            finally:
                self._in_flight.difference_update(claimed)

    def _not_admitted(self, item: Item, answer: Admitted) -> None:
        envelope = item.envelope
        if answer.verdict == "done":
            item.outcome = wire.open_outcome(answer.outcome)
            item.replayed = True
        elif answer.verdict == "suppressed":
            item.decide(
                Suppressed(answer.rule, "a suppression was set before it left"),
                Decision("admit", answer.rule, "suppressed", "checked right before the send"),
            )
        elif answer.verdict == "claimed" and not self._abandoned_here(envelope):
            item.retry_in = answer.remaining_s + 0.1
        else:
            item.decide(
                Unknown("a worker ended between claim and outcome; it may have been sent"),
                Decision("admit", "abandoned_claim", "unknown", "claimed by a worker that is gone"),
            )

    def _abandoned_here(self, envelope: Envelope) -> bool:
        """In the embedded set-up no other process exists: a claim that is not in flight here has nobody behind it."""
        return self._sole and _pass(envelope) not in self._in_flight

    async def _hand_over(self, items: Sequence[Item]) -> None:
        started = self._clock.monotonic()
        batch = [
            Dispatch(i.envelope, i.envelope.token(), self._sender(i.envelope.account))
            for i in items
        ]
        outcomes = await self._deliver(batch)
        if outcomes is None:
            await self._state.release([item.envelope.key("channel") for item in items])
            return
        self._delivered()
        self._metrics.send_duration_seconds.labels(self._channel).observe(
            self._clock.monotonic() - started
        )
        for item, outcome in zip(items, outcomes, strict=True):
            item.outcome = outcome

    async def _deliver(self, batch: Sequence[Dispatch]) -> Sequence[Outcome] | None:
        """The adapter's answer; None = nothing was handed over. Whatever else goes wrong, the batch may be out: Unknown."""
        try:
            async with asyncio.timeout(self._timeout):
                outcomes = await self._adapter.deliver(batch)
        except Unreachable as error:
            self._down(str(error) or "unreachable")
            return None
        except TimeoutError:
            return [Unknown(f"no answer within {self._timeout:.0f} s")] * len(batch)
        except Exception as error:  # noqa: BLE001 - whatever it was, bytes may be out
            self._log.exception("adapter_failed", batch=len(batch))
            return [Unknown(f"adapter failed: {type(error).__name__}: {error}")] * len(batch)
        if len(outcomes) != len(batch):
            self._log.error("adapter_miscounted", batch=len(batch), outcomes=len(outcomes))
            return [
                Unknown(f"adapter gave {len(outcomes)} outcomes for {len(batch)} messages")
            ] * len(batch)
        return outcomes


def _pass(envelope: Envelope) -> tuple[str, int, int]:
    return (envelope.id, envelope.step, envelope.attempt)


class Resolve:
    """resolve: before an unknown is sent again, ask: did a receipt come meanwhile, does the far end know the message?"""

    name = "resolve"

    def __init__(
        self,
        adapter: Adapter,
        state: State,
        sender: Callable[[str], str],
        timeout_s: float,
        log: Any,
    ) -> None:
        self._adapter = adapter
        self._state = state
        self._sender = sender
        self._timeout = timeout_s
        self._log = log

    async def __call__(self, items: Sequence[Item]) -> None:
        resends = [i for i in items if i.envelope.possibly_duplicate or i.envelope.token_of >= 0]
        if not resends:
            return
        snapshots = await self._state.get_many([item.envelope.id for item in resends])
        for item, snapshot in zip(resends, snapshots, strict=True):
            step = item.envelope.step
            parts = [
                p for (s, _), d in snapshot.deliveries.items() if s == step for p in d.values()
            ]
            good = [evidence for evidence, _, _ in parts if evidence in ("delivered", "read")]
            if good:
                item.decide(
                    Suppressed("receipt_came", f"the earlier try is {good[0]}"),
                    Decision(
                        self.name, "receipt", "suppressed", "a receipt came for the earlier try"
                    ),
                )
        ask = [i for i in resends if i.outcome is None and i.envelope.token_of >= 0]
        if not ask or not self._adapter.spec.resolves or self._adapter.spec.idempotent:
            return
        batch = [
            Dispatch(i.envelope, i.envelope.token(), self._sender(i.envelope.account)) for i in ask
        ]
        for item, outcome in zip(ask, await self._ask(batch), strict=True):
            if not isinstance(outcome, Unknown):
                item.decide(
                    outcome,
                    Decision(
                        self.name, "asked", type(outcome).__name__.lower(), "the far end knows"
                    ),
                )
            else:
                item.decide(
                    outcome,
                    Decision(self.name, "asked", "unknown", "the far end does not know either"),
                )

    async def _ask(self, batch: Sequence[Dispatch]) -> Sequence[Outcome]:
        """The far end's answers; a question that fails leaves the messages as unknown as they were."""
        try:
            async with asyncio.timeout(self._timeout):
                outcomes = await self._adapter.resolve(batch)
        except Unreachable as error:
            why = f"the far end could not be asked: {error}"
        except TimeoutError:
            why = f"no answer to the question within {self._timeout:.0f} s"
        except Exception as error:  # noqa: BLE001 - nothing was sent by asking, the messages stay unknown
            self._log.exception("resolve_failed", batch=len(batch))
            why = f"the question failed: {type(error).__name__}: {error}"
        else:
            if len(outcomes) == len(batch):
                return outcomes
            why = f"adapter gave {len(outcomes)} answers for {len(batch)} messages"
        return [Unknown(why)] * len(batch)
