"""`/v1/inbox` and the streams: pages, read marks with their receipts, resume after a break, over SSE and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from msgcenter.bus import BusError
from msgcenter.store import Event, InboxRow
from protocols.payload import DeliveryReport
from tests.unit.api.parts import Parts

CALLERS = """
crm: {scopes: [send, read], categories: [care]}
scrm: {scopes: [inbox, read]}
ops: {scopes: [read, "read:all", admin]}
"""
ME = "staff:zhangsan"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    # fmt: off
    await parts.start({"callers.yaml": CALLERS, "accounts.yaml": "{}", "policy.yaml": "{}"})
    # fmt: on
    try:
        yield parts
    finally:
        await parts.close()


async def put(parts: Parts, *numbers: int) -> None:
    now = parts.clock.now_ms()
    rows = [
        InboxRow(f"msg_{n}", ME, "desk", "crm", "care", now + n, {"type": "text", "text": str(n)})
        for n in numbers
    ]
    await parts.store.put_in(rows, 100)


async def test_pages_and_unread(parts: Parts) -> None:
    await put(parts, 1, 2, 3)
    status, body, _ = await parts.get(f"/v1/inbox?owner={ME}&limit=2", caller="scrm")
    assert status == 200
    assert ([item["id"] for item in body["items"]], body["unread"]) == (["msg_3", "msg_2"], 3)
    cursor = body["next_cursor"]
    _, body, _ = await parts.get(f"/v1/inbox?owner={ME}&cursor={cursor}", caller="scrm")
    assert [item["id"] for item in body["items"]] == ["msg_1"]
    assert "next_cursor" not in body


@pytest.mark.parametrize(
    "query", ["", "owner=tel:13800138000", "owner=x:y", f"owner={ME}&state=odd"]
)
async def test_what_is_wrong_is_named(parts: Parts, query: str) -> None:
    status, body, _ = await parts.get(f"/v1/inbox?{query}", caller="scrm")
    assert (status, body["code"]) == (422, "validation_failed")
    status, body, _ = await parts.get(f"/v1/inbox?owner={ME}", caller="crm")
    assert (status, body["code"]) == (403, "scope_missing")


async def test_reading_makes_the_receipt_first(parts: Parts) -> None:
    await put(parts, 1, 2)
    parts.bus.down = BusError("away")
    status, _, _ = await parts.post("/v1/inbox/msg_1:read", caller="scrm")
    assert status == 503
    _, body, _ = await parts.get(f"/v1/inbox?owner={ME}", caller="scrm")
    assert body["unread"] == 2
    parts.bus.down = None
    status, body, _ = await parts.post("/v1/inbox/msg_1:read", caller="scrm")
    assert (status, body["state"]) == (200, "read")
    status, body, _ = await parts.post(
        "/v1/inbox:read", {"ids": ["msg_1", "msg_2", "no"]}, caller="scrm"
    )
    assert body == {"read": ["msg_1", "msg_2"]}
    reports = [envelope.payload for envelope in parts.bus.envelopes]
    assert [(r.remote_id, r.state) for r in reports if isinstance(r, DeliveryReport)] == [
        ("msg_1", "read"),
        ("msg_2", "read"),
    ]
    status, _, _ = await parts.post("/v1/inbox/msg_9:read", caller="scrm")
    assert status == 404


class Reader:
    """Server-sent events of a response, one at a time."""

    def __init__(self, response: Any) -> None:
        self.response = response

    async def next(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        async with asyncio.timeout(10):
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the stream ended"
                line = line.rstrip("\n")
                if not line and "data" in fields:
                    fields["data"] = json.loads(fields["data"])
                    return fields
                name, _, value = line.partition(": ")
                if name and value:
                    fields[name] = value


@asynccontextmanager
async def streaming(parts: Parts, path: str, caller: str, last: str = "") -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {await parts.key(caller)}"}
    if last:
        headers["Last-Event-ID"] = last
    async with parts.client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield Reader(response)


async def test_an_inbox_streams_and_resumes(parts: Parts) -> None:
    await put(parts, 1)
    path = f"/v1/inbox/stream?owner={ME}"
    async with streaming(parts, path, "scrm") as reader:
        await put(parts, 2)
        event = await reader.next()
        assert (event["event"], event["data"]["item"]["id"]) == ("inbox.unread", "msg_2")
        assert event["data"]["unread"] == 2
        last = event["id"]
    await put(parts, 3)
    await parts.store.mark_inbox_read(["msg_1"], parts.clock.now_ms())
    await parts.store.withdraw_inbox(["msg_2"], parts.clock.now_ms())
    async with streaming(parts, path, "scrm", last) as reader:
        events = [await reader.next() for _ in range(3)]
        assert [(e["event"], e["data"]["item"]["id"]) for e in events] == [
            ("inbox.unread", "msg_3"),
            ("inbox.read", "msg_1"),
            ("inbox.withdrawn", "msg_2"),
        ]


async def test_an_inbox_over_a_websocket(parts: Parts) -> None:
    headers = {"Authorization": f"Bearer {await parts.key('scrm')}"}
    path = f"/v1/inbox/stream?owner={ME}&position=0"
    async with parts.client.ws_connect(path, headers=headers) as socket:
        await put(parts, 1)
        told = await asyncio.wait_for(socket.receive_json(), 10)
        assert (told["item"]["state"], told["unread"]) == ("unread", 1)
        await socket.send_json({"read": ["msg_1"]})
        told = await asyncio.wait_for(socket.receive_json(), 10)
        assert (told["item"]["state"], told["unread"]) == ("read", 0)
        await socket.send_str("nonsense")
        assert (await asyncio.wait_for(socket.receive(), 10)).type.name in ("CLOSE", "CLOSED")
    assert parts.bus.envelopes


# -- the event log ------------------------------------------------------------------------------


def event(parts: Parts, name: str, at: int = 0, caller: str = "crm") -> Event:
    now = at or parts.clock.now_ms()
    return Event(name, caller, "msgcenter.message.sent.v1", now, name, name, {"n": name})


async def test_events_stream_from_the_last_one_seen(parts: Parts) -> None:
    await parts.store.append_many({0: [event(parts, "a")], 3: [event(parts, "b")]})
    path = "/v1/events/stream?from=earliest"
    async with streaming(parts, path, "crm") as reader:
        first, second = await reader.next(), await reader.next()
        assert {first["data"]["id"], second["data"]["id"]} == {"a", "b"}
        await parts.store.append_events(1, [event(parts, "x", caller="iop")])
        await parts.store.append_events(0, [event(parts, "c")])
        assert (await reader.next())["data"]["id"] == "c"  # another caller's is not shown
    async with streaming(parts, "/v1/events/stream", "crm", first["id"]) as reader:
        assert (await reader.next())["data"]["id"] == second["data"]["id"]
        assert (await reader.next())["data"]["id"] == "c"


async def test_events_stream_from_now_or_a_time(parts: Parts) -> None:
    day = 86_400_000
    now = parts.clock.now_ms()
    await parts.store.append_events(0, [event(parts, "old", now - 2 * day)])
    await parts.store.append_events(0, [event(parts, "young", now)])
    async with streaming(parts, "/v1/events/stream", "crm") as reader:
        await parts.store.append_events(2, [event(parts, "new")])
        assert (await reader.next())["data"]["id"] == "new"
    path = "/v1/events/stream?from=2020-01-01T00:00:00Z"
    async with streaming(parts, path, "crm") as reader:
        assert (await reader.next())["data"]["id"] == "old"
    status, body, _ = await parts.get("/v1/events/stream?from=yesterday")
    assert (status, body["errors"][0]["field"]) == (422, "from")
    status, _, _ = await parts.get("/v1/events/stream?cursor=odd")
    assert status == 422


async def test_streams_end_with_the_process_and_are_counted(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msgcenter.api.stream.MOST_OF_CALLER", 1)
    async with streaming(parts, "/v1/events/stream", "crm") as reader:
        status, body, _ = await parts.get("/v1/events/stream")
        assert (status, body["code"]) == (503, "overloaded")
        parts.leaving = True
        async with asyncio.timeout(10):
            await reader.response.content.read()
