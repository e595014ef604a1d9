"""What members write to an app: verified, each once, files fetched, forgeries refused alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.sim.wecom.rigs import Hooks
from adapters.wecom import WeComApp
from msgcenter.adapter import Dispatch, Request, Sent
from protocols.payload import Happening, Link, Media, Native, Pull, Text
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp, corp, one, to_staff

JPG = b"\xff\xd8\xff" + b"picture" * 10


@asynccontextmanager
async def listening(c: Corp) -> AsyncIterator[tuple[WeComApp, FakePort]]:
    port = c.port()
    async with c.app(port) as app:
        hooks = Hooks(app.webhooks())
        await hooks.start()
        try:
            url = f"http://127.0.0.1:{hooks.port}/callback"
            await c.far.pusher.callback_set(agentid=c.far.options.agent, url=url)
            yield app, port
        finally:
            await hooks.stop()
            await port.close()


async def test_what_a_member_writes_arrives_once_with_its_key() -> None:
    async with corp() as c, listening(c) as (_, port):
        pusher = c.far.pusher
        c.far.faults.callback_fault(kind="duplicate")
        pusher.member_writes(userid="staff0003", text="查话费")
        await pusher.drained()
        first, repeat = port.received
        assert first == repeat, "the core knows a repeat by its remote_id"
        assert first.payload == Text("查话费")
        assert (str(first.sender), first.account_number) == ("staff:staff0003", "1000002")
        assert abs(first.at - c.clock.now_ms()) < 5000
        fields = {"Title": "t", "Description": "d", "Url": "https://a.example", "PicUrl": ""}
        pusher.member_writes(userid="staff0003", msgtype="link", fields=fields)
        place = {"Location_X": 30.5, "Location_Y": 104.1, "Scale": 15, "Label": "营业厅"}
        pusher.member_writes(userid="staff0003", msgtype="location", fields=place)
        pusher.member_event(userid="staff0003", event="click", fields={"EventKey": "menu-1"})
        pusher.member_event(userid="staff0003", event="click", fields={"EventKey": "menu-2"})
        await pusher.drained()
        payloads = [one.payload for one in port.received[2:]]
        assert Link("t", "https://a.example", "d") in payloads
        [spot] = [one for one in payloads if isinstance(one, Native)]
        assert json.loads(spot.body)["latitude"] == 30.5
        clicks = [one for one in payloads if isinstance(one, Happening)]
        assert {json.loads(one.body)["event_key"] for one in clicks} == {"menu-1", "menu-2"}
        assert {one.kind for one in clicks} == {"wecom_click"}
        assert len({one.remote_id for one in port.received[1:]}) == 5, "no two share a key"


async def test_a_forged_damaged_or_stale_callback_is_refused_and_told_nothing() -> None:
    async with corp() as c, listening(c) as (app, port):
        assert app.inbox is not None
        pusher = c.far.pusher
        c.far.faults.callback_fault(kind="bad_signature", times=1)
        pusher.member_writes(userid="staff0001", text="假的")
        await pusher.drained()
        assert pusher.pushes[-1].statuses == [403] * 3
        assert port.emitted == []
        hook = app.webhooks()["callback"]
        target = pusher.targets[c.far.options.agent]
        now = c.clock.now_ms() // 1000

        def request(body: bytes, **query: str) -> Request:
            return Request("POST", "/callback", query, {}, body)

        def sealed(at: int, plain: bytes) -> tuple[bytes, dict[str, str]]:
            made = target.crypt.encrypt(plain, str(at), "n", b"r" * 16)
            body = f"<xml><Encrypt>{made.encrypt}</Encrypt></xml>".encode()
            return body, {"msg_signature": made.signature, "timestamp": str(at), "nonce": "n"}

        text = b"<xml><MsgType>text</MsgType><Content>hi</Content><MsgId>1</MsgId></xml>"
        body, query = sealed(now, text)
        stale_body, stale = sealed(now - 3600, text)
        answers = [
            await hook(request(body, **query | {"nonce": "m"})),
            await hook(request(body[:-30], **query)),
            await hook(request(b"<!DOCTYPE x [<!ENTITY a 'b'>]><xml>&a;</xml>", **query)),
            await hook(request(b"x" * 1_000_000, **query)),
            await hook(request(b"<a>" * 200_000, **query)),
            await hook(request(stale_body, **stale)),
            await hook(request(body)),
            await hook(Request("GET", "/callback", query | {"echostr": "abc"}, {}, b"")),
        ]
        assert {(answer.status, answer.body) for answer in answers} == {(403, b"callback refused")}
        assert app.inbox.refused == 3 + len(answers)
        assert port.emitted == []
        assert (await hook(request(body, **query))).status == 200
        assert [one.payload for one in port.received] == [Text("hi")]


async def test_it_is_confirmed_only_when_it_is_durable() -> None:
    async with corp() as c, listening(c) as (_, port):
        port.refuse = 1
        c.far.pusher.member_writes(userid="staff0001", text="在吗")
        await c.far.pusher.drained()
        assert c.far.pusher.pushes[-1].statuses == [503, 200]
        assert len(port.received) == 1


async def fetched(app: WeComApp, pull: Pull) -> object:
    item = to_staff(1, pull)
    return await one(app, Dispatch(item.envelope, item.token))


async def test_a_file_is_fetched_right_after_and_kept() -> None:
    async with corp() as c, listening(c) as (app, port):
        medium = c.far.media.add("image", "现场.jpg", JPG)
        fields = {"PicUrl": "https://x.example", "MediaId": medium.media_id}
        c.far.pusher.member_writes(userid="staff0005", msgtype="image", fields=fields)
        await c.far.pusher.drained()
        assert port.emitted == []
        [(pull, delay)] = port.rung
        assert delay == 0
        c.far.faults.fault(endpoint="media/get", errcode=-1)
        assert "Retry" in repr(await fetched(app, pull))
        assert isinstance(await fetched(app, pull), Sent)
        [got] = port.received
        assert isinstance(got.payload, Media)
        assert got.payload.kind == "image"
        kept = port.files[got.payload.media]
        assert kept.path.read_bytes() == JPG
        assert (kept.name, kept.type) == ("现场.jpg", "image/jpeg")
        assert str(got.sender) == "staff:staff0005"
        c.far.tokens.token_rotate()
        assert isinstance(await fetched(app, pull), Sent), "a refused token is renewed here as well"
        assert port.received[1] == got


async def test_a_large_file_comes_in_ranges() -> None:
    async with corp() as c, listening(c) as (app, port):
        size = 33 * 1024 * 1024 + 7
        added = c.far.media.media_add(kind="video", name="长.mp4", size=size)
        fields = {"MediaId": added["media_id"], "ThumbMediaId": ""}
        c.far.pusher.member_writes(userid="staff0005", msgtype="video", fields=fields)
        await c.far.pusher.drained()
        assert isinstance(await fetched(app, port.rung[0][0]), Sent)
        assert isinstance(port.received[0].payload, Media)
        kept = port.files[port.received[0].payload.media]
        assert kept.size == size
        assert kept.path.read_bytes() == c.far.media.get(added["media_id"]).data


async def test_a_file_that_is_gone_or_unwanted_is_told_and_not_lost_in_silence() -> None:
    async with corp() as c, listening(c) as (app, port):
        medium = c.far.media.add("image", "a.jpg", JPG)
        for _ in range(2):
            c.far.pusher.member_writes(
                userid="staff0005", msgtype="image", fields={"MediaId": medium.media_id}
            )
        await c.far.pusher.drained()
        port.unwanted = frozenset({"image/jpeg"})
        assert isinstance(await fetched(app, port.rung[0][0]), Sent)
        c.far.media.media_expire()
        assert isinstance(await fetched(app, port.rung[1][0]), Sent)
        said = [
            json.loads(o.payload.body)["code"]
            for o in port.received
            if isinstance(o.payload, Happening)
        ]
        assert said == ["not_kept", "wecom_40007"]
