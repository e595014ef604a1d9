"""Reviews: a content rule says `hold`, and somebody with another key than the sender's looks at the text before it goes on.

The message is held until the review is decided or its time is over (the category's `max_hold` from when any rule first held it,
never past its expiry); deciding it wakes the message, and its next pass asks here again. An approval is for this content of this
step alone, and for good: whatever else holds the message, it is not asked for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from msgcenter.archive.content import content_of
from msgcenter.clock import Clock
from msgcenter.policy.quiet import Conduct
from msgcenter.store import ReviewRow
from protocols import wire
from protocols.envelope import Decision, Envelope, hashed
from protocols.outcome import Held, Suppressed

WAITS, REJECTED, EXPIRED, NEVER_HELD = (
    "content_review",
    "review_rejected",
    "review_expired",
    "content_not_reviewed",
)


REVIEW_S = 86400.0
"""How long a text waits whose category is not held for anything else, but may be (P2)."""


class ReviewStore(Protocol):
    async def ask_reviews(self, rows: Sequence[ReviewRow]) -> dict[str, ReviewRow]: ...


@dataclass(frozen=True, slots=True)
class Doubt:
    """A message whose content a rule holds. `decision`: what the content check said; `hold_s`: how long it may be held in all,
    0 = not at all."""

    envelope: Envelope
    decision: Decision
    hold_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome` None: approved, it goes on. `decision` says by whom, or until when it waits."""

    outcome: Held | Suppressed | None
    decision: Decision


def hold_for(conduct: Conduct) -> float:
    """How long messages of a category may be held for a review; 0 = P0 and P1, which nothing holds."""
    return 0.0 if conduct.rank <= 1 else conduct.max_hold or REVIEW_S


def review_id(envelope: Envelope) -> str:
    """Of this content of this step: an edit is another review."""
    return f"rev_{hashed('review', envelope.id, envelope.step, wire.seal_payload(envelope.payload).hex())}"


class Reviews:
    """What the policy stage asks: one call for all doubts of a micro-batch."""

    def __init__(self, store: ReviewStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def judge(self, doubts: Sequence[Doubt]) -> list[Verdict]:
        """One each, in order; those not asked before are put into the queue. Raises StoreError."""
        now = self._clock.now_ms()
        rows = [_row(doubt, now) for doubt in doubts]
        asked = [row for row, doubt in zip(rows, doubts, strict=True) if doubt.hold_s]
        kept = await self._store.ask_reviews(asked)
        return [_verdict(kept.get(row.id), row, now) for row in rows]


def unasked(doubts: Sequence[Doubt], now: int) -> list[Verdict]:
    """What `judge` would say of doubts that nobody has decided, for a dry run."""
    rows = [_row(doubt, now) for doubt in doubts]
    return [
        _verdict(row if doubt.hold_s else None, row, now)
        for row, doubt in zip(rows, doubts, strict=True)
    ]


def _row(doubt: Doubt, now: int) -> ReviewRow:
    envelope = doubt.envelope
    until = (envelope.held_since or now) + round(doubt.hold_s * 1000)
    if envelope.expires_at and doubt.hold_s:
        until = min(until, envelope.expires_at)
    return ReviewRow(
        id=review_id(envelope),
        message=envelope.id,
        step=envelope.step,
        caller=envelope.caller,
        key=envelope.keyid,
        category=envelope.category,
        rule=doubt.decision.rule,
        found=[list(fact) for fact in doubt.decision.facts],
        content=content_of(envelope, "full"),
        at=now,
        until=until,
        campaign=envelope.campaign,
        reference=envelope.reference,
    )


def _verdict(row: ReviewRow | None, asked: ReviewRow, now: int) -> Verdict:
    facts = (("review", asked.id), ("rule", asked.rule))
    if row is None:
        detail = f"messages of category {asked.category} are never held, so nobody could look at it"
        told = Decision("review", asked.rule, "suppressed", detail, 0, facts)
        return Verdict(Suppressed(NEVER_HELD, detail), told)
    if row.state == "approved":
        return Verdict(None, Decision("review", row.rule, "approved", row.reason, 0, facts))
    if row.state == "rejected":
        told = Decision("review", row.rule, "rejected", row.reason, 0, facts)
        return Verdict(Suppressed(REJECTED, row.reason), told)
    if now >= row.until:
        detail = "nobody decided in time"
        return Verdict(
            Suppressed(EXPIRED, detail),
            Decision("review", row.rule, "suppressed", detail, 0, facts),
        )
    detail = f"waits for review {row.id}"
    return Verdict(
        Held(row.until, WAITS, detail),
        Decision("review", row.rule, "held", detail, row.until, facts),
    )
