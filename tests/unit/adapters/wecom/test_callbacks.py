"""What members write to an app: verified, each once, files fetched, forgeries refused alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from adapters.sim.wecom.rigs import called
from adapters.wecom import WeComApp
from adapters.wecom.calls import Refusal
from adapters.wecom.inbox import brought_home
from msgcenter.adapter import Dispatch, Request, Retry, Sent
from protocols.payload import Happening, Link, Media, Native, Pull, Text
from protocols.wecom import callbacks
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp, corp, one, to_staff

JPG = b"\xff\xd8\xff" + b"picture" * 10


@asynccontextmanager
async def listening(c: Corp, **settings: Any) -> AsyncIterator[tuple[WeComApp, FakePort]]:
    port = c.port()
    try:
        async with c.app(port, **settings) as app, called(c.far, app):
            yield app, port
    finally:
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


async def test_what_a_member_writes_in_one_second_keeps_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with corp() as c, listening(c) as (app, port):
        pusher, said = c.far.pusher, [f"第{number}句" for number in range(20)]
        medium = c.far.media.add("image", "a.jpg", JPG)
        second = c.far.world.now()
        monkeypatch.setattr(c.far.world, "now", lambda: second)
        for text in said[:10]:
            pusher.member_writes(userid="staff0003", text=text)
            await pusher.drained()
        fields = {"MediaId": medium.media_id}
        pusher.member_writes(userid="staff0003", msgtype="image", fields=fields)
        await pusher.drained()
        for text in said[10:]:
            pusher.member_writes(userid="staff0003", text=text)
            await pusher.drained()
        [(pull, _)] = port.rung
        assert isinstance(await fetched(app, pull), Sent)
        told = sorted(port.received, key=lambda one: one.at)
        assert len({one.at // 1000 for one in told}) == 1
        texts = [one.payload.text if isinstance(one.payload, Text) else "" for one in told]
        assert texts == [*said[:10], "", *said[10:]]


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


async def test_a_file_that_cannot_be_told_of_costs_the_messages_beside_it_nothing() -> None:
    async with corp() as c, listening(c) as (app, port):
        medium = c.far.media.add("image", "现场.jpg", JPG)
        fields = {"MediaId": medium.media_id}
        c.far.pusher.member_writes(userid="staff0005", msgtype="image", fields=fields)
        await c.far.pusher.drained()
        [(pull, _)] = port.rung
        port.refuse = 1
        bell, message = await app.deliver([to_staff(1, pull), to_staff(2)])
        assert isinstance(bell, Retry)
        assert (bell.scope, bell.code) == ("message", "not_ready")
        assert isinstance(message, Sent)
        assert isinstance(await fetched(app, pull), Sent)
        assert [type(each.payload) for each in port.received] == [Media]


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


async def test_a_range_that_brings_nothing_is_not_asked_for_in_a_circle() -> None:
    class Body:
        def __init__(self, data: bytes) -> None:
            self.data = data

        async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
            await asyncio.sleep(0)
            if self.data:
                yield self.data

    class Dry:
        """Ten octets of twenty, then none."""

        asked: ClassVar[list[int]] = []

        @asynccontextmanager
        async def download(self, _: str, first: int, __: int) -> AsyncIterator[Any]:
            self.asked.append(first)
            headers = {"Content-Range": f"bytes {first}-{first + 9}/20"}
            body = Body(b"" if first else b"x" * 10)
            yield SimpleNamespace(
                status=206, headers=headers, content=body, content_type="image/jpeg"
            )

    port, api = FakePort(), Dry()
    async with asyncio.timeout(5):
        with pytest.raises(Refusal) as caught:
            await brought_home(port, api, "image", "m1")  # type: ignore[arg-type]
    assert isinstance(caught.value.outcome, Retry)
    assert (api.asked, port.files) == ([0, 10], {})


async def announced(c: Corp) -> None:
    """One callback of each kind that is not for the app itself."""
    c.far.kf.customer_writes(open_kfid="wk0001", external_userid="wm0001", text="您好")
    for event, change in (
        ("msgaudit_notify", ""),
        ("change_external_contact", "add_external_contact"),
        ("change_external_contact", "something_new"),
        ("change_external_chat", "update"),
        ("change_external_tag", "create"),
    ):
        fields = {"Event": event, "MsgType": "event", "CreateTime": 1, "ChatId": "聊天"}
        c.far.pusher.emit(fields | {"ChangeType": change}, agentid=c.far.options.agent)
    await c.far.pusher.drained()


async def test_what_other_channels_fetch_rings_their_doorbells() -> None:
    bells = {"kf": "service", "archive": "chats", "contact": "customers"}
    async with corp() as c, listening(c, doorbells=bells) as (_, port):
        port.other_channels = set(bells.values())
        c.far.faults.callback_fault(kind="duplicate", share=1.0, times=-1)
        await announced(c)
        assert port.emitted == []
        assert port.rung == []
        kf = port.rung_elsewhere["service"]
        assert {pull.source for pull in kf} == {"kf:wk0001"}
        assert all(pull.token.startswith("ENC") for pull in kf)
        assert set(port.rung_elsewhere["chats"]) == {Pull("archive")}
        contact = port.rung_elsewhere["customers"]
        assert len(contact) == 8
        assert len(set(contact)) == len({pull.source for pull in contact}) == 4
        for pull in contact:
            assert pull.source.startswith("contact:evt-")
            heard = callbacks.parse(pull.token.encode())
            assert heard.kind.startswith("change_external_")
            assert f"contact:{heard.key}" == pull.source
        assert all("聊天" in pull.token for pull in contact)


async def test_without_a_doorbell_they_stay_events_of_the_app() -> None:
    async with corp() as c, listening(c) as (_, port):
        await announced(c)
        assert port.rung == []
        assert port.rung_elsewhere == {}
        kinds = [one.payload.kind for one in port.received if isinstance(one.payload, Happening)]
        assert sorted(set(kinds)) == [
            "wecom_change_external_chat",
            "wecom_change_external_contact",
            "wecom_change_external_tag",
            "wecom_kf_msg_or_event",
            "wecom_msgaudit_notify",
        ]
        assert len(kinds) == 6


async def test_a_doorbell_that_could_not_be_rung_is_not_confirmed() -> None:
    bells = {"kf": "service"}
    async with corp() as c, listening(c, doorbells=bells) as (_, port):
        port.other_channels = {"service"}
        port.refuse = 1
        c.far.kf.customer_writes(open_kfid="wk0001", external_userid="wm0001", text="您好")
        await c.far.pusher.drained()
        assert c.far.pusher.pushes[-1].statuses == [503, 200]
        assert len(port.rung_elsewhere["service"]) == 1
