"""`GET /v1/callers/me`: who the key belongs to, what it may do, what is left of its quota, and what became of its last hour."""

from __future__ import annotations

from collections import OrderedDict

from aiohttp import web
from pydantic import Field

from msgcenter.api.views import View
from msgcenter.api.web import Call, Route, shown, when
from msgcenter.callers import Tally, tally

HOUR_MS = 3_600_000
BELIEVED_S = 10.0
"""How long a count is shown again, so that polling costs nothing."""
MOST_CALLERS = 1000


class LimitView(View):
    """One limit: `quota` messages in `window` seconds; more is left after `reset` seconds. `remaining` counts what other API
    processes have set aside as used."""

    name: str = Field(examples=["burst", "hour", "day"])
    quota: int
    window: int = Field(description="seconds")
    remaining: int
    reset: int = Field(description="seconds")


class RuleCountView(View):
    """How often one rule, or the far end, kept messages from leaving."""

    what: str = Field(examples=["held", "dropped"])
    code: str
    count: int


class HourView(View):
    """What became of the messages created in the last hour. `held`: wait for a rule; `dropped`: suppressed, expired or rejected;
    the rest is on its way or was cancelled."""

    since: str
    total: int
    sent: int
    held: int
    dropped: int
    share: float = Field(description="part that is held or dropped")
    rules: list[RuleCountView]


class CallerView(View):
    """The caller as callers.yaml has it, and the key used."""

    name: str
    name_zh: str
    key: str = Field(description="id of the key, not the key")
    scopes: list[str] = Field(description="what this key may do")
    categories: list[str] = Field(description="what it may send")
    callback: bool = Field(description="events go to a callback")
    limits: list[LimitView]
    last_hour: HourView


class Hours:
    """The last hour of each caller, counted anew after BELIEVED_S."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, int, Tally]] = OrderedDict()

    async def of(self, call: Call) -> tuple[int, Tally]:
        """(since, counts). Raises StoreError."""
        clock = call.api.deps.clock
        now = clock.monotonic()
        known = self._known.get(call.caller)
        if known is not None and now - known[0] < BELIEVED_S:
            return known[1], known[2]
        since = clock.now_ms() - HOUR_MS
        found = tally(await call.api.deps.store.fates(call.caller, since, since + HOUR_MS + 60_000))
        self._known[call.caller] = (now, since, found)
        self._known.move_to_end(call.caller)
        while len(self._known) > MOST_CALLERS:
            self._known.popitem(last=False)
        return since, found


async def me(call: Call) -> web.Response:
    """The caller behind the key: its limits, what is left of them, and what became of its messages of the last hour."""
    call.query()
    terms = call.terms
    standings = await call.api.quotas.look(call.caller, terms.caller)
    since, found = await call.api.hours.of(call)
    view = CallerView(
        name=call.caller,
        name_zh=terms.caller.name_zh,
        key=call.identity.keyid,
        scopes=[scope for scope in terms.caller.scopes if call.has(scope)],
        categories=list(terms.granted) if call.has("send") else [],
        callback=terms.caller.callback is not None,
        limits=[
            LimitView(
                name=one.name,
                quota=one.quota,
                window=one.window_s,
                remaining=one.remaining,
                reset=one.reset_s,
            )
            for one in standings
        ],
        last_hour=HourView(
            since=when(since) or "",
            total=found.total,
            sent=found.sent,
            held=found.held,
            dropped=found.dropped,
            share=round(found.share, 4),
            rules=[
                RuleCountView(what=what, code=code, count=count)
                for what, code, count in found.rules
            ],
        ),
    )
    return shown(view)


ROUTES = (
    Route(
        "GET",
        "/v1/callers/me",
        me,
        "Who am I, what may I send, what is left",
        "callers",
        {200: CallerView},
        scope="",
        problems=("validation_failed", "state_unavailable"),
    ),
)
