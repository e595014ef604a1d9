"""Rollout: a changed rule file waits for its approvals in every process, also over a restart; break-glass ends, rollback holds until
the folder changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from msgcenter.clock import ManualClock
from msgcenter.config import Config, Strict, load
from msgcenter.live import Live, live_config
from msgcenter.metrics import Metrics
from msgcenter.rollout import NoSuchVersion, Rollout
from msgcenter.store import StoreError
from msgcenter.store.store import Store
from tests.unit.rig import metrics

MODELS = {"devnull": Strict}
APPROVALS = """
approvals:
  rules: {files: [policy.yaml, cities/*], roles: [business, legal]}
"""


def caps(limit: int) -> str:
    return (
        f"caps: {{daily: {{scope: person, windows: [{{rolling: 1d, limit: {limit}}}],"
        f" on_cap: drop}}}}\n{APPROVALS}"
    )


class Process:
    """What one process has of it: a Live with its gate, over a Store that all share."""

    def __init__(self, folder: Path, store: Store, clock: ManualClock) -> None:
        self.folder, self.store, self.clock = folder, store, clock
        self.metrics: Metrics = metrics()
        log = CapturingLogger()
        self.rollout = Rollout(store, self.read, clock=clock, metrics=self.metrics, log=log)
        self.live: Live[Config]
        self.log = log

    def read(self, texts: Mapping[str, bytes] | None = None) -> Config:
        return load(self.folder, settings_models=MODELS, env={}, clock=self.clock, texts=texts)

    async def start(self) -> Process:
        self.live = live_config(
            await self.rollout.begin(self.read()),
            settings_models=MODELS,
            env={},
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
            gate=self.rollout,
        )
        return self

    @property
    def limit(self) -> int | None:
        return self.live.current.policy.caps["daily"].windows[0].limit

    @property
    def waiting(self) -> float:
        return self.metrics.config_waiting_approval._value.get()


class Desk:
    def __init__(self, folder: Path, store: Store, clock: ManualClock) -> None:
        self.folder, self.store, self.clock = folder, store, clock
        folder.mkdir()
        self.write("channels.yaml", "a: {kind: devnull}\n")
        self.write("policy.yaml", caps(3))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def process(self) -> Process:
        return await Process(self.folder, self.store, self.clock).start()

    async def history(self) -> list[tuple[int, str]]:
        return [(v.number, v.how) for v in await self.store.config_versions()][::-1]


@pytest.fixture(params=["sqlite", "postgres"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock()
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    store = Store(url, clock)
    await store.open()
    await store.migrate()
    yield Desk(tmp_path / "config", store, clock)
    await store.close()


async def test_only_the_approved_text_comes_into_force_and_in_every_process(desk: Desk) -> None:
    one, two = await desk.process(), await desk.process()
    desk.write("policy.yaml", caps(4))
    desk.write("channels.yaml", "a: {kind: devnull}\nb: {kind: devnull, enabled: false}\n")
    for process in (one, two):
        assert (await process.live.reload()).result == "waiting"
        assert (process.limit, process.waiting, len(process.live.current.channels)) == (3, 2, 1)
    assert one.rollout.standing.why == (
        "policy.yaml needs the approval of business; policy.yaml needs the approval of legal"
    )
    assert not await two.rollout.moved()
    assert [a.role for a in await one.rollout.approve(["business"], "crm/k1")] == ["business"]
    assert await two.rollout.moved(), "the other process hears of it"
    assert (await two.live.reload()).result == "waiting"
    assert two.rollout.standing.why == "policy.yaml needs the approval of legal"
    await one.live.reload()
    await one.rollout.approve(["legal"], "crm/k1")
    assert (await one.live.reload()).result == "waiting", "one person speaks for one role only"
    await desk.clock.advance(1)
    await one.rollout.approve(["legal"], "law/k2")
    for process in (one, two):
        assert await process.rollout.moved()
        assert (await process.live.reload()).result == "swapped"
        assert (process.limit, process.waiting) == (4, 0)
        assert not await process.rollout.moved()
    assert await desk.history() == [(1, "edit"), (2, "approved")]


async def test_an_approval_is_for_exactly_one_text(desk: Desk) -> None:
    one = await desk.process()
    desk.write("policy.yaml", caps(4))
    await one.live.reload()
    await one.rollout.approve(["business"], "crm/k1")
    await one.rollout.approve(["legal"], "law/k2")
    desk.write("policy.yaml", caps(400))
    assert (await one.live.reload()).result == "waiting"
    assert (one.limit, one.waiting) == (3, 2)
    desk.write("policy.yaml", caps(4))
    assert (await one.live.reload()).result == "swapped"
    assert one.limit == 4


async def test_a_rejection_is_told_and_taken_back_by_the_same_person(desk: Desk) -> None:
    one = await desk.process()
    desk.write("policy.yaml", caps(4))
    await one.live.reload()
    await one.rollout.approve(["business"], "crm/k1")
    await one.rollout.approve(["legal"], "law/k2", reject=True)
    await one.live.reload()
    assert one.rollout.standing.why == "policy.yaml rejected as legal by law/k2"
    await desk.clock.advance(1)
    await one.rollout.approve(["legal"], "law/k2")
    assert (await one.live.reload()).result == "swapped"


async def test_a_restart_is_no_way_round(desk: Desk) -> None:
    await desk.process()
    desk.write("policy.yaml", caps(9).replace(APPROVALS, ""))
    again = await desk.process()
    assert (again.limit, again.waiting) == (3, 2)
    assert again.live.current.rules.approvals, "a change cannot lift its own approval"
    assert (await again.live.reload()).result == "waiting"


async def test_what_needs_no_approval_is_taken_at_once(desk: Desk) -> None:
    one = await desk.process()
    desk.write("channels.yaml", "b: {kind: devnull}\n")
    assert (await one.live.reload()).result == "swapped"
    assert await desk.history() == [(1, "edit"), (2, "edit")]


async def test_break_glass_is_taken_and_taken_back_unless_it_is_approved(desk: Desk) -> None:
    one, two = await desk.process(), await desk.process()
    desk.write("policy.yaml", caps(1))
    await one.live.reload()
    await one.rollout.break_glass("ops/k9", "customers complain", 3600)
    for process in (one, two):
        assert (await process.live.reload()).result == "swapped"
        assert process.limit == 1
        assert process.metrics.config_break_glass._value.get() == 1
    desk.write("policy.yaml", caps(2))
    assert (await one.live.reload()).result == "waiting", "the glass was broken for one text only"
    assert (one.limit, one.waiting) == (1, 2)
    desk.write("policy.yaml", caps(1))
    await one.live.reload()
    assert not await two.rollout.moved()
    await desk.clock.advance(3600)
    for process in (one, two):
        assert await process.rollout.moved()
        assert (await process.live.reload()).result == "swapped"
        assert (process.limit, process.waiting) == (3, 2)
        assert process.metrics.config_break_glass._value.get() == 0
        assert not await process.rollout.moved()
    assert await desk.history() == [(1, "edit"), (2, "break_glass"), (3, "expired")]
    audit = (await desk.store.list_audit(who="ops/k9")).items
    assert [row.what for row in audit] == ["config.break_glass"]
    assert audit[0].detail["reason"] == "customers complain"


async def test_break_glass_that_is_approved_in_time_stays(desk: Desk) -> None:
    one = await desk.process()
    desk.write("policy.yaml", caps(1))
    await one.live.reload()
    await one.rollout.break_glass("ops/k9", "storm", 3600)
    await one.live.reload()
    assert (one.limit, one.waiting) == (1, 2), "in force, and still to be approved"
    assert len(await one.rollout.approve(["business"], "crm/k1")) == 1
    await one.live.reload()
    assert (one.limit, one.waiting) == (1, 1)
    assert one.metrics.config_break_glass._value.get() == 1
    await desk.clock.advance(1)
    assert len(await one.rollout.approve(["legal"], "law/k2")) == 1
    assert await one.rollout.moved()
    await one.live.reload()
    assert (one.limit, one.waiting) == (1, 0)
    assert one.metrics.config_break_glass._value.get() == 0
    await desk.clock.advance(3600)
    await one.live.reload()
    assert one.limit == 1
    assert await desk.history() == [(1, "edit"), (2, "break_glass"), (3, "approved")]


async def test_rollback_holds_in_every_process_until_the_folder_changes(desk: Desk) -> None:
    desk.write("policy.yaml", caps(3).replace(APPROVALS, ""))
    one, two = await desk.process(), await desk.process()
    desk.write("policy.yaml", caps(4).replace(APPROVALS, ""))
    await one.live.reload()
    await two.live.reload()
    assert (one.limit, two.limit) == (4, 4)
    assert (await one.rollout.roll_back("ops/k9", "wrong")).number == 1
    for process in (one, two):
        assert await process.rollout.moved()
        assert (await process.live.reload()).result == "swapped"
        assert process.limit == 3
        assert "rolled back to version 1 by ops/k9 (wrong)" in process.rollout.standing.why
        assert not await process.rollout.moved()
    assert (await desk.process()).limit == 3, "also after a restart"
    desk.write("policy.yaml", caps(5).replace(APPROVALS, ""))
    for process in (one, two):
        assert (await process.live.reload()).result == "swapped"
        assert (process.limit, process.rollout.standing.why) == (5, "")
    assert [how for _, how in await desk.history()] == ["edit", "edit", "rollback", "edit"]
    with pytest.raises(NoSuchVersion, match="there is no version 99; the newest are 4, 3, 2, 1"):
        await one.rollout.roll_back("ops/k9", "", 99)


async def test_while_the_store_is_away_the_old_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await desk.process()
    desk.write("policy.yaml", caps(4))

    async def away(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(desk.store, "config_mark", away)
    assert not await one.rollout.moved()
    assert (await one.live.reload()).result == "failed"
    assert one.limit == 3
