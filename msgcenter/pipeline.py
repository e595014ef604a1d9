"""Pipeline: a plain list of stages run over a micro-batch; a stage sees only the items that are still undecided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgcenter.customers import Person
from msgcenter.plans import PlanCell
from msgcenter.policy.decide import Ruling
from protocols.envelope import Decision, Envelope, Record
from protocols.outcome import Amended, Outcome
from protocols.payload import Payload


@dataclass(slots=True)
class Item:
    """One envelope on its way through one pipeline.

    `outcome` None at the end means: given back, nothing happened (far end away, another worker holds the claim).
    """

    envelope: Envelope
    outcome: Outcome | None = None
    decisions: list[Decision] = field(default_factory=list)
    replayed: bool = False
    """The outcome is a stored one, from an earlier run of the same pass."""
    record: Record | None = None
    """Made by conclude; published by settle."""
    retry_in: float = 0.0
    """When given back: not before this many seconds (a running claim)."""
    said: Payload | None = None
    """What a template says here and now; the envelope keeps the template, as a later pass may say it in a newer version."""
    target: str = ""
    """What the recipient is called at the far end, where that differs from its address (a group's chat id)."""
    plan: PlanCell | None = None
    """The plan that this pass belongs to, as State has it, in `plan_version`."""
    plan_version: int = 0
    of_plan: bool = False
    """What the outcome speaks of is a step of a plan."""
    evidence: str = ""
    """Of a step of a plan: the best that State knows of it after this outcome."""
    answered: tuple[str, ...] = ()
    """Inbound: the plans that wait for an answer of this person."""
    again: bool = False
    """This very frame was in a worker's hands before."""
    number: str = ""
    """Inbound: what was written to, with all its digits."""
    behind: int = 0
    """How many of its conversation wait behind it, as far as the worker has looked."""
    done: bool = False
    """Nothing to do: this process has already settled this very pass."""
    original: Envelope | None = None
    """As it came, once the rules have changed it: what is held or tried again begins from there, under the rules of then."""
    who: Person | None = None
    """The person who is meant, as the directory has it; None = it was not asked."""
    doubt: Ruling | None = None
    """Its content is to be looked at by somebody, if nobody has yet."""
    judged: Envelope | None = None
    """As the rules were asked about it, before they changed anything; None = they were not asked."""
    judged_at: int = 0
    asked_at: int = 0
    """When the rules were last asked right before the send, epoch milliseconds; 0 = they say nothing of it."""

    def amend(self, **changes: Any) -> None:
        """Change the envelope by the rules; settle puts what differs into the outcome."""
        if self.original is None:
            self.original = self.envelope
        self.envelope = self.envelope.changed(**changes)

    def amended(self) -> Amended | None:
        """What the rules have changed, None = nothing."""
        before, after = self.original, self.envelope
        if before is None or before == after:
            return None
        other_way = after.channels != before.channels
        return Amended(
            to=after.to if after.to != before.to else None,
            person=after.person if after.person != before.person else "",
            payload=after.payload if after.payload != before.payload else None,
            channels=after.channels if other_way else (),
            account=after.account if other_way else "",
            reservation=after.reservation,
        )

    def decide(self, outcome: Outcome, decision: Decision | None = None) -> None:
        self.outcome = outcome
        if decision is not None:
            self.decisions.append(decision)

    def renew(self, envelope: Envelope) -> None:
        """Begin the message's next pass in place."""
        self.envelope = envelope
        self.outcome = None
        self.record = None
        self.decisions = []
        self.replayed = self.done = self.again = False
        self.retry_in = 0.0
        self.said = None
        self.target = ""
        self.plan = None
        self.plan_version = 0
        self.of_plan = False
        self.evidence = ""
        self.answered = ()
        self.number = ""
        self.original = None
        self.who = None
        self.doubt = None
        self.asked_at = self.judged_at = 0
        self.judged = None

    @property
    def payload(self) -> Payload:
        """What is said, a template's words put in."""
        return self.envelope.payload if self.said is None else self.said

    @property
    def spoken(self) -> Envelope:
        """The envelope with what is said."""
        return self.envelope if self.said is None else self.envelope.saying(self.said)

    @property
    def undecided(self) -> bool:
        return self.outcome is None and not self.done


class Stage(Protocol):
    """One step. May set `outcome`, add decisions, replace the envelope; raises only when the whole batch must come again
    (StateError, StoreError, BusError) or when it meets something it cannot bear (then the worker finds the culprit)."""

    @property
    def name(self) -> str: ...

    async def __call__(self, items: Sequence[Item]) -> None: ...


Observe = Callable[[str, float], None]


async def run(
    stages: Sequence[Stage],
    items: Sequence[Item],
    *,
    monotonic: Callable[[], float],
    observe: Observe | None = None,
    between: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run the stages in order, each over what is still undecided; `observe(stage, seconds)` is told how long each took;
    `between` is awaited before each, by whom others may overtake."""
    for stage in stages:
        undecided = [item for item in items if item.undecided]
        if not undecided:
            return
        if between is not None:
            await between()
        started = monotonic()
        await stage(undecided)
        if observe is not None:
            observe(stage.name, monotonic() - started)
