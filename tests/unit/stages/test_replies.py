"""replies: whoever writes is heard by the plans of its customer, from whichever of its addresses; nobody else's plan is."""

from __future__ import annotations

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers import Holding, Person
from msgcenter.pipeline import Item
from msgcenter.stages.plan import Replies
from msgcenter.state import Listing
from msgcenter.state.memory import MemoryState
from msgcenter.store import StoreError
from protocols.address import Address
from tests.unit.rig import Directory, message
from tests.unit.stages.gate import NOON

OLD, PHONE, WECOM = "tel:+8613800000001", "tel:+8613900000002", "wecom:ww1/app/wm1"
WHO = Person(
    "c-1",
    "c-1",
    members=("c-1", "c-2"),
    aliases=frozenset({"c-1", "c-2", OLD, PHONE, WECOM}),
    holdings=(Holding(OLD, 0, NOON - 1), Holding(PHONE), Holding(WECOM)),
)


def said(sender: str, id_: str = "in_1") -> Item:
    address = Address.parse(sender)
    return Item(message(id_, inbound=True, sender=address, person=sender, to=Address("caller", "crm")))  # fmt: skip


async def answered(listed: str, *items: Item, people: Directory | None = None) -> list[tuple[str, ...]]:  # fmt: skip
    clock = ManualClock(NOON)
    state = MemoryState(clock)
    await state.enlist([Listing(listed, "msg_plan", "replied", 60)])
    people = people or Directory(WHO)
    await Replies(state, people, clock)(items)
    assert len(people.asked) <= 1
    return [item.answered for item in items]


@pytest.mark.parametrize("sender", [PHONE, WECOM])
@pytest.mark.parametrize("listed", ["customer:c-1", "customer:c-2", "c-1", PHONE, WECOM])
async def test_any_address_of_the_customer_is_heard(sender: str, listed: str) -> None:
    assert await answered(listed, said(sender)) == [("msg_plan",)]


@pytest.mark.parametrize("listed", [OLD, "customer:c-9"])
async def test_a_number_that_is_the_customers_no_more_is_not(listed: str) -> None:
    assert await answered(listed, said(PHONE)) == [()]


async def test_one_round_trip_for_a_batch_and_a_stranger_stays_a_stranger() -> None:
    stranger = "tel:+8613700000009"
    items = [said(PHONE), said(stranger, "in_2"), said(WECOM, "in_3")]
    assert await answered("customer:c-1", *items) == [("msg_plan",), (), ("msg_plan",)]
    assert await answered(stranger, said(stranger)) == [("msg_plan",)]


async def test_without_the_directory_the_batch_comes_again() -> None:
    people = Directory(WHO)
    people.error = StoreError("away")
    with pytest.raises(StoreError):
        await answered("customer:c-1", said(PHONE), people=people)
