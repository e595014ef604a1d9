"""The Store's contract for pauses: one per gate, what waits for its end is let out once, in order of age, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.store import DueFilter, DueRow, PauseRow
from msgcenter.store.pauses import RESUMED, rule_of
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000
GATE = "campaign:spring"


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = placed(tmp_path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store_url")
    store = Store(url, ManualClock(T0))
    await store.open()
    yield store
    await store.close()


def waiting(number: int, lane: str = "bulk", gate: str = GATE) -> DueRow:
    # Ids of rows are hashes: they say nothing about age, message ids do.
    row = f"due{(number * 7919) % 10_000:05d}{lane}"
    rule = rule_of(gate) if gate else "send_at"
    return DueRow(row, T0 + 10**9, b"body", f"msg_{number:05d}", rule=rule, lane=lane)  # type: ignore[arg-type]


async def test_a_gate_has_one_pause_which_is_changed_and_ended_once(store: Store) -> None:
    await store.put_pause(PauseRow(GATE, T0, 0, "crm/k1", "wrong\x00 text"))
    await store.put_pause(PauseRow(GATE, T0 + 5, T0 + 100, "ops/k2"))
    await store.put_pause(PauseRow("caller:crm", T0 + 1, 0, "ops/k2"))
    assert await store.list_pauses() == (
        PauseRow("caller:crm", T0 + 1, 0, "ops/k2"),
        PauseRow(GATE, T0 + 5, T0 + 100, "ops/k2"),
    )
    assert not await store.end_pause(GATE, T0 + 9, began_by=T0), "another one has begun since"
    assert await store.end_pause(GATE, T0 + 9, began_by=T0 + 5)
    assert not await store.end_pause(GATE, T0 + 10, began_by=T0 + 10)
    assert [row.gate for row in await store.list_pauses()] == ["caller:crm"]
    assert [row.ended_at for row in await store.list_pauses(T0 + 9)] == [0, T0 + 9]
    assert len(await store.list_pauses(T0 + 10)) == 1


async def test_what_waits_is_let_out_once_in_order_of_lane_and_age(store: Store) -> None:
    rows = [waiting(n, "bulk" if n % 3 else "urgent") for n in range(2500)]
    other = [waiting(9000, gate="campaign:autumn"), waiting(9001, gate="")]
    await store.hold([*rows, *other])
    assert await store.count_paused() == {rule_of(GATE): 2500, "paused:campaign:autumn": 1}
    assert await store.release_paused(GATE, T0, 10_000) == 2500
    assert await store.count_paused() == {"paused:campaign:autumn": 1}
    page = await store.list_due(DueFilter(rule=RESUMED), limit=3000)
    assert len(page.items) == 2500
    out = [(row.lane, row.message) for row in page.items]
    assert out == sorted(out, key=lambda one: (one[0] == "bulk", one[1]))
    times = [row.at_ms for row in page.items]
    assert times == sorted(set(times))
    assert T0 <= times[0] < times[-1] < T0 + 10_000
    assert await store.release_paused(GATE, T0 + 77, 0) == 0, "what was let out keeps its time"
