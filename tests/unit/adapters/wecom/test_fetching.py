"""Files on their way home: a doorbell waits a moment, a slow file goes on coming, and its doorbell finds it when it looks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.wecom.fetching import CODE, LOOK_AGAIN_S, MOST, Fetching
from msgcenter.adapter import Retry, Sent, Unavailable
from msgcenter.ordered import IN_PLACE_MAX_S
from protocols.outcome import Outcome
from protocols.payload import Media, Pull, Text
from tests.unit.adapters.wecom.contact import parts as contact
from tests.unit.adapters.wecom.hosted.parts import hosting, to_customer
from tests.unit.adapters.wecom.parts import corp

PULL = Pull("file:1", "{}")
JPG = b"\xff\xd8\xff" + b"picture" * 10


class Slow:
    """A file that comes when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.begun = 0
        self.ended = asyncio.Event()

    async def fetch(self) -> Outcome:
        self.begun += 1
        try:
            await self.may.wait()
        finally:
            self.ended.set()
        return Sent((), "home")


@pytest.fixture
async def fetching() -> AsyncIterator[Fetching]:
    made = Fetching(moment_s=0.01)
    async with made.open():
        yield made


def waits(outcome: Outcome) -> bool:
    return isinstance(outcome, Retry) and (outcome.code, outcome.after) == (CODE, LOOK_AGAIN_S)


def test_the_core_parks_a_doorbell_that_is_to_look_again() -> None:
    assert LOOK_AGAIN_S > IN_PLACE_MAX_S


async def test_a_quick_file_is_answered_at_once(fetching: Fetching) -> None:
    slow = Slow()
    slow.may.set()
    assert await fetching(PULL, slow.fetch) == Sent((), "home")
    assert await fetching(PULL, slow.fetch) == Sent((), "home")
    assert slow.begun == 2, "what was answered is forgotten"


async def test_a_slow_one_is_begun_once_and_found_when_it_is_there(fetching: Fetching) -> None:
    slow = Slow()
    assert waits(await fetching(PULL, slow.fetch))
    assert waits(await fetching(PULL, slow.fetch))
    slow.may.set()
    await slow.ended.wait()
    assert await fetching(PULL, slow.fetch) == Sent((), "home")
    assert slow.begun == 1


async def test_a_failure_is_told_to_whoever_asks(fetching: Fetching) -> None:
    slow = Slow()

    async def fails() -> Outcome:
        await slow.fetch()
        raise Unavailable("the bus is down")

    assert waits(await fetching(PULL, fails))
    slow.may.set()
    with pytest.raises(Unavailable):
        await fetching(PULL, fails)
    assert waits(await fetching(PULL, Slow().fetch)), "begun anew"


async def test_only_so_many_are_under_way_and_what_nobody_asks_for_makes_room(
    fetching: Fetching,
) -> None:
    slows = [Slow() for _ in range(MOST)]
    for number, slow in enumerate(slows):
        assert waits(await fetching(Pull(f"file:{number}", ""), slow.fetch))
    late = Slow()
    assert waits(await fetching(Pull("file:late", ""), late.fetch))
    assert not late.begun
    slows[7].may.set()
    await slows[7].ended.wait()
    late.may.set()
    assert await fetching(Pull("file:late", ""), late.fetch) == Sent((), "home")


async def test_the_end_of_the_session_gives_up_what_is_under_way() -> None:
    fetching, slow = Fetching(moment_s=0.01), Slow()
    async with fetching.open():
        assert waits(await fetching(PULL, slow.fetch))
    assert slow.ended.is_set()
    again = Slow()
    again.may.set()
    async with fetching.open():
        assert await fetching(PULL, again.fetch) == Sent((), "home")


async def test_a_slow_file_delays_no_message_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()

    async def fetch(*_: Any) -> Outcome:
        return await slow.fetch()

    async with hosting() as h, h.adapter() as adapter:
        adapter.fetching = Fetching(moment_s=0.01)
        monkeypatch.setattr(adapter.inbox, "fetch", fetch)
        bell, message = to_customer(1, PULL, ""), to_customer(2, Text("您好"))
        first, second = await adapter.deliver([bell, message])
        assert waits(first)
        assert isinstance(second, Sent)
        assert not adapter._slots._slots.keys() & {PULL.source}, "nothing of a doorbell is kept"
        slow.may.set()
        assert await adapter.deliver([bell]) == [Sent((), "home")]


async def test_what_a_member_sent_to_the_contact_channel_delays_no_mass_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with corp() as c, contact.listening(c) as (adapter, port):
        adapter.fetching = Fetching(moment_s=0.01)
        medium = c.far.media.add("image", "现场.jpg", JPG)
        c.far.pusher.member_writes(
            userid="staff0005", msgtype="image", fields={"MediaId": medium.media_id}
        )
        await c.far.pusher.drained()
        [(pull, _)] = port.rung
        slow = Slow()
        fetch = adapter.inbox.fetch  # type: ignore[union-attr]

        async def late(*given: Any) -> Outcome:
            await slow.fetch()
            return await fetch(*given)

        monkeypatch.setattr(adapter.inbox, "fetch", late)
        bell = contact.to_customer(1, pull)
        first, second = await adapter.deliver([bell, contact.to_customer(2)])
        assert waits(first)
        assert isinstance(second, Sent)
        assert port.received == []
        slow.may.set()
        adapter.fetching._moment_s = 10.0
        assert await adapter.deliver([bell]) == [Sent()]
        assert slow.begun == 1
        [got] = port.received
        assert isinstance(got.payload, Media)
        assert port.files[got.payload.media].path.read_bytes() == JPG
        assert str(got.sender) == "staff:staff0005"
