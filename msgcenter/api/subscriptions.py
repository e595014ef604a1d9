"""`/v1/subscriptions`: where a caller wants its events: make, change, pause, resume, replay, end; each has its own place in the event log.

A subscription outlives the key that made it, hence a scope of its own. A caller sees its own ones; `admin` sees all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import Field

from msgcenter.api.body import Body
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import View
from msgcenter.api.web import Call, Route, shown, when
from msgcenter.archive.event_schemas import MODELS
from msgcenter.store import BadCursor, SubscriptionRow
from msgcenter.store.cursors import decode_positions
from msgcenter.subscriptions import MOST_OF_CALLER, OVERLAP_MS, Wish

_Url = Annotated[str, Field(min_length=1, max_length=2000)]
_Types = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=50)]
_Text = Annotated[str, Field(max_length=200)]
_From = Annotated[str, Field(min_length=1, max_length=65_536)]
_TYPES = "exact ones of `GET /v1/schemas`, or beginnings: `msgcenter.message.*`; none: all"


class SubscriptionView(View):
    """A place for events. Delivered as Standard Webhooks: verify the signature, answer 2xx, know a repeat by its `webhook-id`."""

    id: str
    caller: str
    url: str
    types: list[str] = Field(description="none: all")
    everyone: bool = Field(description="of all callers")
    description: str | None = None
    state: str = Field(description="active or paused")
    cursor: str = Field(description="of the event log: what is before it has been handed over")
    caught_up: bool = Field(description="nothing after the cursor is for it")
    handed_over_at: str | None = Field(None, description="when events were last handed over")
    created_at: str
    updated_at: str
    secret: str | None = Field(
        None, description="the signing key, `whsec_…`; shown when it is made, never again"
    )
    old_secret_until: str | None = Field(
        None, description="after a rotation: so long the key before it signs too"
    )


class SubscriptionsView(View):
    """Oldest first."""

    items: list[SubscriptionView]


class EndedView(View):
    """A subscription is no more."""

    id: str
    ended: bool = Field(description="by this call; false: there was none")


class SubscriptionRequest(Body):
    """Where events shall go, and which."""

    url: _Url = Field(description="answers 2xx within 20 s; redirects are not followed")
    types: _Types = Field(default_factory=list, description=_TYPES)
    everyone: bool = Field(False, description="events of all callers; needs read:all")
    description: _Text = ""
    start: _From = Field(
        "now",
        alias="from",
        description="`now`, `earliest`, an RFC 3339 time, or a cursor of `GET /v1/events`",
    )


class SubscriptionChange(Body):
    """What shall be otherwise; what is left out stays."""

    url: _Url | None = None
    types: _Types | None = Field(None, description=_TYPES)
    description: _Text | None = None


class SubscriptionPause(Body):
    """Why; may be left out."""

    why: Annotated[str, Field(max_length=200)] = ""


class SubscriptionReplay(Body):
    """From where everything comes again."""

    start: _From = Field(
        alias="from",
        description="`earliest`, `now`, an RFC 3339 time, or a cursor of the event log",
    )


async def create(call: Call) -> web.Response:
    """The answer holds the signing key, this once; a repeat with the same Idempotency-Key does not show it again."""
    call.query()
    body = await call.model(SubscriptionRequest)
    if body.everyone and not call.sees_all:
        facts = {"known": [scope for scope in call.terms.caller.scopes if call.has(scope)]}
        raise refused([Fault("everyone", "scope_not_held", True, facts)])
    _check(call, body.url, body.types)
    start = await _start(call, body.start)
    wish = Wish(body.url, tuple(body.types), body.everyone, body.description)

    async def work(name: str) -> tuple[int, bytes]:
        made = await call.api.subscriptions.begin(name, call.caller, wish, start, _who(call))
        if made is None:
            raise refused([Fault("url", "too_many", body.url, {"limit": MOST_OF_CALLER})])
        return 201, _json(await _view(call, *made))

    canonical = body.model_dump_json(by_alias=True).encode()
    return await call.once(canonical, work, prefix="sub", stored=_without_secret)


async def many(call: Call) -> web.Response:
    """Those of the caller; with scope admin all."""
    call.query()
    caller = "" if call.has("admin") else call.caller
    rows = await call.api.deps.store.list_subscriptions(caller)
    return shown(SubscriptionsView(items=[await _view(call, row) for row in rows]))


async def one(call: Call) -> web.Response:
    """How it stands."""
    call.query()
    return shown(await _view(call, await _own(call)))


async def change(call: Call) -> web.Response:
    """Another place or other types, for what is on its way too (a type that is no longer wanted may still come for a moment)."""
    call.query()
    body = await call.model(SubscriptionChange)
    row = await _own(call)
    wish = Wish(
        row.url if body.url is None else body.url,
        tuple(row.types if body.types is None else body.types),
        row.everyone,
        row.description if body.description is None else body.description,
    )
    _check(call, wish.url if body.url is not None else None, wish.types)

    async def work(_: str) -> tuple[int, bytes]:
        changed = await call.api.subscriptions.change(call.id, wish, _who(call))
        return 200, _json(await _view(call, _there(call, changed)))

    return await call.once(body.model_dump_json(exclude_unset=True).encode(), work)


async def end(call: Call) -> web.Response:
    """Ends it; what is on its way is not sent. Idempotent."""
    call.query()
    if await call.api.deps.store.subscription(call.id) is not None:
        await _own(call)

    async def work(_: str) -> tuple[int, bytes]:
        ended = await call.api.subscriptions.end(call.id, _who(call))
        return 200, EndedView(id=call.id, ended=ended).model_dump_json().encode()

    return await call.once(b"", work)


async def pause(call: Call) -> web.Response:
    """Nothing leaves for it after the answer, in any process; it waits, in order. Idempotent."""
    call.query()
    body = await call.model(SubscriptionPause)
    await _own(call)

    async def work(_: str) -> tuple[int, bytes]:
        row = await call.api.subscriptions.pause(call.id, _who(call), body.why)
        return 200, _json(await _view(call, _there(call, row)))

    return await call.once(body.model_dump_json().encode(), work)


async def resume(call: Call) -> web.Response:
    """It goes on where it stopped. Idempotent."""
    call.query()
    await _own(call)

    async def work(_: str) -> tuple[int, bytes]:
        row = await call.api.subscriptions.resume(call.id, _who(call))
        return 200, _json(await _view(call, _there(call, row)))

    return await call.once(b"", work)


async def replay(call: Call) -> web.Response:
    """Everything from there on once more, in order, with the `webhook-id`s it had; what waits from before comes with it."""
    call.query()
    body = await call.model(SubscriptionReplay)
    await _own(call)
    start = await _start(call, body.start)

    async def work(_: str) -> tuple[int, bytes]:
        row = await call.api.subscriptions.replay(call.id, start, _who(call))
        return 200, _json(await _view(call, _there(call, row)))

    return await call.once(body.model_dump_json(by_alias=True).encode(), work)


async def rotate(call: Call) -> web.Response:
    """A new signing key, shown this once. For 24 hours every event is signed with both."""
    call.query()
    await _own(call)

    async def work(_: str) -> tuple[int, bytes]:
        made = await call.api.subscriptions.rotate(call.id, _who(call))
        if made is None:
            raise Problem("not_found", what="subscription", id=call.id)
        return 200, _json(await _view(call, *made))

    return await call.once(b"", work, stored=_without_secret)


# -- pieces -------------------------------------------------------------------------------------


def _who(call: Call) -> str:
    return f"{call.caller}/{call.identity.keyid}"


async def _own(call: Call) -> SubscriptionRow:
    """Raises Problem not_found, also for another caller's."""
    row = await call.api.deps.store.subscription(call.id)
    if row is not None and row.caller != call.caller and not call.has("admin"):
        row = None
    return _there(call, row)


def _there(call: Call, row: SubscriptionRow | None) -> SubscriptionRow:
    if row is None:
        raise Problem("not_found", what="subscription", id=call.id)
    return row


def _check(call: Call, url: str | None, types: list[str] | tuple[str, ...]) -> None:
    """Raises Problem with every fault."""
    faults = [
        Fault(f"types[{number}]", "not_one_of", kind, {"known": ", ".join(MODELS)})
        for number, kind in enumerate(types)
        if not any(
            known.startswith(kind[:-1]) if kind.endswith(".*") else known == kind
            for known in MODELS
        )
    ]
    if url is not None:
        why = call.api.deps.refuses_url(url)
        if why is None:
            raise Problem("no_event_channel")
        if why:
            faults.append(Fault("url", "invalid", url, {"why": why}))
    if faults:
        raise refused(faults)


async def _start(call: Call, start: str) -> dict[int, int]:
    """The positions that `from` means. Raises Problem."""
    store = call.api.deps.store
    if start == "earliest":
        return {}
    if start == "now":
        return await store.event_heads()
    try:
        at = datetime.fromisoformat(start)
    except ValueError:
        try:
            return decode_positions(start)
        except BadCursor as error:
            raise refused([Fault("from", "cursor_invalid", start)]) from error
    if at.tzinfo is None:
        raise refused([Fault("from", "time_invalid", start)])
    return await store.event_positions(max(0, round(at.timestamp() * 1000)))


async def _view(call: Call, row: SubscriptionRow, secret: str | None = None) -> SubscriptionView:
    caller = None if row.everyone else row.caller
    rest = await call.api.deps.store.read_events(caller, decode_positions(row.cursor), 1)
    both_until = row.rotated_at + OVERLAP_MS if row.rotated_at else 0
    young = both_until > call.api.deps.clock.now_ms()
    return SubscriptionView(
        id=row.id,
        caller=row.caller,
        url=row.url,
        types=row.types,
        everyone=row.everyone,
        description=row.description or None,
        state=row.state,
        cursor=row.cursor,
        caught_up=not rest.items,
        handed_over_at=when(row.handed_at),
        created_at=when(row.created_at) or "",
        updated_at=when(row.updated_at) or "",
        secret=secret,
        old_secret_until=when(both_until) if young else None,
    )


def _json(view: SubscriptionView) -> bytes:
    return view.model_dump_json(exclude_none=True).encode()


def _without_secret(body: bytes) -> bytes:
    view = SubscriptionView.model_validate_json(body)
    return _json(view.model_copy(update={"secret": None}))


_AWAY = ("state_unavailable", "store_unavailable")
_BODY = ("validation_failed", "json_invalid", "content_type")


def _route(verb: str, handler: object, summary: str, body: type[Body] | None = None) -> Route:
    """A change of one subscription by a verb."""
    return Route(
        "POST",
        f"/v1/subscriptions/{{id}}:{verb}",
        handler,  # type: ignore[arg-type]
        summary,
        "events",
        {200: SubscriptionView},
        scope="subscribe",
        body=body,
        body_optional=body is SubscriptionPause,
        writes=True,
        problems=("not_found", *(_BODY if body else ("validation_failed",)), *_AWAY),
    )


ROUTES = (
    Route(
        "POST",
        "/v1/subscriptions",
        create,
        "Have events delivered to a place",
        "events",
        {201: SubscriptionView},
        scope="subscribe",
        body=SubscriptionRequest,
        writes=True,
        problems=("no_event_channel", *_BODY, *_AWAY),
    ),
    Route(
        "GET",
        "/v1/subscriptions",
        many,
        "Where events are delivered",
        "events",
        {200: SubscriptionsView},
        scope="subscribe",
        problems=("validation_failed", "store_unavailable"),
    ),
    Route(
        "GET",
        "/v1/subscriptions/{id}",
        one,
        "How a subscription stands",
        "events",
        {200: SubscriptionView},
        scope="subscribe",
        problems=("not_found", "validation_failed", "store_unavailable"),
    ),
    Route(
        "PATCH",
        "/v1/subscriptions/{id}",
        change,
        "Change a subscription",
        "events",
        {200: SubscriptionView},
        scope="subscribe",
        body=SubscriptionChange,
        writes=True,
        problems=("not_found", "no_event_channel", *_BODY, *_AWAY),
    ),
    Route(
        "DELETE",
        "/v1/subscriptions/{id}",
        end,
        "End a subscription",
        "events",
        {200: EndedView},
        scope="subscribe",
        writes=True,
        problems=("not_found", "validation_failed", *_AWAY),
    ),
    _route("pause", pause, "Deliver nothing for a while", SubscriptionPause),
    _route("resume", resume, "Deliver again, from where it stopped"),
    _route("replay", replay, "Deliver again from a point of the event log", SubscriptionReplay),
    _route("rotate-secret", rotate, "A new signing key, the old one signs on for a day"),
)
