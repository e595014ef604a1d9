"""policy: all that is decided without counting: block list, consent, content, quiet time; and by which kind it goes instead.

`Policy` in the submit pipeline decides for good. `Hours` in the channel pipeline asks once more right before the send; whoever may
not go any more is decided anew in submit, so that one place says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from msgcenter.clock import Clock
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item
from msgcenter.policy.decide import Ruling
from msgcenter.reviews import Doubt, Reviews, hold_for, unasked
from msgcenter.rulebook import PERSONAL, People, Rulebook, said, saying
from msgcenter.stages.resolve import who_are
from protocols.envelope import Decision
from protocols.outcome import Held, Suppressed

MINUTE_MS = 60_000
ROUNDS = 4
"""Kinds tried one instead of another in one decision."""


class Policy:
    name = "policy"

    def __init__(
        self,
        book: Callable[[], Rulebook],
        clock: Clock,
        metrics: Metrics | None = None,
        reviews: Reviews | None = None,
    ) -> None:
        """`metrics`, `reviews`: None for a dry run, which counts nowhere and asks nobody."""
        self._book = book
        self._reviews = reviews
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StoreError, when a text is to be looked at."""
        book, now = self._book(), self._clock.now_ms()
        for item in items:
            if book.binds(item.envelope):
                item.judged, item.judged_at = item.envelope, now
                self.rule(item, book, now)
        await self.review(items, book, now)

    async def review(self, items: Sequence[Item], book: Rulebook, now: int) -> None:
        """What somebody has looked at is ruled on once more, the rest waits."""
        doubted = [(item, item.doubt) for item in items if item.doubt is not None]
        if not doubted:
            return
        doubts = [
            Doubt(
                item.spoken,
                doubt.decisions[-1],
                hold_for(book.config.rules.conduct(item.envelope.category)),
            )
            for item, doubt in doubted
        ]
        reviews = self._reviews
        verdicts = unasked(doubts, now) if reviews is None else await reviews.judge(doubts)
        for (item, doubt), verdict in zip(doubted, verdicts, strict=True):
            item.doubt = None
            if verdict.outcome is None:
                item.decisions.append(verdict.decision)
                self.rule(item, book, now, approved=True)
                continue
            item.decisions += doubt.decisions
            outcome = verdict.outcome
            if isinstance(outcome, Held):
                outcome = replace(outcome, since=item.envelope.held_since or now)
            item.decide(outcome, verdict.decision)

    def rule(self, item: Item, book: Rulebook, now: int, *, approved: bool = False) -> None:
        """Decide one; leaves it undecided when it may go, by the kind that its slip then names, and when its text is to be looked
        at (`review`). `approved`: it was."""
        tried = {item.envelope.channels[item.envelope.step]}
        for _ in range(ROUNDS):
            ruling = book.ruling(item.spoken, item.who, now, approved=approved)
            if ruling.outcome == "review":
                item.doubt = ruling
                self.count(ruling.rule, ruling.outcome)
                return
            item.decisions += ruling.decisions
            if ruling.rule:
                self.count(ruling.rule, ruling.outcome)
            if ruling.outcome != "downgrade":
                self._act(item, ruling, now)
                return
            if ruling.to in tried or not go_by(item, ruling.to, book, now):
                item.decide(Suppressed(ruling.code, f"{ruling.rule}; {ruling.to} is no way out"))
                return
            tried.add(ruling.to)
        item.decide(Suppressed("quiet_hours", "one kind leads to another"))

    def count(self, rule: str, action: str) -> None:
        if self._metrics is not None:
            self._metrics.policy_decisions_total.labels(rule, action).inc()

    def _act(self, item: Item, ruling: Ruling, now: int) -> None:
        envelope = item.envelope
        since = envelope.held_since or now
        if ruling.outcome == "send":
            if ruling.text and ruling.text != said(item.payload):
                item.amend(payload=saying(item.payload, ruling.text))
                item.said = None  # a template's words, masked, are no template any more
        elif ruling.outcome == "wait":
            item.decide(Held(ruling.until, ruling.code, ruling.rule, since))
        else:
            item.decide(Suppressed(ruling.code, ruling.rule))


def go_by(item: Item, kind: str, book: Rulebook, now: int) -> bool:
    """Let this step go by another kind, with an address and an account for it; False: the recipient is not reached by it."""
    envelope = item.envelope
    to = envelope.to
    if to.scheme not in book.reach(kind):
        found = book.address(item.who, kind, now) if item.who is not None else None
        if found is None:
            return False
        to = found
    slip = list(envelope.channels)
    slip[envelope.step] = kind
    given = envelope.recipient if to != envelope.to else envelope.given
    item.amend(channels=tuple(slip), to=to, given=given, account=book.account_for(kind))
    return True


class Hours:
    """hours: consent, block list and quiet time right before the send. `again` is for a message that then waited for its turn:
    windows begin at full minutes, so it is asked again in another minute only."""

    name = "hours"

    def __init__(self, people: People, book: Callable[[], Rulebook], clock: Clock) -> None:
        self._people = people
        self._book = book
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        book, now = self._book(), self._clock.now_ms()
        timed = [item for item in items if book.binds(item.envelope) and book.timed(item.envelope)]
        asked = [item for item in timed if item.envelope.recipient.scheme in PERSONAL]
        if asked:
            found = await who_are(self._people, asked, book, now)
            for item in asked:
                item.who = found.get(str(item.envelope.recipient))
        for item in timed:
            if item.outcome is None:
                self._ask(item, book, now)

    def again(self, items: Sequence[Item]) -> None:
        """The same without asking the directory."""
        now = self._clock.now_ms()
        book = None
        for item in items:
            if item.asked_at and item.asked_at // MINUTE_MS != now // MINUTE_MS:
                book = book or self._book()
                self._ask(item, book, now)

    def _ask(self, item: Item, book: Rulebook, now: int) -> None:
        item.asked_at = now
        ruling = book.ruling(item.envelope, item.who, now, content=False)
        if ruling.outcome == "send":
            return
        last = ruling.decisions[-1]
        item.decide(
            Held(now, ruling.code, ruling.rule, item.envelope.held_since or now),
            Decision(self.name, ruling.rule, "held", "decided anew", last.next_at, last.facts),
        )
