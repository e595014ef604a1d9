"""reserve: frequency caps, the last question before a message is routed: one State call takes the units of a whole micro-batch
(rules that merge need three more, see `merge`).

What is taken stands open until `admit` spends it; whatever ends the message before that gives it back (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgcenter.clock import Clock
from msgcenter.pipeline import Item
from msgcenter.policy.capped import Capped, judge
from msgcenter.policy.caps import Asked, CapRule, Downgrade, Drop, Hold, Merge
from msgcenter.recount import REBUILDING
from msgcenter.rulebook import KNOWS_FROM, Rulebook
from msgcenter.stages.merge import Lists, Merging
from msgcenter.stages.policy import Policy, go_by
from msgcenter.state.units import Reserve as Wanted
from msgcenter.state.units import Reserved
from protocols.envelope import Decision
from protocols.outcome import Held, Suppressed

LOOK_AGAIN_MS = 60_000
"""So long waits at most what waits for past sends to be counted; the end of the count hastens it."""
ROUNDS = 4


class Reserving(Lists, Protocol):
    """The part of State that is needed here; a dry run has one that only looks."""

    async def reserve(self, items: Sequence[Wanted]) -> list[Reserved]: ...


class Reserve:
    """`rebuilding`: whether the counts of past sends are being put together again."""

    name = "reserve"

    def __init__(
        self,
        state: Reserving,
        policy: Policy,
        book: Callable[[], Rulebook],
        clock: Clock,
        rebuilding: Callable[[], bool],
    ) -> None:
        self._state = state
        self._policy = policy
        self._book = book
        self._clock = clock
        self._rebuilding = rebuilding

    async def __call__(self, items: Sequence[Item]) -> None:
        book, now = self._book(), self._clock.now_ms()
        rest = [item for item in items if book.binds(item.envelope)]
        for _ in range(ROUNDS):
            rest = await self._round(rest, book, now)
            if not rest:
                return
        for item in rest:
            item.decide(Suppressed("capped", "one kind leads to another"))

    async def _round(self, items: Sequence[Item], book: Rulebook, now: int) -> list[Item]:
        """Those that go by another kind now: they are asked once more."""
        pairs: list[tuple[Item, Asked]] = []
        for item in items:
            asked = book.counters(item.envelope, item.who, now)
            if asked.takes:
                pairs.append((item, asked))
            elif item.envelope.reservation:
                item.amend(reservation="")
        merging = Merging(self._state, now)
        await merging.load(pairs)
        for item, _ in pairs:
            if rule := merging.settle(item):
                self._policy.count(rule, item.decisions[-1].verdict)
        pairs = [(item, asked) for item, asked in pairs if item.undecided]
        again = await self._ask(pairs, merging, book, now) if pairs else []
        await merging.write()
        await self._policy.review(again, book, now)
        return [item for item in again if item.outcome is None]

    async def _ask(
        self, pairs: Sequence[tuple[Item, Asked]], merging: Merging, book: Rulebook, now: int
    ) -> list[Item]:
        """Those that go by another kind now."""
        answers = await self._state.reserve(
            [
                Wanted(item.envelope.id, item.envelope.step, item.envelope.attempt, asked.takes)
                for item, asked in pairs
            ]
        )
        again: list[Item] = []
        for (item, asked), answer in zip(pairs, answers, strict=True):
            if answer.ok:
                self._taken(item, asked, answer.ticket)
                merging.stands(item)
                continue
            capped = judge(asked, answer.denied, now)
            if self._capped(item, capped, book, now):
                again.append(item)
            elif isinstance(capped.action, Merge) and isinstance(item.outcome, Held):
                merging.waits(item.envelope, item.outcome.until)
        return again

    def _taken(self, item: Item, asked: Asked, ticket: str) -> None:
        item.amend(reservation=ticket)
        names = sorted({rule.name for origins in asked.origins for rule, _ in origins})
        counted = all(take.counted_only for take in asked.takes)
        word = "counted" if counted else "pass"
        facts = [("rules", " ".join(names))]
        if item.envelope.once_key:
            facts.append(("once", item.envelope.once_key))
        item.decisions.append(Decision(self.name, "caps", word, "", 0, tuple(facts)))
        if item.envelope.tier < KNOWS_FROM and self._rebuilding():
            item.decisions.append(
                Decision(self.name, REBUILDING, "pass", "past sends are not all known yet")
            )

    def _capped(self, item: Item, capped: Capped, book: Rulebook, now: int) -> bool:
        """Decide a denied one. True: it goes by another kind, and is to be asked again."""
        action, rule = self._action(item, capped, now), capped.rule
        verdict = type(action).__name__.lower()
        told = Decision(self.name, rule.name, verdict, _shape(rule), capped.next_ms, _facts(capped))
        self._policy.count(rule.name, verdict)
        detail = f"{capped.used} of {capped.limit}"
        since = item.envelope.held_since or now
        if isinstance(action, Downgrade):
            if item.envelope.channels[item.envelope.step] != action.channel and go_by(
                item, action.channel, book, now
            ):
                item.decisions.append(told)
                self._policy.rule(item, book, now)
                return item.outcome is None
            item.decide(Suppressed(rule.name, f"{detail}; {action.channel} is no way out"), told)
        elif isinstance(action, Drop):
            item.decide(Suppressed(rule.name, detail), told)
        elif all(one.history for one in capped.full):
            until = min(capped.next_ms or now + LOOK_AGAIN_MS, now + LOOK_AGAIN_MS)
            told = Decision(self.name, REBUILDING, "hold", rule.name, until, _facts(capped))
            item.decide(Held(until, REBUILDING, rule.name, since), told)
        else:
            item.decide(Held(capped.next_ms, rule.name, detail, since), told)
        return False

    def _action(self, item: Item, capped: Capped, now: int) -> object:
        """What follows, for a message that may have been held before: no wait adds up to more than its rule allows, none
        goes past its expiry."""
        if isinstance(capped.action, Drop | Downgrade):
            return capped.action
        until = capped.next_ms
        if all(one.history for one in capped.full):
            return capped.action
        since = item.envelope.held_since or now
        expires = item.envelope.expires_at
        if not until or (expires and until >= expires):
            return Drop()
        if isinstance(capped.action, Hold) and until - since > capped.action.max_wait_s * 1000:
            return Drop()
        return capped.action


def _shape(rule: CapRule) -> str:
    return f"{rule.scope}{' (platform)' if rule.source == 'platform' else ''}"


def _facts(capped: Capped) -> tuple[tuple[str, str], ...]:
    """Every window without room, the strictest first."""
    return tuple((one.rule.name, f"{one.used} of {one.limit}") for one in capped.full)
