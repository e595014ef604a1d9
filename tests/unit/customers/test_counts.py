"""Whoever turns out to be one person has one allowance: what was counted before counts on, and what is under way is counted again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers import Link
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.sheet import Claim, Put
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.stages.deliver import gates
from msgcenter.stages.policy import Policy
from msgcenter.stages.reserve import Reserve
from msgcenter.stages.resolve import Recipients
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Held, Rejected, Routed, Sent, Suppressed
from tests.migrated import placed
from tests.unit.rig import message, metrics, rules
from tests.unit.stages.test_rules import CAP, NOON, Gate

BY = By("crm", "k")
A, B = "tel:+8613800138000", "tel:+8613900139000"
HOLD = CAP % "on_cap: hold, max_wait: 2h"


class Town(Gate):
    """The stages over a directory that is a Store, as one process has them."""

    def __init__(self, policy: str, store: Store) -> None:
        super().__init__(policy)
        clock = self.clock
        book = rules(policy)
        self.directory = CustomerWrites(
            self.state,
            store,
            CustomerLookup(store, clock),
            clock,
            counters=lambda key: book().counters_of(key),
        )
        policy_stage = Policy(book, clock, metrics())
        self.stages = (
            Recipients(self.directory.lookup, book, clock),
            policy_stage,
            Reserve(self.state, policy_stage, book, clock, lambda: False),
        )
        self.number = 0

    def to(self, address: str, **more: object) -> Envelope:
        self.number += 1
        return message(f"m{self.number}", channel="", to=Address.parse(address), **more)

    async def leave(self, address: str, count: int = 1) -> int:
        """How many of so many leave."""
        items = await self(*(self.to(address) for _ in range(count)))
        sent = await self.send([item for item in items if isinstance(item.outcome, Routed)])
        return sum(isinstance(item.outcome, Sent) for item in sent)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(placed(tmp_path), ManualClock(NOON))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def town(store: Store) -> Town:
    town = Town(HOLD, store)
    await town.directory.put([Put("a", addresses=(Claim(A),)), Put("b", addresses=(Claim(B),))], BY)
    return town


def link(canonical: str = "") -> Link:
    return Link("l1", "a", "b", "same id card", canonical=canonical, at=NOON)


@pytest.mark.parametrize("canonical", ["a", "b"])
async def test_linked_customers_have_one_allowance(town: Town, canonical: str) -> None:
    assert (await town.leave(A, 1), await town.leave(B, 1)) == (1, 1)
    await town.directory.link(link(canonical), BY)
    assert await town.leave(A, 2) == 1
    assert await town.leave(B, 2) == 0
    assert await town.leave("customer:a", 1) == 0
    await town.clock.advance(3601)
    assert await town.leave(B, 5) == 3


async def test_what_is_under_way_by_the_old_name_is_decided_anew(town: Town) -> None:
    assert await town.leave(A, 2) == 2
    on_its_way = await town(*(town.to(B) for _ in range(3)))
    assert {type(item.outcome) for item in on_its_way} == {Routed}
    await town.directory.link(link("a"), BY)
    stopped = await town.send(on_its_way)
    assert [type(item.outcome) for item in stopped] == [Held] * 3
    assert stopped[0].decisions[-1].rule == "linked"
    assert len(town.rig.adapter.taken) == 2
    again = await town.settle(stopped, "channel")
    assert not again, "they are due rows"
    assert await town.leave(B, 3) == 1


async def test_a_number_that_gets_an_owner_brings_what_was_sent_to_it(town: Town) -> None:
    number = "tel:+8613700137000"
    assert await town.leave(number, 2) == 2
    await town.directory.put([Put("a", addresses=(Claim(A), Claim(number)))], BY)
    assert await town.leave(A, 3) == 1
    await town.directory.put([Put("new", addresses=(Claim("tel:+8613600136000"),))], BY)
    assert await town.leave("customer:new", 5) == 3


async def test_a_number_that_was_given_out_again_starts_empty(town: Town) -> None:
    assert await town.leave(A, 5) == 3
    now = town.clock.now_ms()
    await town.directory.put([Put("a", addresses=(Claim(A, 0, now),))], BY)
    await town.clock.advance(1)
    assert await town.leave(A, 5) == 3, "somebody else has it now"
    await town.directory.put([Put("c", addresses=(Claim(A, now),))], BY)
    assert await town.leave(A, 1) == 0, "the new owner is who was written to since"
    assert await town.leave("customer:c", 1) == 0
    assert isinstance((await town(town.to("customer:a")))[0].outcome, Rejected), "no address left"


async def test_parted_again_both_keep_what_went_to_one_of_them(town: Town) -> None:
    assert await town.leave(B, 1) == 1
    await town.directory.link(link("a"), BY)
    assert await town.leave(A, 1) == 1
    await town.directory.unlink("a", "b", BY)
    assert (await town.leave(A, 3), await town.leave(B, 3)) == (1, 1)
    await town.clock.advance(3601)
    assert (await town.leave(A, 5), await town.leave(B, 5)) == (3, 3)


async def test_a_coupon_that_one_has_the_other_has_too(town: Town) -> None:
    [first] = await town(town.to(B, once_key="gift"))
    await town.send([first])
    await town.directory.link(link("a"), BY)
    [second] = await town(town.to(A, once_key="gift"))
    assert second.outcome == Suppressed("once:gift", "1 of 1")


async def test_erased_and_written_to_again(town: Town) -> None:
    assert await town.leave(A, 2) == 2
    await town.directory.erase("a", BY)
    assert await town.leave(A, 3) == 1


async def test_only_who_pays_meets_the_gate(town: Town) -> None:
    free, paying = town.to(A), replace(town.to(A), reservation="m9")
    assert not [gate for gate in gates(free) if gate.startswith("moved:")]
    assert [gate for gate in gates(paying) if gate.startswith("moved:")] == [f"moved:{A}"]
