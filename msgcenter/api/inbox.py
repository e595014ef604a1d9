"""`/v1/inbox`: what people have in their inbox on the platform: pages, read marks, and changes as they happen, by SSE or WebSocket.

A position is the place of a change in one inbox; whoever comes back with the last one it saw misses nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from aiohttp import WSMsgType, hdrs, web
from pydantic import Field

from msgcenter.adapter import Report
from msgcenter.api.body import Body
from msgcenter.api.history import CURSOR, LIMIT
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.recipient import read_recipient
from msgcenter.api.stream import Pulse, Sse
from msgcenter.api.views import View
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.bus.topology import INBOUND, place
from msgcenter.port import receipt
from msgcenter.settle import frames, publish_frames
from msgcenter.store import InboxRow, StoreError
from msgcenter.store.cursors import decode_place, encode_place
from protocols import wire
from protocols.address import Address
from protocols.payload import DeliveryReport

MOST_MARKS = 1000
WS_MOST = 64 * 1024
SCHEMES = ("staff", "gridapp", "customer")
_TEXT = {"type": "string"}


class ItemView(View):
    """An item of an inbox; a withdrawn one has no content any more."""

    id: str
    owner: str
    state: str = Field(description="unread, read or withdrawn")
    at: str
    content: dict[str, Any]
    category: str
    reference: str | None = None
    read_at: str | None = None
    withdrawn_at: str | None = None
    position: int = Field(description="of its latest change")


class InboxView(View):
    """Items, newest first."""

    items: list[ItemView]
    unread: int = Field(description="of the whole inbox")
    position: int = Field(description="of the inbox: a stream goes on from here")
    next_cursor: str | None = None


class MarkedView(View):
    """What is read now; ids that are not there, or withdrawn, are not in it."""

    read: list[str]


class MarkRequest(Body):
    """Items that somebody has read."""

    ids: Annotated[list[str], Field(min_length=1, max_length=MOST_MARKS)]


async def page(call: Call) -> web.Response:
    """An inbox, newest first, with the number of unread items."""
    given = call.query("owner", "state", "cursor")
    owner = _owner(given.get("owner", ""))
    state = given.get("state", "all")
    if state not in ("all", "unread"):
        raise refused([Fault("state", "out_of_range", state, {"expected": "all or unread"})])
    limit = call.limit()
    before = decode_place(given["cursor"]) if "cursor" in given else None
    store = call.api.deps.store
    found = await store.inbox(owner, unread=state == "unread", before=before, limit=limit)
    last = found.items[-1] if len(found.items) == limit else None
    return shown(
        InboxView(
            items=[_view(row) for row in found.items],
            unread=found.unread,
            position=found.position,
            next_cursor=encode_place(last.at, last.id) if last else None,
        )
    )


async def read_one(call: Call) -> web.Response:
    """An item was read: its message becomes `read`. A repeat changes nothing."""
    call.query()
    if not await _mark(call, [call.id]):
        raise Problem("not_found", what="inbox item", id=call.id)
    [row] = await call.api.deps.store.inbox_items([call.id])
    return shown(_view(row))


async def read_many(call: Call) -> web.Response:
    """Up to 1,000 items were read."""
    call.query()
    body = await call.model(MarkRequest)
    return shown(MarkedView(read=await _mark(call, body.ids)))


async def _mark(call: Call, ids: list[str]) -> list[str]:
    """The receipts are durable before the mark is: a crash between them makes the next try tell them again, and a receipt
    that comes twice is one."""
    deps = call.api.deps
    now = deps.clock.now_ms()
    found = await deps.store.inbox_items(list(dict.fromkeys(ids)))
    rows = [row for row in found if not row.withdrawn_at]
    by_queue: dict[Any, list[bytes]] = {}
    for row in rows:
        if not row.read_at:
            report = Report(DeliveryReport(row.id, "read", "", now), Address.parse(row.owner))
            envelope = receipt(row.channel, report, now)
            queue = place(INBOUND, envelope, call.api.partitions)
            by_queue.setdefault(queue, []).append(wire.seal(envelope))
    await publish_frames(
        deps.bus, [one for queue, sealed in by_queue.items() for one in frames(queue, sealed)]
    )
    marked = await deps.store.mark_inbox_read([row.id for row in rows], now)
    return [row.id for row in marked]


# -- as it happens ------------------------------------------------------------------------------


async def stream(call: Call) -> web.StreamResponse:
    """Changes of an inbox as they happen: each item in its present state, its position as event id. `Last-Event-ID` or `position`
    goes on from there; without one, from now. With `Upgrade: websocket` the same as JSON messages {position, unread, item}, and
    the reader may say {"read": [ids]}."""
    given = call.query("owner", "position")
    owner = _owner(given.get("owner", ""))
    text = call.request.headers.get("Last-Event-ID", "") or given.get("position", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise refused([Fault("position", "out_of_range", text, {"expected": "a position"})])
    store = call.api.deps.store
    position = int(text) if text else (await store.inbox(owner, before=None, limit=1)).position
    async with call.api.streams.one(call.caller):
        if call.request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await _socket(call, owner, position)
        return await _events(call, owner, position)


async def _events(call: Call, owner: str, position: int) -> web.StreamResponse:
    sse, pulse, deps = Sse(), Pulse(call), call.api.deps
    await sse.open(call.request)
    try:
        while True:
            found = await deps.store.inbox_changes(owner, position)
            for row in found.items:
                await sse.send(
                    str(row.position), f"inbox.{_state(row)}", _change(row, found.unread)
                )
            position = found.position
            if found.items:
                pulse.busy()
                continue
            if pulse.beat_due:
                await sse.beat()
                pulse.busy()
            if not await pulse.rest():
                break
    except (ConnectionError, StoreError) as error:
        deps.log.debug("stream over", why=type(error).__name__)
    return sse.response


async def _socket(call: Call, owner: str, position: int) -> web.StreamResponse:
    socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=WS_MOST)
    await socket.prepare(call.request)
    listening = asyncio.create_task(_listen(call, socket))
    pulse, deps = Pulse(call), call.api.deps
    try:
        while not listening.done():
            found = await deps.store.inbox_changes(owner, position)
            for row in found.items:
                await socket.send_str(_change(row, found.unread).decode())
            position = found.position
            if found.items:
                pulse.busy()
            elif not await pulse.rest():
                break
    except (ConnectionError, StoreError) as error:
        deps.log.debug("stream over", why=type(error).__name__)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await socket.close()
    return socket


async def _listen(call: Call, socket: web.WebSocketResponse) -> None:
    """Read marks; anything else that is said ends the connection."""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            return
        try:
            said = json.loads(message.data)
        except (ValueError, RecursionError):
            return
        ids = said.get("read") if isinstance(said, dict) else None
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            return
        await _mark(call, ids[:MOST_MARKS])


def _change(row: InboxRow, unread: int) -> bytes:
    item = _view(row).model_dump(mode="json", exclude_none=True)
    told = {"position": row.position, "unread": unread, "item": item}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _state(row: InboxRow) -> str:
    return "withdrawn" if row.withdrawn_at else "read" if row.read_at else "unread"


def _view(row: InboxRow) -> ItemView:
    return ItemView(
        id=row.id,
        owner=row.owner,
        state=_state(row),
        at=when(row.at) or "",
        content=row.content,
        category=row.category,
        reference=row.reference or None,
        read_at=when(row.read_at),
        withdrawn_at=when(row.withdrawn_at),
        position=row.position,
    )


def _owner(text: str) -> str:
    address = read_recipient(text, "owner")
    if isinstance(address, Fault):
        raise refused([address])
    if address.scheme not in SCHEMES:
        facts = {"expected": " or ".join(f"{scheme}:…" for scheme in SCHEMES)}
        raise refused([Fault("owner", "out_of_range", text, facts)])
    return str(address)


_OWNER = Param("owner", "whose inbox: staff:<id>, gridapp:<grid account> or customer:<id>", _TEXT)
_PROBLEMS = ("validation_failed", "store_unavailable")

ROUTES = (
    Route(
        "GET",
        "/v1/inbox",
        page,
        "An inbox: items and unread count",
        "inbox",
        {200: InboxView},
        scope="inbox",
        params=(
            _OWNER,
            Param(
                "state", "all (default) or unread", {"type": "string", "enum": ["all", "unread"]}
            ),
            LIMIT,
            CURSOR,
        ),
        problems=_PROBLEMS,
    ),
    Route(
        "GET",
        "/v1/inbox/stream",
        stream,
        "Changes of an inbox as they happen (server-sent events or WebSocket)",
        "inbox",
        {200: None},
        scope="inbox",
        params=(_OWNER, Param("position", "go on from here", _TEXT)),
        problems=(*_PROBLEMS, "overloaded"),
        media="text/event-stream",
    ),
    Route(
        "POST",
        "/v1/inbox/{id}:read",
        read_one,
        "An item was read",
        "inbox",
        {200: ItemView},
        scope="inbox",
        problems=("not_found", "store_unavailable", "bus_unavailable"),
    ),
    Route(
        "POST",
        "/v1/inbox:read",
        read_many,
        "Items were read",
        "inbox",
        {200: MarkedView},
        scope="inbox",
        body=MarkRequest,
        problems=("validation_failed", "store_unavailable", "bus_unavailable"),
    ),
)
