"""The inbox adapter: what it puts in and takes back, the news for a console, what it does when news cannot be told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from adapters.inbox import Inbox, InboxSettings
from adapters.sim.rigs import _Shelf, dispatch_of
from msgcenter.adapter import Account, Unreachable
from protocols.address import Address
from protocols.errors import Malformed
from protocols.outcome import Rejected, Sent, Unknown
from protocols.payload import Card, Happening, MiniProgram, Native, Recall, Text
from tests.port import FakePort

ME = Address("staff", "zhangsan")


@pytest.fixture
async def port() -> AsyncIterator[FakePort]:
    port = FakePort("desk")
    yield port
    await port.close()


@pytest.fixture
def shelf(port: FakePort) -> _Shelf:
    return _Shelf(port)


@pytest.fixture
def inbox(shelf: _Shelf) -> Inbox:
    return Inbox(InboxSettings(), shelf)  # type: ignore[arg-type]


async def test_what_is_put_in_is_delivered_and_the_console_hears_of_it(
    inbox: Inbox, shelf: _Shelf, port: FakePort
) -> None:
    port.known_accounts = [Account("console", "scrm-console")]
    one = dispatch_of(1, ME, Card("待办", "三件", "https://scrm.example/1"))
    assert await inbox.deliver([one]) == [Sent((one.envelope.id,))]
    assert shelf.items[one.envelope.id].content["title"] == "待办"
    [news] = port.received
    assert isinstance(news.payload, Happening)
    assert (news.payload.kind, news.account_number) == ("inbox_posted", "scrm-console")
    assert json.loads(news.payload.body)["id"] == one.envelope.id
    assert [r.report.state for r in port.reports] == ["delivered"]
    recall = dispatch_of(2, ME, Recall(one.envelope.id, (one.envelope.id,)))
    assert await inbox.deliver([recall]) == [Sent()]
    assert not shelf.items
    assert port.received[-1].remote_id == f"inbox_withdrawn:{one.envelope.id}"
    [outcome] = await inbox.deliver([recall])
    assert isinstance(outcome, Rejected)
    assert outcome.code == "not_in_inbox"


async def test_nothing_is_lost_when_store_or_bus_are_away(
    inbox: Inbox, shelf: _Shelf, port: FakePort
) -> None:
    one = dispatch_of(1, ME, Text("好"))
    shelf.away = True
    with pytest.raises(Unreachable):
        await inbox.deliver([one])
    shelf.away, shelf.lose = False, 1
    [outcome] = await inbox.deliver([one])
    assert isinstance(outcome, Unknown)
    assert await inbox.deliver([one]) == [Sent((one.envelope.id,))]  # idempotent: sent again
    assert len(port.reports) == 1


async def test_what_cannot_be_shown_is_refused_before_it_is_claimed(inbox: Inbox) -> None:
    for wrong in (
        dispatch_of(1, Address("tel", "+8613800138000"), Text("好")),
        dispatch_of(2, ME, MiniProgram("wx1", "p", "t")),
        dispatch_of(3, ME, Native("x", "[")),
    ):
        with pytest.raises(Malformed):
            inbox.render(wrong.envelope)
    inbox.render(dispatch_of(4, ME, Native("x", '{"a":1}')).envelope)
