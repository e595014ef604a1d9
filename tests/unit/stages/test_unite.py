"""unite and announce: what becomes of a second reading, and of a copy whose send is under way, made, or refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from msgcenter.adapter import Adapter, Dispatch, Spec
from msgcenter.clock import ManualClock
from msgcenter.pipeline import Item
from msgcenter.settle import OWN_COPY, SECOND_SOURCE
from msgcenter.stages.unite import LOOKS, Announce, Unite
from msgcenter.state import Conclude
from msgcenter.state.memory import MemoryState
from msgcenter.store.store import Store
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome, Rejected, Retry, Sent, Suppressed, Unknown
from protocols.payload import Happening, Text
from tests.migrated import placed

T0 = 1_790_000_000_000
CUSTOMER, STAFF = Address("wecom", "ww1/wm1"), Address("staff", "zhangsan")
SPECS = {
    "live": Spec("live", "live", shared=True, copied_within_s=600),
    "archive": Spec("archive", "archive", shared=True),
    "sms": Spec("sms", "sms"),
}


class Live(Adapter):
    spec: ClassVar[Spec] = SPECS["live"]
    Settings = BaseModel

    async def deliver(self, batch: Any) -> list[Outcome]:
        raise AssertionError("never called")

    def copied(self, dispatch: Dispatch) -> str:
        return f"{dispatch.sender}|wm1"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(placed(tmp_path), ManualClock(T0))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def state() -> MemoryState:
    return MemoryState(ManualClock(T0))


def heard(channel: str, number: int, text: str = "好", *, ours: bool = False, **more: Any) -> Item:
    return Item(
        Envelope(
            id=f"msg_{channel}{number}",
            caller="scrm",
            to=CUSTOMER if ours else Address("caller", "scrm"),
            category="inbound",
            tier=1,
            payload=more.pop("payload", Text(text)),
            created_at=T0 + 1000,
            sender=STAFF if ours else CUSTOMER,
            inbound=True,
            channel=channel,
            order_key="zhangsan|wm1",
            remote_id=f"r{number}",
            **more,
        )
    )


def sent(text: str = "好") -> Item:
    return Item(
        Envelope(
            id="msg_own",
            caller="scrm",
            to=CUSTOMER,
            category="reply",
            tier=1,
            payload=Text(text),
            created_at=T0,
            account="zhang-san",
            channel="live",
        )
    )


async def united(store: Store, state: MemoryState, *items: Item) -> list[Outcome | None]:
    await Unite(store, state, SPECS.get)(items)
    return [item.outcome for item in items]


async def announced(store: Store, item: Item) -> None:
    clock = ManualClock(T0)
    await Announce(store, Live(None, None), lambda account: "zhangsan", clock)([item])  # type: ignore[arg-type]


async def concluded(state: MemoryState, item: Item, outcome: Outcome) -> None:
    call = Conclude(item.envelope.key("channel"), wire.seal_outcome(outcome), "sent", 1)
    await state.conclude([call])


async def test_the_second_reading_is_suppressed_and_names_the_first(
    store: Store, state: MemoryState
) -> None:
    out = await united(store, state, heard("live", 1), heard("archive", 2))
    assert out == [None, Suppressed(SECOND_SOURCE, "msg_live1 0 0")]


async def test_channels_that_are_not_shared_and_happenings_are_left_alone(
    store: Store, state: MemoryState
) -> None:
    event = Happening("group_updated", "{}")
    items = [heard("sms", 1), heard("sms", 2), heard("live", 3, payload=event)]
    items.append(heard("archive", 4, payload=event))
    assert await united(store, state, *items) == [None] * 4


async def test_both_directions_are_kept_apart(store: Store, state: MemoryState) -> None:
    out = await united(store, state, heard("live", 1), heard("archive", 2, ours=True))
    assert out == [None, None]


@pytest.mark.parametrize("outcome", [Sent(("m1",)), Unknown("no answer")])
async def test_a_copy_of_what_we_sent_is_ours(
    store: Store, state: MemoryState, outcome: Outcome
) -> None:
    own = sent()
    await announced(store, own)
    await concluded(state, own, outcome)
    out = await united(store, state, heard("archive", 2, ours=True))
    assert out == [Suppressed(OWN_COPY, "msg_own 0 0")]
    assert await united(store, state, heard("archive", 2, ours=True)) == out


@pytest.mark.parametrize(
    "outcome", [Rejected("recipient", "", "gone"), Retry("message", ""), Suppressed("cancelled")]
)
async def test_what_never_left_has_no_copy(
    store: Store, state: MemoryState, outcome: Outcome
) -> None:
    own = sent()
    await announced(store, own)
    await concluded(state, own, outcome)
    assert await united(store, state, heard("archive", 2, ours=True)) == [None]


async def test_a_copy_whose_send_is_under_way_looks_again_and_is_told_in_the_end(
    store: Store, state: MemoryState
) -> None:
    await announced(store, sent())
    (out,) = await united(store, state, heard("archive", 2, ours=True))
    assert isinstance(out, Retry)
    assert await united(store, state, heard("archive", 2, ours=True, tries=LOOKS)) == [None]


async def test_other_words_are_somebody_elses(store: Store, state: MemoryState) -> None:
    own = sent()
    await announced(store, own)
    await concluded(state, own, Sent())
    assert await united(store, state, heard("archive", 2, "不好", ours=True)) == [None]


async def test_a_send_repeated_under_its_token_has_one_copy(
    store: Store, state: MemoryState
) -> None:
    """No answer, so it was asked for again; the far end did it once. What the human types next is the human's."""
    first = sent()
    await announced(store, first)
    await concluded(state, first, Unknown("no answer"))
    again = Item(first.envelope.again(counts=True, token_of=0))
    await announced(store, again)
    await concluded(state, again, Sent())
    out = await united(store, state, heard("archive", 2, ours=True), heard("archive", 3, ours=True))
    assert out == [Suppressed(OWN_COPY, "msg_own 0 0"), None]


async def test_a_send_repeated_anew_may_have_two_copies(store: Store, state: MemoryState) -> None:
    first = sent()
    await announced(store, first)
    await concluded(state, first, Unknown("no answer"))
    again = Item(first.envelope.again(counts=True, possibly_duplicate=True))
    await announced(store, again)
    await concluded(state, again, Sent())
    out = await united(store, state, heard("archive", 2, ours=True), heard("archive", 3, ours=True))
    assert {str(one.detail) for one in out if isinstance(one, Suppressed)} == {
        "msg_own 0 0",
        "msg_own 0 1",
    }


async def test_no_send_that_stays_under_way_holds_a_copy_for_ever(
    store: Store, state: MemoryState
) -> None:
    for number in range(3):
        own = sent()
        own.envelope = replace(own.envelope, id=f"msg_own{number}")
        await announced(store, own)
    assert await united(store, state, heard("archive", 2, ours=True, tries=LOOKS)) == [None]
