"""The Store's contract for subscriptions: kept as given, changed one after the other, moved only within their generation, on SQLite and
PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.store import SubscriptionRow
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = placed(tmp_path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store_url")
    store = Store(url, ManualClock(T0))
    await store.open()
    yield store
    await store.close()


def row(number: int, caller: str = "crm") -> SubscriptionRow:
    return SubscriptionRow(
        f"sub_{number}", caller, f"https://crm.example.com/{number}", ["msgcenter.message.*"], T0, "W10",
        "mark", T0 + number, T0 + number,
    )  # fmt: skip


async def test_added_once_listed_and_removed(store: Store) -> None:
    assert await store.add_subscription(row(1), 2)
    assert await store.add_subscription(replace(row(1), url="https://other.example.com/"), 2)
    assert await store.add_subscription(row(2), 2)
    assert not await store.add_subscription(row(3), 2), "one more than the caller may have"
    assert await store.add_subscription(row(4, "iop"), 2)
    assert await store.subscription("sub_1") == row(1), "a repeat changes nothing"
    assert await store.list_subscriptions() == (row(1), row(2), row(4, "iop"))
    assert await store.list_subscriptions("crm") == (row(1), row(2))
    assert await store.remove_subscription("sub_1")
    assert not await store.remove_subscription("sub_1")
    assert await store.subscription("sub_1") is None


async def test_changes_at_once_all_count(store: Store) -> None:
    await store.add_subscription(row(1), 9)

    def one_more(found: SubscriptionRow) -> SubscriptionRow:
        return replace(found, secret_version=found.secret_version + 1, state="paused")

    await asyncio.gather(*[store.change_subscription("sub_1", one_more) for _ in range(8)])
    found = await store.subscription("sub_1")
    assert found == replace(row(1), secret_version=9, state="paused")
    assert await store.list_subscriptions(state="active") == ()
    assert await store.change_subscription("sub_9", one_more) is None


async def test_it_moves_only_within_its_generation(store: Store) -> None:
    await store.add_subscription(row(1), 9)
    assert await store.move_subscription("sub_1", T0, "later", T0 + 50)
    assert await store.subscription("sub_1") == replace(row(1), cursor="later", handed_at=T0 + 50)

    def replay(found: SubscriptionRow) -> SubscriptionRow:
        return replace(found, generation=T0 + 60, cursor="")

    await store.change_subscription("sub_1", replay)
    assert not await store.move_subscription("sub_1", T0, "late word of the old run", T0 + 70)
    found = await store.subscription("sub_1")
    assert found is not None
    assert (found.cursor, found.generation) == ("", T0 + 60)
    assert not await store.move_subscription("sub_9", T0, "x", T0)
