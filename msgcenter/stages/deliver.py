"""deliver: slice by slice, admit each pass in State right before the bytes leave, hand it to the adapter, conclude right after.

Between `admit` and the adapter there is no gate: whatever must stop a message (cancel, opt-out, pause, revoked sender) is
asked inside admit. A claim without outcome (a worker died here) is Unknown, never sent again blindly.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgcenter.adapter import Adapter, Dispatch, Unreachable
from msgcenter.bus import Lane
from msgcenter.bus.topology import lane_of
from msgcenter.clock import Clock
from msgcenter.customers.counts import LINKED, moved
from msgcenter.customers.wishes import gates_for
from msgcenter.groups import is_command
from msgcenter.holds import Holds
from msgcenter.lanes import LaneGate
from msgcenter.metrics import Metrics
from msgcenter.pauses import ASK_AGAIN_S, PAUSED, WHY, channel_gates, hold_until
from msgcenter.pipeline import Item
from msgcenter.settle import RESTORED
from msgcenter.stages.account import hold
from msgcenter.stages.expire import Expire
from msgcenter.stages.lost import STATE_LOST
from msgcenter.stages.policy import Hours
from msgcenter.state import Admit, Admitted, State, StateError
from msgcenter.state.cells import step_gate
from msgcenter.subscriptions import gates_of
from protocols import wire
from protocols.envelope import Decision, Envelope
from protocols.outcome import Held, Outcome, Suppressed, Unknown
from protocols.payload import Pull, Recall, Template

RELEASE_WAITS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
SKEW_S = 2.0
"""How much longer a claim stands than a send may take: the far end's side of a cancelled call may still be under way."""
MAY_HAVE_LEFT = "it waited in a backup that was restored; it may have left since"
UNRESERVED = "unreserved"
"""Why a message is decided anew right before it would have left: it holds no share of a cap any more."""


KNOWN_MS = 1000
"""After so long every process has heard that two customers are one."""
FORGET = 20_000


def gates(envelope: Envelope, number: str = "", *, refusable: bool = False) -> tuple[str, ...]:
    """Suppression keys asked at admit, in the order in which their rule is named when several apply. `number`: what it is sent
    from, if known. `refusable`: customers may refuse messages of its category. What reads a far end or takes a message back
    goes on while its channel is paused."""
    out = [f"message:{envelope.id}", f"person:{envelope.person}", f"category:{envelope.category}"]
    out.append(f"caller:{envelope.caller}")
    if envelope.leaf:
        out.append(step_gate(envelope.id, envelope.step))
    if envelope.reservation:
        out.append(moved(envelope.person))
    if envelope.account:
        out.append(f"account:{envelope.account}")
    if envelope.campaign:
        out.append(f"campaign:{envelope.campaign}")
    payload = envelope.payload
    if template := payload.name if isinstance(payload, Template) else envelope.template:
        out.append(f"template:{template}")
    if refusable:
        kind = envelope.channels[envelope.step] if envelope.step < len(envelope.channels) else ""
        out += gates_for(envelope.person, envelope.category, kind, number)
    out += gates_of(envelope)
    if not isinstance(payload, Pull | Recall):
        out += channel_gates(envelope)
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
        hours: Hours | None,
        holds: Holds,
        sender: Callable[[str], str],
        refusable: Callable[[str], bool],
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
        self._hours = hours
        self._expire = Expire(clock)
        self._holds = holds
        self._sender = sender
        self._refusable = refusable
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
        self._told: OrderedDict[str, None] = OrderedDict()
        """Messages of conversations whose pause is on their trace already."""

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
            if self._hours is not None:
                self._hours.again(items)  # the wait may have led into quiet time
            await self._expire([item for item in items if item.undecided])  # or past its expiry
            # An account may have failed while this slice waited its turn.
            undecided = (item for item in items if item.outcome is None)
            items = [item for item in undecided if not hold(item, self._holds.remaining)]
            if not items:
                return
            admitted = await self._state.admit(
                [
                    Admit(
                        item.envelope.key("channel"),
                        self._gates(item.envelope),
                        self._owner,
                        self._timeout + SKEW_S,
                        item.envelope.reservation,
                        item.again,
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
                # After admit, so that what is suppressed is not taken for the try of an account.
                trying = [item for item in go if not hold(item, self._holds.probe)]
                if trying:
                    await self._hand_over(trying)
                await self._conclude(items)
            finally:
                self._in_flight.difference_update(claimed)

    def _gates(self, envelope: Envelope) -> tuple[str, ...]:
        if not self._refusable(envelope.category):
            return gates(envelope)
        return gates(envelope, self._sender(envelope.account), refusable=True)

    def _not_admitted(self, item: Item, answer: Admitted) -> None:
        envelope = item.envelope
        if answer.verdict == "done":
            item.outcome = wire.open_outcome(answer.outcome)
            item.replayed = True
        elif answer.verdict == "suppressed":
            why = (
                MAY_HAVE_LEFT if answer.rule == RESTORED else "a suppression was set before it left"
            )
            item.decide(
                Suppressed(answer.rule, why),
                Decision("admit", answer.rule, "suppressed", "checked right before the send"),
            )
        elif answer.verdict == "forgotten":
            item.decide(
                Unknown("State lost its memory while this was in hand; it may have been sent"),
                Decision("admit", STATE_LOST, "unknown", "handed out before, and no trace of it"),
            )
        elif answer.verdict == "held" and answer.rule == LINKED:
            item.decide(
                Held(self._clock.now_ms() + KNOWN_MS, UNRESERVED, "decided anew"),
                Decision("admit", LINKED, "held", "the person was linked; counted together now"),
            )
        elif answer.verdict == "held":
            self._paused(item, answer)
        elif answer.verdict == "unreserved":
            item.decide(
                Held(self._clock.now_ms(), UNRESERVED, "decided anew"),
                Decision(
                    "admit", UNRESERVED, "held", "its share of a cap is over, or State was lost"
                ),
            )
        elif answer.verdict == "claimed" and not self._abandoned_here(envelope):
            item.retry_in = answer.remaining_s + 0.1
        else:
            item.decide(
                Unknown("a worker ended between claim and outcome; it may have been sent"),
                Decision("admit", "abandoned_claim", "unknown", "claimed by a worker that is gone"),
            )

    def _paused(self, item: Item, answer: Admitted) -> None:
        """Held until the pause ends. A conversation waits where it is, in order: it is told once, then asked again quietly."""
        envelope, now = item.envelope, self._clock.now_ms()
        gate, _, why = answer.rule.partition(WHY)
        until = now + round(answer.remaining_s * 1000) if answer.remaining_s else 0
        if envelope.order_key:
            if envelope.id in self._told:
                item.retry_in = min(answer.remaining_s or ASK_AGAIN_S, ASK_AGAIN_S)
                return
            self._told[envelope.id] = None
            while len(self._told) > FORGET:
                self._told.popitem(last=False)
        facts = (("pause", gate), *((("why", why),) if why else ()))
        item.decide(
            Held(hold_until(envelope, until, now), PAUSED, gate),
            Decision("admit", PAUSED, "held", f"{gate} is paused", until, facts),
        )

    def _abandoned_here(self, envelope: Envelope) -> bool:
        """In the embedded set-up no other process exists: a claim that is not in flight here has nobody behind it."""
        return self._sole and _pass(envelope) not in self._in_flight

    async def _hand_over(self, items: Sequence[Item]) -> None:
        started = self._clock.monotonic()
        batch = [dispatch_of(item, self._sender) for item in items]
        outcomes = await self._deliver(batch)
        if outcomes is None:
            await self._release([item.envelope for item in items])
            return
        self._delivered()
        self._metrics.send_duration_seconds.labels(self._channel).observe(
            self._clock.monotonic() - started
        )
        for item, outcome in zip(items, outcomes, strict=True):
            item.outcome = outcome
        self._holds.learn(
            (item.envelope.account, outcome)
            for item, outcome in zip(items, outcomes, strict=True)
            if item.envelope.account
        )

    async def _release(self, envelopes: Sequence[Envelope]) -> None:
        """Nothing of these left: say so even if State is away for a while, or they would count as Unknown later."""
        keys = [envelope.key("channel") for envelope in envelopes]
        tickets = [envelope.reservation for envelope in envelopes]
        for wait in RELEASE_WAITS_S:
            try:
                await self._state.release(keys, tickets)
            except StateError:
                await self._clock.sleep(wait)
            else:
                return
        await self._state.release(keys, tickets)

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


def dispatch_of(item: Item, sender: Callable[[str], str]) -> Dispatch:
    """What the adapter is handed. `sender`: account -> its name at the far end."""
    envelope = item.spoken
    return Dispatch(envelope, envelope.token(), sender(envelope.account), item.target)


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
        batch = [dispatch_of(item, self._sender) for item in ask]
        for item, outcome in zip(ask, await self._ask(batch), strict=True):
            if isinstance(outcome, Unknown) and is_command(item.envelope.payload):
                continue  # a repeat of a group command finds the first: it may be handed over again
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
        except Exception as error:  # noqa: BLE001 - nothing was sent by items, the messages stay unknown
            self._log.exception("resolve_failed", batch=len(batch))
            why = f"the question failed: {type(error).__name__}: {error}"
        else:
            if len(outcomes) == len(batch):
                return outcomes
            why = f"adapter gave {len(outcomes)} answers for {len(batch)} messages"
        return [Unknown(why)] * len(batch)
