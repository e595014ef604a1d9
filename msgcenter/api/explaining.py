"""`POST /v1/messages:explain` and `GET /v1/customers/{id}/allowance`: what the rules say now, by the code that decides; read-only."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from msgcenter.api.messages import WRITE_PROBLEMS, envelope_of
from msgcenter.api.models import MessageRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.strict import Invalid, read_model
from msgcenter.api.views import DecisionView, View
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.customers.lookup import CUSTOMER
from msgcenter.explain import Allowed, Explained
from msgcenter.policy.capped import Allowance
from msgcenter.policy.caps import Calendar, CapWindow, Gap
from protocols.envelope import Decision
from protocols.outcome import Held, Rejected, Retry, Routed, Suppressed, reason_of

CATEGORY = Param(
    "category", "only this one; none: every category that the caller may send", {"type": "string"}
)
KIND = Param(
    "channel", "only this kind; none: every kind that reaches the customer", {"type": "string"}
)


class StepView(View):
    """One step of the slip or of the plan. `verdict`: send, wait, refuse or retry; `code`: why it is not simply sent."""

    step: int
    channel: str = Field(description="the kind that it would go by")
    verdict: str
    code: str | None = None
    detail: str | None = None
    route: str | None = Field(None, description="the channel that would take it")
    next_at: str | None = Field(None, description="when it would be looked at again")
    person: str = Field(description="whom it counts for")
    decisions: list[DecisionView]


class ExplainedView(View):
    """What would become of the message now. Nothing was counted, kept or sent."""

    verdict: str = Field(description="of the first step that is not refused")
    steps: list[StepView]


class CapView(View):
    """One window of one cap."""

    rule: str
    scope: str
    source: str
    window: str = Field(examples=["rolling 24h", "calendar week", "gap 30m"])
    used: int
    open: int = Field(description="of these, not sent yet")
    limit: int
    left: int
    next_at: str | None = Field(None, description="when one more has room; none: no waiting helps")
    known: bool = Field(description="false: there may be sends that are not counted yet")


class AllowedView(View):
    category: str
    channel: str
    allowed: bool = Field(description="whether a message would leave now")
    code: str | None = None
    next_at: str | None = Field(None, description="when it would be looked at again")
    caps: list[CapView]
    decisions: list[DecisionView]


class AllowanceView(View):
    """When the customer may be written to next: by category and kind."""

    customer: str
    items: list[AllowedView]


async def explain(call: Call) -> web.Response:
    """The body of POST /v1/messages; the answer is what would become of it now."""
    call.query()
    raw = await call.body()
    try:
        request = read_model(MessageRequest, raw)
    except Invalid as invalid:
        raise refused(call.api.acceptor.also_wrong(invalid, call.terms)) from invalid
    envelope = await envelope_of(call, request)
    steps = [_step(one) for one in await call.api.deps.explain.message(envelope)]
    first = next((step for step in steps if step.verdict != "refuse"), steps[-1])
    return shown(ExplainedView(verdict=first.verdict, steps=steps))


async def allowance(call: Call) -> web.Response:
    """What every cap leaves, and when the next message may be sent."""
    given = call.query("category", "channel")
    deps, terms = call.api.deps, call.terms
    now = deps.clock.now_ms()
    who = await deps.customers.lookup.one(f"{CUSTOMER}{call.id}", now)
    if who is None:
        raise Problem("not_found", what="customer", id=call.id)
    if (category := given.get("category")) and category not in terms.granted:
        facts = {"granted": terms.granted}
        raise refused([Fault("category", "category_unknown", category, facts)])
    if (kind := given.get("channel")) and kind not in terms.kinds:
        raise refused([Fault("channel", "channel_unknown", kind, {"known": list(terms.kinds)})])
    rows = await deps.explain.allowance(
        who,
        [category] if category else terms.granted,
        [kind] if kind else terms.reach("customer"),
        terms.name,
    )
    return shown(AllowanceView(customer=who.id, items=[_allowed(row) for row in rows]))


def _step(one: Explained) -> StepView:
    verdict, code, detail, route, at = _said(one)
    return StepView(
        step=one.step,
        channel=one.kind,
        verdict=verdict,
        code=code,
        detail=detail,
        route=route,
        next_at=when(at),
        person=one.person,
        decisions=[_decision(decision) for decision in one.decisions],
    )


def _said(one: Explained) -> tuple[str, str | None, str | None, str | None, int]:
    """(verdict, code, detail, channel, next time) of an outcome."""
    match one.outcome:
        case Routed(to=to):
            return "send", None, None, to[0], 0
        case Held(until=until, detail=detail):
            return "wait", reason_of(one.outcome), detail or None, None, until
        case Retry(detail=detail):
            return "retry", reason_of(one.outcome), detail or None, None, 0
        case Suppressed(detail=detail) | Rejected(detail=detail):
            at = next((d.next_at for d in reversed(one.decisions) if d.next_at), 0)
            return "refuse", reason_of(one.outcome), detail or None, None, at
        case _:
            return "refuse", reason_of(one.outcome), None, None, 0


def _allowed(row: Allowed) -> AllowedView:
    verdict, code, _, _, at = _said(row.explained)
    return AllowedView(
        category=row.category,
        channel=row.explained.kind,
        allowed=verdict == "send",
        code=code,
        next_at=when(at),
        caps=[_cap(one) for one in row.rows],
        decisions=[_decision(decision) for decision in row.explained.decisions],
    )


def _cap(row: Allowance) -> CapView:
    return CapView(
        rule=row.rule.name,
        scope=row.rule.scope,
        source=row.rule.source,
        window=window_text(row.window),
        used=row.used,
        open=row.open,
        limit=row.limit,
        left=row.left,
        next_at=when(row.next_ms),
        known=row.known,
    )


def window_text(window: CapWindow) -> str:
    """`rolling 24h`, `calendar week`, `gap 30m`."""
    if isinstance(window, Calendar):
        return f"calendar {window.period}"
    return f"{'gap' if isinstance(window, Gap) else 'rolling'} {_span(window.seconds)}"


def _span(seconds: float) -> str:
    for unit, length, least in (("d", 86400, 2 * 86400), ("h", 3600, 3600), ("m", 60, 60)):
        if seconds >= least and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def _decision(decision: Decision) -> DecisionView:
    return DecisionView(
        stage=decision.stage,
        rule=decision.rule,
        verdict=decision.verdict,
        detail=decision.detail or None,
        next_at=when(decision.next_at),
        facts=dict(decision.facts) or None,
    )


ROUTES = (
    Route(
        "POST",
        "/v1/messages:explain",
        explain,
        "What would become of a message now, without sending it",
        "messages",
        {200: ExplainedView},
        scope="send",
        body=MessageRequest,
        problems=WRITE_PROBLEMS,
    ),
    Route(
        "GET",
        "/v1/customers/{id}/allowance",
        allowance,
        "When a customer may be written to next, and what every cap leaves",
        "customers",
        {200: AllowanceView},
        scope="read:customers",
        params=(CATEGORY, KIND),
        problems=("not_found", "validation_failed", "state_unavailable", "store_unavailable"),
    ),
)
