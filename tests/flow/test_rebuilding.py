"""A cap that is edited to look back further finds what was sent before: exactly what it leaves goes, as soon as that is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from msgcenter import recount
from msgcenter.clock import SystemClock
from msgcenter.stages.reserve import LOOK_AGAIN_MS
from protocols.outcome import Held, Suppressed
from tests.flow.rigging import (
    FarEnd,
    Jumping,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    until,
)
from tests.flow.test_policy import OPEN, pending, stored, to

DAY_MS = 86_400_000
CAP = "categories: {%s}\ncaps:\n  person: {scope: person, windows: [{rolling: %s, limit: %d}]}\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process runs by older rules here, and records reach the Store at once."""
    monkeypatch.setattr(recount, "LAG_S", 1.0)
    monkeypatch.setattr(recount, "LOOK_S", 0.2)


@pytest.mark.timeout(180)
async def test_three_a_day_becomes_four_a_week_and_one_more_leaves(tmp_path: Path) -> None:
    far, records = FarEnd(), Records()
    clock = Jumping(SystemClock().now_ms() - 30 * DAY_MS)
    folder = config_folder(
        tmp_path / "config", policy=CAP % (OPEN, "1d", 3), process="reload: {poll: 200ms}\n"
    )
    async with running(folder, scripted(far), records, sinks=stored, clock=clock) as app:
        first = [to(1) for _ in range(4)]
        await submit(app, first)
        await until(lambda: len(records.last()) == 4 and not pending(records), 90)
        assert len(far.taken) == 3
        clock.leap_to(clock.now_ms() + 2 * DAY_MS)  # the day's counters know nothing of them
        before = app.live.current.generation
        (folder / "policy.yaml").write_text(CAP % (OPEN, "7d", 4))
        await until(lambda: app.live.current.generation > before, 60)
        second = [to(1) for _ in range(4)]
        await submit(app, second)
        await until(lambda: len(records.last()) == 8 and not pending(records), 90)
    assert len([one for one in far.taken if one in {m.id for m in second}]) == 1
    refused = [r for r in records.last().values() if isinstance(r.outcome, Suppressed)]
    assert {r.outcome.rule for r in refused} == {"person"}
    ends = {r.envelope.id: r.at for r in records.last().values()}
    held = [r for r in records.of("submit") if isinstance(r.outcome, Held)]
    assert {r.outcome.rule for r in held} == {recount.REBUILDING}
    for one in held:  # asked again at the end of the count, not when the look would have come
        assert one.outcome.until - one.at <= LOOK_AGAIN_MS
        assert ends[one.envelope.id] < one.outcome.until
