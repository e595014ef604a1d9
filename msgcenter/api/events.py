"""`GET /v1/events` (pull) and `/v1/events/stream` (server-sent): the caller's events in order, to be read on from a cursor; no
event is ever skipped."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.history import LIMIT
from msgcenter.api.problems import Problem
from msgcenter.api.stream import FIRST_S, GROWTH, LAST_S, Pulse, Sse
from msgcenter.api.views import (
    EventsView,
    EventView,
)
from msgcenter.api.waits import MOST_S
from msgcenter.api.web import Call, Param, Route, shown
from msgcenter.archive.events_sink import cloud_event
from msgcenter.store import EventPage, Logged, StoreError
from msgcenter.store.cursors import decode_positions, encode_positions

_TEXT = {"type": "string"}


async def read(call: Call) -> web.Response:
    """Events after the cursor; with `wait`, as soon as there is one."""
    given = call.query("cursor", "from", "wait", "limit")
    deps = call.api.deps
    cursor = given.get("cursor", "")
    begin = given.get("from", "") or "earliest"
    positions = decode_positions(cursor) if cursor else await _begin(call, begin)
    caller = None if call.sees_all else call.caller
    limit, wait = call.limit(), call.seconds("wait", MOST_S)
    deadline = deps.clock.monotonic() + wait
    pause = FIRST_S
    page = await deps.store.read_events(caller, positions, limit)
    _complete(page)
    while not page.items and deps.clock.monotonic() < deadline and not deps.draining():
        await deps.clock.sleep(min(pause, max(0.0, deadline - deps.clock.monotonic())))
        pause = min(pause * GROWTH, LAST_S)
        page = await deps.store.read_events(caller, page.cursor, limit)
    items = [_event(logged) for logged in page.items]
    return shown(EventsView(items=items, cursor=encode_positions(page.cursor)))


async def stream(call: Call) -> web.StreamResponse:
    """Events as they come, each with the cursor behind it as its id: with `Last-Event-ID` (or `cursor`) a reader goes on where it
    was. `from` says where one without a cursor begins."""
    given = call.query("cursor", "from")
    deps = call.api.deps
    cursor = call.request.headers.get("Last-Event-ID", "") or given.get("cursor", "")
    positions = decode_positions(cursor) if cursor else await _begin(call, given.get("from", ""))
    caller = None if call.sees_all else call.caller
    _complete(await deps.store.read_events(caller, positions, 1))
    async with call.api.streams.one(call.caller):
        sse, pulse = Sse(), Pulse(call)
        await sse.open(call.request)
        try:
            while True:
                page = await deps.store.read_events(caller, positions, 100)
                for logged in page.items:
                    positions[logged.partition] = logged.position
                    event = _event(logged)
                    data = event.model_dump_json(exclude_none=True).encode()
                    await sse.send(encode_positions(positions), event.type, data)
                positions = dict(page.cursor)
                if page.items:
                    pulse.busy()
                    continue
                if pulse.beat_due:
                    await sse.beat()
                    pulse.busy()
                if not await pulse.rest():
                    break
        except (ConnectionError, StoreError) as error:
            # The reader is gone, or comes again with its cursor when the Store is back.
            deps.log.debug("stream over", why=type(error).__name__)
        return sse.response


def _complete(page: EventPage) -> None:
    """Raises Problem `cursor_expired` when some behind the cursor are gone: nobody skips one unknowingly."""
    if page.missed:
        raise Problem("cursor_expired", missed=page.missed)


async def _begin(call: Call, start: str) -> dict[int, int]:
    """`now` (the default), `earliest`, or a time."""
    store = call.api.deps.store
    if start == "earliest":
        return {}
    if start in ("", "now"):
        return await store.event_heads()
    return await store.event_positions(call.time("from"))


def _event(logged: Logged) -> EventView:
    return EventView(**cloud_event(logged.event))


ROUTES = (
    Route(
        "GET",
        "/v1/events/stream",
        stream,
        "Events as they come (server-sent events)",
        "events",
        {200: None},
        scope="read",
        params=(
            Param("cursor", "as of `GET /v1/events`; `Last-Event-ID` goes before", _TEXT),
            Param(
                "from", "without a cursor: `now` (default), `earliest` or an RFC 3339 time", _TEXT
            ),
        ),
        problems=("validation_failed", "cursor_expired", "store_unavailable", "overloaded"),
        media="text/event-stream",
    ),
    Route(
        "GET",
        "/v1/events",
        read,
        "Events after a cursor (pull)",
        "events",
        {200: EventsView},
        scope="read",
        params=(
            Param(
                "cursor",
                "`cursor` of the answer before; none: where `from` says",
                {"type": "string"},
            ),
            Param(
                "from", "without a cursor: `earliest` (default), `now` or an RFC 3339 time", _TEXT
            ),
            Param(
                "wait",
                "with no event yet, wait this long for one (at most 30s)",
                {"type": "string"},
            ),
            LIMIT,
        ),
        problems=("validation_failed", "cursor_expired", "store_unavailable"),
    ),
)
