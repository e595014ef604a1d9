"""Plans as envelopes: what State keeps of one, the leaves that are sent, the news that comes back, the waits.

One message is one plan. Its first pass carries the plan itself (step 0), each leaf runs as step n of the same message, and each
piece of news is a small envelope of its own whose id follows from its cause. News goes to submit under the message's id as
order_key: so a plan has one evaluator at a time, and hears things in order.

`channels` of such a message is (`plan`, kind of leaf 1, kind of leaf 2, …): `step` points into it as it does for a routing slip,
so that routes, metrics and rules read a leaf as they read any message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgpack

from msgcenter.bus.topology import lane_of
from msgcenter.policy.plan import (
    VIEWS,
    Action,
    Close,
    Progress,
    Start,
    Stop,
    Timer,
    outlook,
    words,
)
from msgcenter.state import Listing
from msgcenter.status import PLAN, PLAN_CODE, PLAN_OPEN
from msgcenter.store import DueRow
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.errors import Malformed
from protocols.payload import Advance, NewsKind, Plan

CATEGORY, TIER = "plan", 1
"""Of news: no row of policy.yaml, and before everything that is not urgent."""
STOPPED = "plan_stopped"
"""Why a leaf that the plan called back did not leave."""
GONE = "plan_gone"
NOTED = "noted"
NOBODY = "nobody"
REPLIED = "replied"
"""The word of a signal: the person wrote, on whatever channel."""
KEPT_S = 3 * 86400.0
"""How much longer than the plan itself its progress is kept."""


@dataclass(frozen=True, slots=True)
class PlanCell:
    """A plan as State keeps it. `whole`: its first envelope, with the Plan as payload."""

    whole: Envelope
    progress: Progress

    @property
    def plan(self) -> Plan:
        assert isinstance(self.whole.payload, Plan)
        return self.whole.payload

    def pack(self) -> bytes:
        data: bytes = msgpack.packb([wire.seal(self.whole), self.progress.pack()])
        return data

    @classmethod
    def unpack(cls, data: bytes) -> PlanCell:
        sealed, progress = msgpack.unpackb(data)
        whole = wire.open_sealed(sealed)
        if not isinstance(whole, Envelope) or not isinstance(whole.payload, Plan):
            raise Malformed("a plan's cell holds no plan")
        return cls(whole, Progress.unpack(progress))

    def view(self) -> str:
        """The message's view: open, or how the plan ended."""
        result = self.progress.result
        return f"{VIEWS[result]}:{PLAN_CODE}{result}" if result else PLAN_OPEN


def kinds_of(plan: Plan) -> tuple[str, ...]:
    """`Envelope.channels` of a plan's message."""
    return (PLAN, *(leaf.kind for leaf in plan.leaves))


def leaf_envelope(cell: PlanCell, number: int) -> Envelope:
    """The message of leaf `number`, as it was started: the same whenever it is asked for."""
    whole, leaf, state = cell.whole, cell.plan.leaves[number - 1], cell.progress.leaf(number)
    return replace(
        whole,
        payload=leaf.payload,
        to=leaf.to or whole.to,
        account=leaf.account,
        step=number,
        attempt=0,
        tries=0,
        token_of=-1,
        order_key="",
        # The budget of its retries counts from its own start.
        not_before=state.started_at,
        leaf="first" if state.fresh else "further",
    )


def news(
    plan: str,
    kind: NewsKind,
    *cause: object,
    caller: str,
    at: int,
    leaf: int = 0,
    word: str = "",
    code: str = "",
    person: str = "",
    not_before: int = 0,
    trace: str = "",
) -> Envelope:
    """News for the plan of message `plan`. `cause`: what makes this piece of news the same when it is made again."""
    return Envelope(
        id=f"adv_{hashed(plan, kind, leaf, *cause)}",
        caller=caller,
        to=Address("caller", caller or NOBODY),
        category=CATEGORY,
        tier=TIER,
        payload=Advance(plan, kind, leaf, word, code, at),
        created_at=at,
        person=person,
        order_key=plan,
        not_before=not_before,
        trace=trace,
    )


def timer_row(cell: PlanCell, timer: Timer) -> DueRow:
    """The end of a wait as a due row: it can be listed, and moved; one that comes early is held again."""
    whole = cell.whole
    envelope = news(
        whole.id,
        "timer",
        timer.at,
        leaf=timer.leaf,
        caller=whole.caller,
        at=timer.at,
        person=whole.person,
        not_before=timer.at,
        trace=whole.trace,
    )
    return DueRow(
        id=envelope.key("due").derived(),
        at_ms=timer.at,
        body=wire.seal(envelope),
        message=whole.id,
        caller=whole.caller,
        rule="plan_wait" if timer.leaf else "plan_end",
        lane=lane_of(envelope),
        person=whole.person,
    )


# -- what a pass decided, as the words of its outcome -------------------------------------------------------------------


def told(cell: PlanCell, actions: Sequence[Action]) -> tuple[str, ...]:
    """The actions as `Routed.to`: what an operator reads, and a replay acts upon."""
    out = []
    for action in actions:
        match action:
            case Start(leaf):
                out.append(f"start {leaf}")
            case Stop(leaf):
                out.append(f"stop {leaf}")
            case Timer(leaf, at):
                out.append(f"wait {leaf} {at}")
            case Close(result):
                out.append(f"close {result} {outlook(cell.plan, cell.progress)}")
    return tuple(out) or (NOTED,)


@dataclass(frozen=True, slots=True)
class Told:
    """`Routed.to` of a plan's pass, read."""

    starts: tuple[int, ...] = ()
    waits: tuple[Timer, ...] = ()
    result: str = ""
    status: str = ""
    """Of the message, when the plan is closed."""

    @classmethod
    def read(cls, to: Sequence[str]) -> Told:
        split = [text.split(" ") for text in to]
        closes = [parts for parts in split if parts[0] == "close"]
        return cls(
            tuple(int(parts[1]) for parts in split if parts[0] == "start"),
            tuple(Timer(int(parts[1]), int(parts[2])) for parts in split if parts[0] == "wait"),
            closes[0][1] if closes else "",
            closes[0][2] if closes else "",
        )


# -- under which names a plan is found ----------------------------------------------------------------------------------


def reference_name(caller: str, reference: str) -> str:
    return f"reference:{caller}/{reference}"


def message_name(message: str) -> str:
    return f"message:{message}"


def heard_name(message: str) -> str:
    """The list of the signals that a plan has not evaluated yet, or has: whoever starts a step looks there first."""
    return f"heard:{message}"


def listings(whole: Envelope, ttl_s: float) -> list[Listing]:
    """Where signals and replies find this plan; `ttl_s` 0 takes it off. None when it waits for none."""
    assert isinstance(whole.payload, Plan)
    note = " ".join(sorted(words(whole.payload)))
    if not note:
        return []
    names = {str(whole.to), whole.person, message_name(whole.id)}
    names |= {str(leaf.to) for leaf in whole.payload.leaves if leaf.to is not None}
    if whole.reference:
        names.add(reference_name(whole.caller, whole.reference))
    return [Listing(name, whole.id, note, ttl_s) for name in sorted(names - {""})]
