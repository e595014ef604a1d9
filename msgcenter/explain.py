"""Explain: what would become of a message now, and when a customer may be written to next: the stages of the submit pipeline with
the real directory and the real counters, and nothing is taken, counted or sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from msgcenter.clock import Clock
from msgcenter.customers import Person
from msgcenter.lookup import GroupLookup
from msgcenter.pipeline import Item, Stage
from msgcenter.policy.capped import Allowance, allowance
from msgcenter.rulebook import People, Rulebook
from msgcenter.stages.expire import Expire
from msgcenter.stages.fill import Fill
from msgcenter.stages.policy import Policy
from msgcenter.stages.reserve import Reserve
from msgcenter.stages.resolve import Recipients
from msgcenter.stages.route import FactsFor, Named, Route, Routes
from msgcenter.stages.wait_until import WaitUntil
from msgcenter.state import Listing, Snapshot, State
from msgcenter.state.units import Denied, Reserved
from msgcenter.state.units import Reserve as Wanted
from protocols.address import Address
from protocols.envelope import Decision, Envelope
from protocols.outcome import Outcome, Rejected, Routed
from protocols.payload import Plan, Text


@dataclass(frozen=True, slots=True)
class Explained:
    """One step as it would be decided now. `kind`: the channel kind that it asks for; `person`: under whom it counts."""

    step: int
    kind: str
    person: str
    outcome: Outcome
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one category may do by one kind. `explained`: a message sent now; `rows`: every cap that it falls under."""

    category: str
    explained: Explained
    rows: tuple[Allowance, ...]


class _Peeking:
    """Stands for State where the stages reserve: looks, and takes nothing."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def reserve(self, items: Sequence[Wanted]) -> list[Reserved]:
        usages = iter(await self._state.peek([take for item in items for take in item.takes]))
        out: list[Reserved] = []
        for item in items:
            denied = [
                Denied(number, at, use)
                for number, take in enumerate(item.takes)
                for at, use in enumerate(next(usages).uses)
                if use.why and not take.counted_only
            ]
            out.append(Reserved("" if denied else item.id, tuple(denied)))
        return out

    async def listed(self, names: Sequence[str]) -> list[dict[str, str]]:
        return await self._state.listed(names)

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]:
        return await self._state.get_many(messages)

    async def enlist(self, items: Sequence[Listing]) -> None:
        """Nobody waits for a message that is only asked about."""


class Explain:
    """One per process. Every method raises StateError, StoreError."""

    def __init__(
        self,
        state: State,
        people: People,
        book: Callable[[], Rulebook],
        clock: Clock,
        routes: Routes,
        named: Named,
        groups: GroupLookup,
        facts: FactsFor,
        fill: Fill,
        rebuilding: Callable[[], bool],
    ) -> None:
        self._state = state
        self._book = book
        self._clock = clock
        policy = Policy(book, clock)
        self._stages: tuple[Stage, ...] = (
            Expire(clock),
            WaitUntil(clock),
            fill,
            Recipients(people, book, clock),
            policy,
            Reserve(_Peeking(state), policy, book, clock, rebuilding),
            Route(routes, named, groups, facts),
        )

    async def message(self, envelope: Envelope) -> list[Explained]:
        """What would become of it: of a plan each step as if it were the first; of a slip the steps up to the first that is not
        refused at once."""
        if isinstance(envelope.payload, Plan):
            return [await self._one(leaf) for leaf in _leaves(envelope)]
        out: list[Explained] = []
        for step in range(len(envelope.channels)):
            out.append(await self._one(replace(envelope, step=step)))
            said = out[-1].outcome
            if not isinstance(said, Rejected) or said.scope == "message":
                break
        return out

    async def allowance(
        self, who: Person, categories: Sequence[str], kinds: Sequence[str], caller: str
    ) -> list[Allowed]:
        """For each category and kind, whether a message could go now, and what every cap leaves."""
        now = self._clock.now_ms()
        book = self._book()
        out: list[Allowed] = []
        for category in categories:
            row = book.category(category)
            if row is None:
                continue
            for kind in kinds:
                to = book.address(who, kind, now)
                if to is None:
                    continue
                # Its content is nobody's: none of the content rules looks at an empty text.
                envelope = Envelope(
                    id="msg_explain",
                    caller=caller,
                    to=Address("customer", who.id) if who.id else to,
                    category=category,
                    tier=row.rank,
                    payload=Text(""),
                    created_at=now,
                    person=who.key,
                    account=book.account_for(kind),
                    channels=(kind,),
                )
                explained = await self._one(envelope)
                asked = book.counters(replace(envelope, to=to), who, now)
                usages = await self._state.peek(asked.takes) if asked.takes else []
                out.append(Allowed(category, explained, tuple(allowance(asked, usages))))
        return out

    async def _one(self, envelope: Envelope) -> Explained:
        item = Item(envelope)
        for stage in self._stages:
            if not item.undecided:
                break
            await stage([item])
        kind = item.envelope.channels[item.envelope.step]
        said = item.outcome or Routed(("nowhere",))
        return Explained(
            item.envelope.step, kind, item.envelope.person, said, tuple(item.decisions)
        )


def _leaves(whole: Envelope) -> list[Envelope]:
    assert isinstance(whole.payload, Plan)
    return [
        replace(
            whole,
            payload=leaf.payload,
            to=leaf.to or whole.to,
            account=leaf.account,
            step=number,
            order_key="",
            leaf="first",
        )
        for number, leaf in enumerate(whole.payload.leaves, 1)
    ]
