"""The Store's contract for inboxes: positions without gaps, exact unread counts, repeats that change nothing, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.store import InboxRow
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000
ME, YOU = "staff:me", "staff:you"


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = placed(tmp_path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store_url")
    store = Store(url, ManualClock(T0))
    await store.open()
    yield store
    await store.close()


def item(number: int, owner: str = ME) -> InboxRow:
    content = {"type": "text", "text": f"第{number}条\x00"}
    return InboxRow(f"msg_{number:03d}", owner, "desk", "crm", "care", T0 + number, content, "r")


async def test_unread_read_withdrawn(store: Store) -> None:
    assert await store.put_in([item(1), item(2), item(3, YOU)], 100) == [True] * 3
    assert await store.put_in([item(1)], 100) == [True]  # a repeat
    page = await store.inbox(ME, before=None)
    assert ([row.id for row in page.items], page.unread, page.position) == (
        ["msg_002", "msg_001"], 2, 2,
    )  # fmt: skip
    [read] = await store.mark_inbox_read(["msg_001", "nothing"], T0 + 50)
    assert (read.read_at, read.position) == (T0 + 50, 3)
    [again] = await store.mark_inbox_read(["msg_001"], T0 + 60)
    assert again.read_at == T0 + 50
    assert (await store.inbox(ME, before=None)).unread == 1
    assert [r.id for r in (await store.inbox(ME, unread=True, before=None)).items] == ["msg_002"]
    gone = await store.withdraw_inbox(["msg_001", "msg_002", "nothing"], T0 + 70)
    assert {row.id: row.content for row in gone} == {"msg_001": {}, "msg_002": {}}
    assert await store.mark_inbox_read(["msg_002"], T0 + 80) == []
    page = await store.inbox(ME, before=None)
    assert (page.items, page.unread) == ((), 0)
    assert (await store.inbox(YOU, before=None)).unread == 1


async def test_a_reader_resumes_and_sees_the_present_state_once(store: Store) -> None:
    await store.put_in([item(number) for number in range(1, 6)], 100)
    first = await store.inbox_changes(ME, 0, limit=2)
    assert ([row.id for row in first.items], first.position) == (["msg_001", "msg_002"], 2)
    await store.mark_inbox_read(["msg_004"], T0)
    await store.withdraw_inbox(["msg_001"], T0)
    rest = await store.inbox_changes(ME, first.position)
    assert [row.id for row in rest.items] == ["msg_003", "msg_005", "msg_004", "msg_001"]
    assert rest.items[-1].withdrawn_at
    assert rest.unread == 3
    assert (await store.inbox_changes(ME, rest.position)).items == ()
    assert (await store.inbox_changes("staff:nobody", 7)).position == 7


async def test_a_full_inbox_takes_no_more_but_knows_repeats(store: Store) -> None:
    assert await store.put_in([item(1), item(2), item(3)], 2) == [True, True, False]
    assert await store.put_in([item(1)], 2) == [True]
    await store.mark_inbox_read(["msg_001"], T0)
    assert await store.put_in([item(3)], 2) == [True]


async def test_pages(store: Store) -> None:
    await store.put_in([item(number) for number in range(10)], 100)
    seen: list[str] = []
    before: tuple[int, str] | None = None
    while page := (await store.inbox(ME, before=before, limit=3)).items:
        seen += [row.id for row in page]
        before = page[-1].at, page[-1].id
    assert seen == [f"msg_{number:03d}" for number in reversed(range(10))]


async def test_writers_at_once_leave_no_gap(store: Store) -> None:
    await asyncio.gather(*[store.put_in([item(number)], 1000) for number in range(30)])
    await asyncio.gather(*[store.mark_inbox_read([f"msg_{n:03d}"], T0) for n in range(0, 30, 3)])
    page = await store.inbox_changes(ME, 0, limit=100)
    assert (page.position, page.unread, len(page.items)) == (40, 20, 30)
    assert len({row.position for row in page.items}) == 30
