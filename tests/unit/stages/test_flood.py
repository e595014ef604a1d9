"""flood: a human pace passes, a flood waits in its order and then is muted, who is blocked is archived only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.config.flood import FloodRate, FloodTerms
from msgcenter.customers import Block
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.pipeline import Item
from msgcenter.policy.retry import counts
from msgcenter.stages.flood import SLOWED, Flood
from msgcenter.state.memory import MemoryState
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.outcome import Retry, Suppressed
from protocols.payload import DeliveryReport
from tests.migrated import placed
from tests.unit.rig import T0, message, metrics

WHO = "tel:+8613800000002"
TERMS = FloodTerms(
    slow=FloodRate(messages=3, within=10.0),
    mute_at=5,
    mute_for=60.0,
    listed=FloodRate(messages=1, within=60.0),
)


class Rig:
    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.clock = clock
        self.state = MemoryState(clock)
        self.customers = CustomerWrites(self.state, store, CustomerLookup(store, clock), clock)
        self.flood = Flood(lambda: TERMS, self.customers, self.state, clock, metrics())
        self.count = 0

    def wrote(self, behind: int = 0, who: str = WHO, **more: object) -> Item:
        self.count += 1
        envelope = message(
            f"msg_{self.count}",
            inbound=True,
            to=Address("caller", "crm"),
            sender=Address.parse(who),
            person=who,
            **more,
        )
        return Item(envelope, behind=behind)

    async def run(self, *items: Item) -> list[str]:
        await self.flood(items)
        return [
            ""
            if item.outcome is None
            else item.outcome.code
            if isinstance(item.outcome, Retry)
            else getattr(item.outcome, "rule", "?")
            for item in items
        ]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    clock = ManualClock(T0)
    store = Store(placed(tmp_path), clock)
    await store.open()
    yield Rig(store, clock)
    await store.close()


async def test_what_is_over_the_pace_waits_and_then_goes_on(rig: Rig) -> None:
    assert await rig.run(rig.wrote(), rig.wrote(), rig.wrote()) == ["", "", ""]
    late = rig.wrote()
    assert await rig.run(late) == [SLOWED]
    assert isinstance(late.outcome, Retry)
    assert 0 < late.outcome.after <= 5
    assert not counts(late.outcome), "waiting for its turn uses up no budget"
    assert await rig.run(rig.wrote(who="tel:+8613800000003")) == [""], "others are not slowed"
    await rig.clock.advance(11)
    assert await rig.run(Item(late.envelope)) == [""]


async def test_when_too_many_wait_the_person_is_muted_for_a_while(rig: Rig) -> None:
    await rig.run(rig.wrote(), rig.wrote(), rig.wrote())
    assert await rig.run(rig.wrote(behind=3)) == [SLOWED]
    fourth = rig.wrote(behind=4)
    assert await rig.run(fourth) == ["muted"]
    assert fourth.decisions[-1].next_at == T0 + 60_000
    person = await rig.customers.lookup.one(WHO, T0)
    assert person is not None
    (block,) = person.blocks
    assert (block.level, block.until, block.reason) == (
        "mute",
        T0 + 60_000,
        "flood: 5 messages waited",
    )
    assert await rig.run(rig.wrote(), rig.wrote()) == ["muted", "muted"]
    await rig.customers.unblock(person.id, block.id, By("ops"))
    await rig.clock.advance(11)
    assert await rig.run(rig.wrote()) == [""], "it can be lifted"
    await rig.clock.advance(60)
    assert await rig.run(rig.wrote()) == [""]


async def test_the_block_list_works_for_people_who_are_no_contacts(rig: Rig) -> None:
    blocked = Block("b1", "block", reason="辱骂", at=T0)
    await rig.customers.block_of(WHO, T0, blocked, By("ops"))
    one = rig.wrote()
    assert await rig.run(one) == ["blocked"]
    assert one.outcome == Suppressed("blocked", "辱骂")
    assert await rig.run(rig.wrote(chat="room")) == ["blocked"], "in a group as well"


async def test_a_person_on_the_list_at_level_slow_has_a_pace_of_its_own(rig: Rig) -> None:
    await rig.customers.block_of(WHO, T0, Block("b1", "slow", at=T0), By("ops"))
    assert await rig.run(rig.wrote()) == [""]
    assert await rig.run(rig.wrote()) == [SLOWED]


async def test_what_it_leaves_alone(rig: Rig) -> None:
    in_a_group = [rig.wrote(chat="room") for _ in range(9)]
    assert await rig.run(*in_a_group) == [""] * 9, "everybody there would wait"
    receipt = rig.wrote()
    receipt.envelope = replace(receipt.envelope, payload=DeliveryReport("r", "delivered"))
    ours = rig.wrote()
    ours.envelope = replace(ours.envelope, to=Address("tel", "+8613800000009"))
    assert await rig.run(*([receipt, ours] * 5)) == [""] * 10
