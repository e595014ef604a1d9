"""`GET /v1/events`: the caller's events in order, to be read on from a cursor; no event is ever
skipped."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.history import LIMIT
from msgcenter.api.views import (
    EventsView,
    EventView,
)
from msgcenter.api.waits import MOST_S
from msgcenter.api.web import Call, Param, Route, shown
from msgcenter.archive.events_sink import cloud_event
from msgcenter.store import Logged
from msgcenter.store.cursors import decode_positions, encode_positions

FIRST_S, LAST_S, GROWTH = 0.05, 0.5, 1.5


async def read(call: Call) -> web.Response:
    """Events after the cursor; with `wait`, as soon as there is one."""
    given = call.query("cursor", "wait", "limit")
    deps = call.api.deps
    positions = decode_positions(given.get("cursor", ""))
    caller = None if call.sees_all else call.caller
    limit, wait = call.limit(), call.seconds("wait", MOST_S)
    deadline = deps.clock.monotonic() + wait
    pause = FIRST_S
    page = await deps.store.read_events(caller, positions, limit)
    while not page.items and deps.clock.monotonic() < deadline and not deps.draining():
        await deps.clock.sleep(min(pause, max(0.0, deadline - deps.clock.monotonic())))
        pause = min(pause * GROWTH, LAST_S)
        page = await deps.store.read_events(caller, page.cursor, limit)
    items = [_event(logged) for logged in page.items]
    return shown(EventsView(items=items, cursor=encode_positions(page.cursor)))


def _event(logged: Logged) -> EventView:
    return EventView(**cloud_event(logged.event))


ROUTES = (
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
                "`cursor` of the answer before; none: from the beginning",
                {"type": "string"},
            ),
            Param(
                "wait",
                "with no event yet, wait this long for one (at most 30s)",
                {"type": "string"},
            ),
            LIMIT,
        ),
        problems=("validation_failed", "store_unavailable"),
    ),
)
