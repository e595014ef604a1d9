"""Pipeline: a plain list of stages run over a micro-batch; a stage sees only the items that are still undecided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from protocols.envelope import Decision, Envelope, Record
from protocols.outcome import Outcome


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
    target: str = ""
    """What the recipient is called at the far end, where that differs from its address (a group's chat id)."""
    done: bool = False
    """Nothing to do: this process has already settled this very pass."""

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
        self.replayed = self.done = False
        self.retry_in = 0.0
        self.target = ""

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
) -> None:
    """Run the stages in order, each over what is still undecided; `observe(stage, seconds)` is told how long each took."""
    for stage in stages:
        undecided = [item for item in items if item.undecided]
        if not undecided:
            return
        started = monotonic()
        await stage(undecided)
        if observe is not None:
            observe(stage.name, monotonic() - started)
