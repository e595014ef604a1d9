"""Gauges and the directory's counts: what waits and what answers is shown, what is gone is not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from msgcenter.archive.spill import Spill
from msgcenter.bus import Depth, Queue
from msgcenter.clock import ManualClock
from msgcenter.config import Strict, load
from msgcenter.directory import Directory
from msgcenter.gauges import Gauges
from msgcenter.policy.days import Days
from msgcenter.state import StateError
from msgcenter.state.memory import MemoryState
from msgcenter.store import AccountRow
from msgcenter.store.store import Store
from tests.unit.rig import LOG, T0, Failing, ListBus, metrics


class SimpleModel(Strict):
    pass


QUEUES = [Queue("submit", "urgent"), Queue("out.east", "bulk")]


class Depths(ListBus):
    """A bus whose queues hold what the test says, and that is as healthy as it says."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, Depth] = {}
        self.problem = ""

    async def depths(self, queues: Any) -> dict[str, Depth]:
        return {q.name: self.held[q.name] for q in queues if q.name in self.held}

    def healthy(self) -> str:
        return self.problem


class Rig:
    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.clock = clock
        self.bus, self.metrics = Depths(), metrics()
        self.state = Failing(MemoryState(clock, rng=random.Random(1)))
        self.queues, self.channels = list(QUEUES), {"east": ("sms", True), "note": ("inbox", False)}
        self.spilled: Mapping[str, Spill] = {}
        self.days = Days()
        self.gauges = Gauges(
            self.bus,  # type: ignore[arg-type]
            self.state,  # type: ignore[arg-type]
            store,
            lambda: self.channels,
            lambda: self.queues,
            lambda: self.spilled,
            lambda: self.days,
            clock=clock,
            metrics=self.metrics,
            log=LOG,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"msgcenter_{name}", labels)


@pytest.fixture
async def rig(tmp_path: Path):
    clock = ManualClock(T0)
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", clock)
    await store.open()
    await store.migrate()
    yield Rig(store, clock)
    await store.close()


async def test_a_queue_that_is_gone_takes_its_numbers_along(rig: Rig) -> None:
    rig.bus.held = {q.name: Depth(3, 1, 40.0) for q in QUEUES}
    await rig.gauges.once()
    assert rig.value("queue_depth", topic="out.east", lane="bulk") == 4
    assert rig.value("queue_oldest_seconds", topic="out.east", lane="bulk") == 40
    rig.queues.pop()
    await rig.gauges.once()
    assert rig.value("queue_oldest_seconds", topic="out.east", lane="bulk") is None
    assert rig.value("queue_depth", topic="out.east", lane="bulk") is None
    assert rig.value("queue_depth", topic="submit", lane="urgent") == 4


async def test_channels_are_told_with_their_kind_and_whether_they_report(rig: Rig) -> None:
    rig.gauges.channels()
    assert rig.value("channel_info", channel="east", kind="sms", receipts="true") == 1
    assert rig.value("channel_info", channel="note", kind="inbox", receipts="false") == 1
    rig.channels = {"east": ("sms", False)}
    rig.gauges.channels()
    assert rig.value("channel_info", channel="east", kind="sms", receipts="true") is None
    assert rig.value("channel_info", channel="east", kind="sms", receipts="false") == 1
    assert rig.value("channel_info", channel="note", kind="inbox", receipts="false") is None


async def test_a_part_that_does_not_answer_is_down(rig: Rig) -> None:
    await rig.gauges.parts()
    assert [rig.value("part_up", part=part) for part in ("bus", "state", "store")] == [1, 1, 1]
    rig.bus.problem = "the broker is blocked"
    rig.state.broken["ping"] = (StateError("gone"), 1)
    await rig.gauges.parts()
    assert [rig.value("part_up", part=part) for part in ("bus", "state", "store")] == [0, 0, 1]
    rig.bus.problem = ""
    await rig.gauges.parts()
    assert [rig.value("part_up", part=part) for part in ("bus", "state", "store")] == [1, 1, 1]


ACCOUNTS = "\n".join(
    f"{name}: {{kind: devnull, channel: {channel}, address: {name}{more}}}"
    for name, channel, more in (
        ("quiet", "hosted", ""),
        ("talks", "hosted", ""),
        ("fresh", "hosted", ""),
        ("gone", "hosted", ", state: retired"),
        ("out", "hosted", ""),
        ("mute", "hosted", ""),
        ("elsewhere", "other", ""),
    )
)
HOUR = 3_600_000


async def test_accounts_that_should_talk_and_do_not_are_counted(tmp_path: Path) -> None:
    clock, shown = ManualClock(T0), metrics()
    rows = {
        "quiet": AccountRow("quiet", "hosted", "up", last_in=T0 - 7 * HOUR, last_out=T0 - 8 * HOUR),
        "talks": AccountRow("talks", "hosted", "up", last_in=T0 - 9 * HOUR, last_out=T0 - HOUR),
        "fresh": AccountRow("fresh", "hosted", "up"),
        "gone": AccountRow("gone", "hosted", "up", last_in=1),
        "out": AccountRow("out", "hosted", "down", last_in=1),
        "mute": AccountRow("mute", "hosted", "up", last_in=1, revoked_at=2),
        "elsewhere": AccountRow("elsewhere", "other", "up", last_in=1),
    }
    config = tmp_path / "config"
    config.mkdir()
    (config / "accounts.yaml").write_text(ACCOUNTS)
    (config / "routes.yaml").write_text("routes: [{kind: devnull, channel: other}]\n")

    def read(hosted: str) -> Any:
        (config / "channels.yaml").write_text(f"hosted: {hosted}\nother: {{kind: devnull}}\n")
        return load(config, settings_models={"devnull": SimpleModel}, env={}, clock=clock)

    current = [read("{kind: devnull, silent_after: 6h}")]
    directory = Directory(
        lambda: current[0],
        bus=ListBus(),  # type: ignore[arg-type]
        state=MemoryState(clock, rng=random.Random(1)),
        store=SimpleNamespace(account_states=_answering(rows)),  # type: ignore[arg-type]
        clock=clock,
        metrics=shown,
        log=CapturingLogger(),
        partitions=1,
    )
    await directory.refresh()
    value = shown.registry.get_sample_value
    assert value("msgcenter_accounts_silent", {"channel": "hosted"}) == 1
    assert value("msgcenter_accounts_silent", {"channel": "other"}) is None
    await clock.advance(6 * 3600)
    await directory.refresh()
    assert value("msgcenter_accounts_silent", {"channel": "hosted"}) == 2
    current[0] = read("{kind: devnull}")
    await directory.refresh()
    assert value("msgcenter_accounts_silent", {"channel": "hosted"}) is None


def _answering(rows: dict[str, AccountRow]) -> Any:
    async def account_states() -> dict[str, AccountRow]:
        return dict(rows)

    return account_states


async def test_years_without_holidays_are_shown_before_they_begin(rig: Rig) -> None:
    clock = rig.clock
    known = max(year for year in range(2020, 2100) if rig.days.of(date(year, 10, 1)).known)
    year_ends = datetime(known, 12, 31, tzinfo=UTC).timestamp()
    await clock.advance(year_ends - 90 * 86400 - clock.now_ms() / 1000)
    rig.gauges.calendar()
    assert rig.value("holidays_unknown_years") == 0
    await clock.advance(60 * 86400)
    rig.gauges.calendar()
    assert rig.value("holidays_unknown_years") == 1
    rig.days = Days({date(known + 1, 5, 1): "holiday"})
    rig.gauges.calendar()
    assert rig.value("holidays_unknown_years") == 0
