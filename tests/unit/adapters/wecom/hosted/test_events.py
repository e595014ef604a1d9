"""wecom-hosted, inwards: who may call, what each event becomes, files, and how accounts are.

Long because each event is a short test on one stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from adapters.wecom import WeComHosted
from msgcenter.adapter import Received, Report, Secret, Sent, Unavailable
from protocols.address import Address
from protocols.hosted import events
from protocols.hosted.answers import Account
from protocols.hosted.content import Card, Chat, Link, MiniProgram, Other
from protocols.hosted.content import Media as File
from protocols.hosted.content import Text as Words
from protocols.outcome import Rejected, Retry
from protocols.payload import DeliveryReport, Happening, Media, Native, Pull, Text
from protocols.payload import Link as LinkPayload
from protocols.payload import MiniProgram as MiniProgramPayload
from protocols.webhook import signing
from tests.port import FakePort
from tests.unit.adapters.wecom.hosted.parts import (
    ACCOUNT,
    CORP,
    Hosting,
    hosting,
    one,
    post,
    to_customer,
    to_group,
)

AT = 1_790_000_000_000
TO, GROUP = Chat("customer", "wm1"), Chat("group", "wr1")
CUSTOMER = Address("wecom", f"{CORP}/wm1")
LISI, WO = Address("staff", "lisi"), Address("wecom", f"{CORP}/woBBB")
TALK, ROOM = f"wecom|{CORP}|{ACCOUNT}|wm1", f"wecom|{CORP}||wr1"
SAYS: dict[str, Any] = {"id": "e-1", "account": ACCOUNT, "at": AT, "seq": 1, "message_id": "m-1"}
FACTS: dict[str, Any] = {"id": "e-1", "account": ACCOUNT, "at": AT, "seq": 1}


@asynccontextmanager
async def hearing(**settings: Any) -> AsyncIterator[tuple[Hosting, WeComHosted, FakePort]]:
    async with hosting() as h:
        port = h.port()
        async with h.adapter(port, **settings) as adapter:
            yield h, adapter, port
        await port.close()


async def tell(h: Hosting, adapter: WeComHosted, event: events.Hosted, **changed: Any) -> int:
    """Signed as the gateway would; `changed`: secrets, body, at (seconds), id."""
    body = changed.get("body") or events.write_event(event)
    now = changed.get("at") or h.clock.now_ms() // 1000
    secrets = changed.get("secrets") or h.far.event_secrets
    headers = signing.sign(secrets, changed.get("id") or event.id, now, body)
    return (await post(adapter, body, headers)).status


def heard(**changed: Any) -> events.Received:
    known: dict[str, Any] = {"chat": TO, "sender": "wm1", "content": Words(text="查话费")}
    return events.Received(**(SAYS | known | changed))


def typed(**changed: Any) -> events.Echo:
    known: dict[str, Any] = {"chat": TO, "content": Words(text="您好")}
    return events.Echo(**(SAYS | known | changed))


def changed(change: str, **more: Any) -> events.GroupChanged:
    facts = {"group_id": "wr1", "change": change, "name": "群", "owner": ACCOUNT, "by": "wm1"}
    return events.GroupChanged(**(FACTS | facts | more))


def received(payload: Any, **more: Any) -> Received:
    known: dict[str, Any] = {"sender": CUSTOMER, "order_key": TALK, "remote_id": "m-1"}
    return Received(account_number=ACCOUNT, payload=payload, at=AT, **(known | more))


def happened(kind: str, body: dict[str, Any], key: str = ROOM) -> Received:
    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
    us = Address("staff", ACCOUNT)
    return received(Happening(kind, text), sender=us, order_key=key, remote_id="e-1")


IN_GROUP = {"chat": "wr1", "name": "群", "owner": ACCOUNT, "by": "wm1"}


@pytest.mark.parametrize(
    ("event", "items"),
    [
        (heard(), [received(Text("查话费"))]),
        (
            heard(content=Link(title="t", url="https://a.example", description="d")),
            [received(LinkPayload("t", "https://a.example", "d"))],
        ),
        (
            heard(content=MiniProgram(app_id="wx1", page="p", title="t")),
            [received(MiniProgramPayload("wx1", "p", "t"))],
        ),
        (
            heard(content=Card(user_id="lisi")),
            [received(Native("business_card", '{"user_id": "lisi"}'))],
        ),
        (
            heard(content=Other(type="redpacket", description="红包")),
            [received(Native("redpacket", '{"description": "红包"}'))],
        ),
        (heard(chat=GROUP, sender="wm1"), [received(Text("查话费"), order_key=ROOM, chat="wr1")]),
        (
            heard(chat=GROUP, sender="lisi"),
            [received(Text("查话费"), sender=LISI, order_key=ROOM, chat="wr1")],
        ),
        (
            heard(chat=GROUP, sender="woBBB"),
            [received(Text("查话费"), sender=WO, order_key=ROOM, chat="wr1")],
        ),
        (heard(chat=GROUP, sender="staff0002"), []),
        (
            typed(),
            [received(Text("您好"), sender=Address("staff", ACCOUNT), recipient=CUSTOMER)],
        ),
        (
            typed(chat=GROUP),
            [
                received(
                    Text("您好"),
                    sender=Address("staff", ACCOUNT),
                    order_key=ROOM,
                    chat="wr1",
                    recipient=Address("group", "wr1"),
                )
            ],
        ),
        (typed(command="tok"), [Report(DeliveryReport("tok", "delivered", "echo", AT))]),
        (
            typed(command="tok", content=File(kind="image", url="https://a.example/x")),
            [Report(DeliveryReport("tok", "delivered", "echo", AT))],
        ),
        (
            events.Receipt(**FACTS, command="tok", state="failed", code="not_a_contact"),
            [Report(DeliveryReport("tok", "undelivered", "not_a_contact", AT))],
        ),
        (
            events.Receipt(**FACTS, command="tok", state="delivered"),
            [Report(DeliveryReport("tok", "delivered", "delivered", AT))],
        ),
        (
            events.Receipt(**FACTS, command="tok", state="read"),
            [Report(DeliveryReport("tok", "read", "read", AT))],
        ),
        (
            events.Recalled(**FACTS, chat=TO, message_id="m-0", by="wm1"),
            [
                happened(
                    "message_recalled",
                    {"chat": {"kind": "customer", "id": "wm1"}, "message_id": "m-0", "by": "wm1"},
                    TALK,
                )
            ],
        ),
        (
            changed("created", members=("wm1", "wm2")),
            [
                happened(
                    "group_created", IN_GROUP | {"change": "created", "members": ["wm1", "wm2"]}
                )
            ],
        ),
        (changed("renamed"), [happened("group_updated", IN_GROUP | {"change": "renamed"})]),
        (
            changed("owner_changed", owner="lisi"),
            [happened("group_updated", IN_GROUP | {"change": "owner_changed", "owner": "lisi"})],
        ),
        (
            changed("members_added", members=("wm2",)),
            [
                happened(
                    "group_member_changed", IN_GROUP | {"change": "members_added", "add": ["wm2"]}
                )
            ],
        ),
        (
            changed("members_removed", members=("wm2",)),
            [
                happened(
                    "group_member_changed",
                    IN_GROUP
                    | {
                        "change": "members_removed",
                        "remove": ["wm2", "staff:wm2", f"wecom:{CORP}/wm2"],
                    },
                )
            ],
        ),
        (changed("dissolved"), [happened("group_dismissed", IN_GROUP | {"change": "dissolved"})]),
        (changed("created", command="tok"), []),
        (changed("members_added", command="tok", members=("wm2",)), []),
        (
            changed("dissolved", command="tok", by=ACCOUNT),
            [happened("group_dismissed", IN_GROUP | {"change": "dissolved", "by": ACCOUNT})],
        ),
    ],
)
async def test_each_event_becomes(event: events.Hosted, items: list[Any]) -> None:
    async with hearing() as (h, adapter, port):
        for _ in range(2):
            assert await tell(h, adapter, event) == 200
        assert port.emitted == items * 2, "a repeat is the same: the core recognises it"
        assert not port.rung


async def test_a_copy_of_what_is_sent_would_be_read_in_the_same_conversation() -> None:
    async with hearing() as (_, adapter, port):
        assert adapter.spec.shared
        there = adapter.copied(to_customer(0))
        assert there == f"wecom|{CORP}|{ACCOUNT}|wm0001"
        assert adapter.copied(to_group(1, Text("x"), "wr1")) == ROOM
        assert not port.emitted


async def test_an_event_that_is_not_known_yet_is_kept() -> None:
    async with hearing() as (h, adapter, port):
        body = json.dumps(
            {"version": 1, "type": "friend.added", "id": "e-1", "account": ACCOUNT, "at": AT}
        ).encode()
        assert await tell(h, adapter, heard(), body=body) == 200
        [item] = port.received
        assert isinstance(item.payload, Happening)
        assert item.payload.kind == "hosted_event"
        assert json.loads(item.payload.body)["type"] == "friend.added"


async def test_only_who_knows_a_secret_may_tell_and_only_now() -> None:
    old, new, other = (signing.secret_of(bytes([n]) * 32) for n in range(3))
    async with hearing(event_secrets=[Secret(new), Secret(old)]) as (h, adapter, port):
        now = h.clock.now_ms() // 1000
        for secrets in ([old], [new], [other, new]):
            assert await tell(h, adapter, heard(), secrets=secrets) == 200
        count = len(port.emitted)
        assert await tell(h, adapter, heard(), secrets=[other]) == 401
        assert await tell(h, adapter, heard(), secrets=[new], at=now - 301) == 401
        assert await tell(h, adapter, heard(), secrets=[new], at=now + 310) == 401
        body = events.write_event(heard())
        headers = signing.sign([new], "e-1", now, body)
        assert (await post(adapter, body.replace(b"m-1", b"m-2"), headers)).status == 401
        assert (await post(adapter, body, {})).status == 401
        assert await tell(h, adapter, heard(), secrets=[new], id="e-2") == 400
        assert await tell(h, adapter, heard(), secrets=[new], body=b"{}") == 400
        blank = heard(sender="wm 1")
        assert await tell(h, adapter, blank, secrets=[new]) == 400
        assert len(port.emitted) == count


async def test_nothing_is_confirmed_before_it_is_durable() -> None:
    async with hearing() as (h, adapter, port):
        for event in (heard(), heard(content=File(kind="file", url=f"{h.far.url}/x"))):
            port.refuse = 1
            with pytest.raises(Unavailable):
                await tell(h, adapter, event)
            assert await tell(h, adapter, event) == 200
        assert (len(port.received), len(port.rung)) == (1, 1)


# -- files ---------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def host(answers: dict[str, Any]) -> AsyncIterator[str]:
    """A file host: path -> octets, or a status."""
    asked: list[str] = []

    async def take(request: web.Request) -> web.Response:
        asked.append(request.path)
        found = answers.get(request.path, 404)
        if isinstance(found, int):
            return web.Response(status=found, headers={"Location": "/good"})
        return web.Response(body=found, content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/{name}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


PICTURE = b"\xff\xd8\xff" + b"picture" * 100


async def fetched(port: FakePort, adapter: WeComHosted, pull: Pull) -> Any:
    return await one(adapter, to_customer(1, pull, ""))


async def test_a_file_is_fetched_after_the_answer_and_the_message_follows() -> None:
    async with (
        host({"/good": PICTURE}) as where,
        hearing(media_hosts=[where]) as (h, adapter, port),
    ):
        digest = hashlib.sha256(PICTURE).hexdigest()
        said = File(kind="image", url=f"http://{where}/good", name="现场.jpg", sha256=digest)
        for event in (heard(content=said), typed(id="e-2", message_id="m-2", content=said)):
            assert await tell(h, adapter, event) == 200
        assert not port.emitted
        assert len({pull.source for pull, _ in port.rung}) == 2
        for pull, _ in port.rung:
            assert isinstance(await fetched(port, adapter, pull), Sent)
        first, second = port.received
        assert isinstance(first.payload, Media)
        assert (first.payload.kind, first.payload.name) == ("image", "现场.jpg")
        assert port.files[first.payload.media].path.read_bytes() == PICTURE
        assert (first.sender, first.recipient, first.remote_id) == (CUSTOMER, None, "m-1")
        assert (second.sender, second.recipient) == (Address("staff", ACCOUNT), CUSTOMER)


async def test_a_file_that_cannot_be_told_of_costs_the_messages_beside_it_nothing() -> None:
    async with (
        host({"/good": PICTURE}) as where,
        hearing(media_hosts=[where]) as (h, adapter, port),
    ):
        said = File(kind="image", url=f"http://{where}/good")
        assert await tell(h, adapter, heard(content=said)) == 200
        [(pull, _)] = port.rung
        port.refuse = 1
        bell, message = await adapter.deliver([to_customer(1, pull, ""), to_customer(2)])
        assert isinstance(bell, Retry)
        assert (bell.scope, bell.code) == ("message", "not_ready")
        assert isinstance(message, Sent)
        assert isinstance(await fetched(port, adapter, pull), Sent)


@pytest.mark.parametrize(
    ("path", "more", "code"),
    [
        ("/none", {}, "not_there"),
        ("/moved", {}, "not_there"),
        ("/large", {}, "too_large"),
        ("/other", {"url": "http://169.254.169.254/latest"}, "host_refused"),
        ("/good", {"mime": "application/x-unwanted"}, "not_kept"),
        ("/down", {}, ""),
        ("/good", {"sha256": "0" * 64}, ""),
        ("/good", {"url": "http://127.0.0.1:1/x"}, "host_refused"),
    ],
)
async def test_a_file_that_cannot_be_had_is_told_or_tried_again(
    path: str, more: dict[str, Any], code: str
) -> None:
    known = {"/good": PICTURE, "/large": b"x" * 2000, "/moved": 302, "/down": 503}
    async with (
        host(known) as where,
        hearing(media_hosts=[where], largest_file=1000, files_for="1h") as (h, adapter, port),
    ):
        port.unwanted = frozenset({"application/x-unwanted"})
        said = File(**({"kind": "image", "url": f"http://{where}{path}"} | more))
        at = h.clock.now_ms()
        assert await tell(h, adapter, heard(content=said, at=at)) == 200
        pull = port.rung[0][0]
        outcome = await fetched(port, adapter, pull)
        if not code:
            assert isinstance(outcome, Retry)
            assert outcome.code == "hosted_download"
            assert not port.emitted
            h.clock.jump(3601)
            outcome, code = await fetched(port, adapter, pull), "too_late"
        assert isinstance(outcome, Sent)
        [lost] = port.received
        assert isinstance(lost.payload, Happening)
        assert lost.payload.kind == "hosted_file_lost"
        assert json.loads(lost.payload.body)["code"] == code
        assert lost.remote_id == "m-1"


async def test_a_doorbell_that_is_none_is_refused() -> None:
    async with hearing() as (_, adapter, port):
        assert isinstance(await fetched(port, adapter, Pull("file:x", "{")), Rejected)


# -- accounts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("online", "up"),
        ("offline", "down"),
        ("login_lost", "down"),
        ("limited", "limited"),
        ("banned", "banned"),
    ],
)
async def test_how_an_account_is_by_event(state: str, word: str) -> None:
    async with hearing() as (h, adapter, port):
        await h.far.control("account_state", {"account": ACCOUNT, "state": state, "reason": "扫码"})
        await h.far.outbox.drained()
        told = [one_ for one_ in port.account_states if one_[0] == "desk1"]
        assert told[-1][:2] == ("desk1", word)
        assert (state in told[-1][2]) == (state != "online")
        status = Account(account=ACCOUNT, state="online")
        old = events.AccountChanged(**FACTS, status=status)
        count = len(port.account_states)
        assert await tell(h, adapter, old) == 200
        assert len(port.account_states) == count, "an old word that comes late changes nothing"


@pytest.mark.parametrize(
    ("state", "word"), [("offline", "down"), ("login_lost", "down"), ("banned", "banned")]
)
async def test_how_an_account_is_by_refusal_and_that_it_works_again(state: str, word: str) -> None:
    async with hearing() as (h, adapter, port):
        h.far.world.accounts[ACCOUNT].state = state
        await one(adapter, to_customer(1))
        assert ("desk1", word) in [told[:2] for told in port.account_states]
        h.far.world.accounts[ACCOUNT].state = "online"
        assert isinstance(await one(adapter, to_customer(2)), Sent)

        def last() -> tuple[str, str]:
            return [told[:2] for told in port.account_states if told[0] == "desk1"][-1]

        await port.until(lambda: last() == ("desk1", "up"), 10)


async def test_every_account_is_asked_now_and_then_by_one_process() -> None:
    async with hosting() as h:
        ports = h.port(), h.port()
        h.far.world.accounts["staff0003"].state = "limited"
        h.far.world.accounts["staff0004"].state = "banned"
        del h.far.world.accounts["staff0005"]
        async with h.adapter(ports[0], status_every=60), h.adapter(ports[1], status_every=60):

            def told() -> list[tuple[str, str]]:
                return [one_[:2] for port in ports for one_ in port.account_states]

            await ports[0].until(lambda: len(told()) == 20, 15)
            words = dict(told())
            assert len(words) == 20, "each by one process"
            assert words.pop("desk3") == "limited"
            assert words.pop("desk4") == "banned"
            assert words.pop("desk5") == "down"
            assert set(words.values()) == {"up"}
            h.far.world.accounts[ACCOUNT].state = "login_lost"
            h.clock.jump(130)
            await ports[0].until(lambda: ("desk1", "down") in told(), 15)
        for port in ports:
            await port.close()
