"""`/v1/reviews`: content that a rule holds until somebody has looked at it: list, read, approve, reject.

The queue is the whole tenant's: scope `review` sees and decides what any caller sent, except what was sent with the same key.
"""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from msgcenter.api.body import Body
from msgcenter.api.history import CURSOR, LIMIT
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import View
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.store import ReviewRow, ReviewState

STATES = ("waiting", "approved", "rejected", "expired")
HOLD_LAG_S = 2.0
"""How long a message may take from the question to its place among those that wait."""


class HitView(View):
    """What a content rule found."""

    rule: str
    what: str = Field(
        description="the word, the sort of personal data or the host, and where it stands"
    )


class ReviewView(View):
    """One content that waits, or waited, for a decision."""

    id: str
    state: str = Field(description="waiting, approved, rejected or expired")
    message: str
    step: int = Field(description="of the routing slip or plan")
    caller: str
    category: str
    campaign: str | None = None
    reference: str | None = None
    rule: str = Field(description="the strictest content rule that held it")
    found: list[HitView]
    content: dict[str, Any]
    at: str
    until: str = Field(description="when nobody has decided by then, it is not sent")
    decided_by: str | None = None
    decided_at: str | None = None
    reason: str | None = None


class ReviewsView(View):
    """Oldest first."""

    items: list[ReviewView]
    next_cursor: str | None = None


class ApproveBody(Body):
    """Why; may be left out."""

    reason: Annotated[str, Field(max_length=200)] = Field("", description="for the audit log")


class RejectBody(Body):
    """Why it is not sent; the sender is told."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]


async def many(call: Call) -> web.Response:
    """What waits for a decision, or with `state` what was decided."""
    given = call.query("state", "caller", "rule", "cursor")
    state = given.get("state", "waiting")
    if state not in (*STATES, "all"):
        expected = f"one of {', '.join(STATES)}, all"
        raise refused([Fault("state", "out_of_range", state, {"expected": expected})])
    now = call.api.deps.clock.now_ms()
    page = await call.api.deps.store.list_reviews(
        state="" if state == "all" else state,
        caller=given.get("caller", ""),
        rule=given.get("rule", ""),
        now_ms=now,
        cursor=given.get("cursor", ""),
        limit=call.limit(),
    )
    items = [_view(row, now) for row in page.items]
    return shown(ReviewsView(items=items, next_cursor=page.next_cursor or None))


async def one(call: Call) -> web.Response:
    """One, with the whole content and every hit."""
    call.query()
    row = await call.api.deps.store.review(call.id)
    if row is None:
        raise Problem("not_found", what="review", id=call.id)
    return shown(_view(row, call.api.deps.clock.now_ms()))


async def approve(call: Call) -> web.Response:
    """Let the message go on, by the other rules. Not with the key that sent it. Idempotent."""
    call.query()
    body = await call.model(ApproveBody)
    return await _decide(call, "approved", body.reason)


async def reject(call: Call) -> web.Response:
    """The message ends as suppressed, code `review_rejected`, with the reason. Idempotent."""
    call.query()
    body = await call.model(RejectBody)
    return await _decide(call, "rejected", body.reason)


async def _decide(call: Call, state: ReviewState, reason: str) -> web.Response:
    deps = call.api.deps

    async def work(_: str) -> tuple[int, bytes]:
        row = await deps.store.review(call.id)
        if row is None:
            raise Problem("not_found", what="review", id=call.id)
        by, sender = _who(call), f"{row.caller}/{row.key}"
        # A message whose key is not known was sent with any of its caller's.
        if state == "approved" and (by == sender or (not row.key and call.caller == row.caller)):
            raise Problem("review_same_key", id=call.id)
        now = deps.clock.now_ms()
        decided = await deps.store.decide_review(call.id, state, by, reason, now)
        assert decided is not None
        shown_state = _state(decided, now)
        if shown_state != state:
            raise Problem("review_decided", id=call.id, state=shown_state)
        if decided.decided_at == now and decided.by == by:
            detail = {"message": row.message, "rule": row.rule, "reason": reason}
            await deps.store.audit(by, f"review.{state}", row.id, detail, now)
        await _wake(call, row.message)
        return 200, _view(decided, now).model_dump_json(exclude_none=True).encode()

    return await call.once(f"{state} {reason}".encode(), work)


async def _wake(call: Call, message: str) -> None:
    """The held message learns of it at once. One that is just being held is not among those that wait yet; one that is never
    found there was cancelled, or is on its way again: its next pass asks."""
    deps = call.api.deps
    deadline = deps.clock.monotonic() + HOLD_LAG_S
    while not await deps.store.retime_due([message], deps.clock.now_ms()):
        if deps.clock.monotonic() >= deadline:
            return
        await deps.clock.sleep(0.05)


def _who(call: Call) -> str:
    return f"{call.caller}/{call.identity.keyid}"


def _state(row: ReviewRow, now: int) -> str:
    return "expired" if row.state == "waiting" and row.until <= now else row.state


def _view(row: ReviewRow, now: int) -> ReviewView:
    return ReviewView(
        id=row.id,
        state=_state(row, now),
        message=row.message,
        step=row.step,
        caller=row.caller,
        category=row.category,
        campaign=row.campaign or None,
        reference=row.reference or None,
        rule=row.rule,
        found=[HitView(rule=rule, what=what) for rule, what in row.found],
        content=row.content,
        at=when(row.at) or "",
        until=when(row.until) or "",
        decided_by=row.by or None,
        decided_at=when(row.decided_at),
        reason=row.reason or None,
    )


_TEXT = {"type": "string"}
_PROBLEMS = ("not_found", "store_unavailable", "state_unavailable")

ROUTES = (
    Route(
        "GET",
        "/v1/reviews",
        many,
        "Content that waits for a decision",
        "reviews",
        {200: ReviewsView},
        scope="review",
        params=(
            Param(
                "state",
                "default: waiting",
                {"type": "string", "enum": [*STATES, "all"]},
            ),
            Param("caller", "whose messages", _TEXT),
            Param("rule", "which content rule held it", _TEXT),
            LIMIT,
            CURSOR,
        ),
        problems=("validation_failed", "store_unavailable"),
    ),
    Route(
        "GET",
        "/v1/reviews/{id}",
        one,
        "One review",
        "reviews",
        {200: ReviewView},
        scope="review",
        problems=_PROBLEMS,
    ),
    Route(
        "POST",
        "/v1/reviews/{id}:approve",
        approve,
        "Let held content go on",
        "reviews",
        {200: ReviewView},
        scope="review",
        body=ApproveBody,
        body_optional=True,
        writes=True,
        problems=(*_PROBLEMS, "validation_failed", "review_same_key", "review_decided"),
    ),
    Route(
        "POST",
        "/v1/reviews/{id}:reject",
        reject,
        "Do not send held content",
        "reviews",
        {200: ReviewView},
        scope="review",
        body=RejectBody,
        writes=True,
        problems=(*_PROBLEMS, "validation_failed", "review_decided"),
    ),
)
