"""The Store's contract for channels: checkpoints and rows of files, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.store import MediaRow
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return placed(tmp_path)
    return request.getfixturevalue("postgres_store_url")


async def opened(url: str) -> Store:
    store = Store(url, ManualClock(T0))
    await store.open()
    return store


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await opened(url)
    yield store
    await store.close()


async def test_a_checkpoint_is_empty_at_first_and_outlives_the_process(url: str) -> None:
    store = await opened(url)
    assert await store.checkpoint("kf", "wk1") == ""
    await store.save_checkpoint("kf", "wk1", "cursor-1")
    await store.save_checkpoint("kf", "wk1", "cursor-2")
    await store.save_checkpoint("kf", "wk2\x00", "c" * 5000)
    await store.save_checkpoint("archive", "wk1", "77")
    await store.close()
    store = await opened(url)
    assert await store.checkpoint("kf", "wk1") == "cursor-2"
    assert await store.checkpoint("kf", "wk2\x00") == "c" * 5000
    assert await store.checkpoint("archive", "wk1") == "77"
    assert await store.checkpoint("kf", "nobody") == ""
    assert (await store.checkpoints("archive")) == {"wk1": ("77", T0)}
    await store.close()


async def test_many_sources_save_at_once(store: Store) -> None:
    await asyncio.gather(
        *(store.save_checkpoint("kf", f"s{n % 20}", f"{n:04d}") for n in range(200))
    )
    assert len(await store.checkpoints("kf")) == 20


def row(media: str, caller: str, **over: object) -> MediaRow:
    values = {"name": "a.png", "mime": "image/png", "size": 9, "sha256": "f" * 64, "created_at": T0}
    return MediaRow(media, caller, **{**values, **over})  # type: ignore[arg-type]


async def test_a_file_has_a_row_for_each_who_brought_it(store: Store) -> None:
    first = row("med_1", "crm", name="first.png")
    assert await store.add_media(first) == first
    assert await store.add_media(row("med_1", "crm", name="second.png")) == first
    theirs = row("med_1", "", name="in\x00.png")
    kept = await store.add_media(theirs)
    assert kept.caller == ""
    await store.add_media(row("med_2", "iop"))
    found = await store.find_media(["med_1", "med_2", "med_3", "med_1"])
    assert [(one.id, one.caller) for one in found] == [
        ("med_1", ""),
        ("med_1", "crm"),
        ("med_2", "iop"),
    ]
    assert await store.find_media([]) == []
