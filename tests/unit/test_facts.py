"""Facts: one look-up for a micro-batch, none where no rule asks, and a changed tag counts at the next decision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.config import Config
from msgcenter.customers import Person
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.sheet import Claim, Put
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.facts import FactBook, facts_of, organisation_of
from msgcenter.pipeline import Item
from msgcenter.policy.when import Facts
from msgcenter.stages.route import Route, Target
from msgcenter.state.memory import MemoryState
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Routed
from tests.unit.rig import SPEC, T0, lookup, message
from tests.unit.test_config import read, write
from tests.unit.test_routes_config import CHANNELS, ENV

TEL = "tel:+8613800138000"
BY = By("crm", "k")
ACCOUNTS = """
province: {kind: sms, channel: east, number: '10086', organisation: 广东, agent: own}
shop: {kind: sms, channel: east, number: '10087', organisation: 湖南/长沙, agent: partner}
"""


class People:
    """The directory, counted."""

    def __init__(self, lookup: CustomerLookup) -> None:
        self.lookup = lookup
        self.asked: list[list[str]] = []

    async def many(self, asked: Iterable[str], at: int) -> Mapping[str, Person]:
        self.asked.append(sorted(asked))
        return await self.lookup.many(self.asked[-1], at)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
async def writes(tmp_path: Path, clock: ManualClock) -> AsyncIterator[CustomerWrites]:
    store = Store(f"sqlite:///{tmp_path}/s.db", clock)
    await store.open()
    await store.migrate()
    yield CustomerWrites(MemoryState(clock), store, CustomerLookup(store, clock), clock)
    await store.close()


def configured(folder: Path, routes: str) -> Config:
    write(folder, channels=CHANNELS, accounts=ACCOUNTS, routes=f"routes:\n{routes}")
    return read(folder, ENV)


TAGGED = (
    "- {name: vip, kind: sms, channel: direct, when: {tags: [vip]}}\n- {kind: sms, channel: east}\n"
)


def route_of(config: Config, book: FactBook) -> Route:
    def choose(kind: str, envelope: Envelope, facts: Facts) -> Target | None:
        chosen = config.rules.routing.choose(kind, facts)
        return chosen and Target(chosen.channel, SPEC, chosen.rule, chosen.facts)

    return Route(choose, lambda _: None, lookup(ManualClock()), book.for_routes)


async def test_a_changed_tag_routes_the_next_message(
    tmp_path: Path, writes: CustomerWrites, clock: ManualClock
) -> None:
    config = configured(tmp_path, TAGGED)
    people = People(writes.lookup)
    stage = route_of(config, FactBook(lambda: config, people, clock))
    await writes.put([Put("c1", addresses=(Claim(TEL),))], BY)
    await writes.lookup.catch_up()

    async def routed() -> tuple[object, str]:
        items = [
            Item(message(to=Address.parse(to), channels=("sms",)))
            for to in (TEL, "tel:+8613900139000")
        ]
        await stage(items)
        assert items[1].outcome == Routed(("east",))
        return items[0].outcome, items[0].decisions[0].rule

    assert await routed() == (Routed(("east",)), "routes[1]")
    await writes.put([Put("c1", tags=("vip",))], BY)
    assert await routed() == (Routed(("direct",)), "vip")
    await writes.put([Put("c1", tags=())], BY)
    assert await routed() == (Routed(("east",)), "routes[1]")
    assert people.asked == [sorted((TEL, "tel:+8613900139000"))] * 3


async def test_nobody_is_looked_up_where_no_route_asks(
    tmp_path: Path, writes: CustomerWrites, clock: ManualClock
) -> None:
    config = configured(
        tmp_path,
        "- {kind: sms, channel: west, when: {categories: [marketing]}}\n- {kind: sms, channel: east}\n",
    )
    people = People(writes.lookup)
    (facts,) = await FactBook(lambda: config, people, clock).for_routes(
        [message(channels=("sms",))]
    )
    assert people.asked == []
    assert (facts.person, facts.payload, facts.channel) == (message().person, "text", "sms")


@pytest.mark.parametrize(
    ("account", "customer", "organisation", "agent"),
    [
        ("", "广东/广州", ("广东", "广州"), "field"),
        ("province", "广东/广州", ("广东", "广州"), "own"),
        ("province", "湖南/长沙", ("广东",), "own"),
        ("shop", "广东/广州", ("湖南", "长沙"), "partner"),
        ("shop", "", ("湖南", "长沙"), "partner"),
        ("", "", (), "field"),
    ],
)
def test_the_place_is_the_senders_or_the_customers_within_it(
    tmp_path: Path, account: str, customer: str, organisation: tuple[str, ...], agent: str
) -> None:
    config = configured(tmp_path, TAGGED)
    person = Person("c1", "c1", organisation=customer, agent="field")
    envelope = message(account=account, channels=("sms",))
    assert organisation_of(config, envelope, person) == organisation
    assert facts_of(config, envelope, person, T0).agent == agent
