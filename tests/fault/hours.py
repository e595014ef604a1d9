"""Runs of caps and quiet time over hours: the whole core on a clock that leaps, so that an hour or a night passes in a test; what the
far end took is counted again in every window."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from msgcenter.adapter import Dispatch
from msgcenter.clock import IdFactory, system_random
from protocols.envelope import Envelope
from protocols.outcome import Held, Sent, Suppressed
from tests.flow.rigging import (
    FarEnd,
    Jumping,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    text,
    until,
)

CHINA = ZoneInfo("Asia/Shanghai")
SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000
CAPPED = """
spread: 0s
categories: {marketing: {quiet: [], consent: false, max_hold: 3h}}
caps:
  person: {scope: person, windows: [{rolling: 1h, limit: 3}, {rolling: 1d, limit: 5}], on_cap: hold, max_wait: 2h}
"""
QUIET = """
spread: 10s
quiet: {night: {windows: [{hours: "21:00-08:00"}]}}
categories: {marketing: {quiet: [night], consent: false}}
"""
LET_GO_MS = 20 * SECOND
"""A send counts from when it is let go; the far end has it so much later at most."""


def china(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=CHINA).timestamp() * 1000)


def most_within(times: Sequence[int], span_ms: int) -> int:
    """The most of these in any such span."""
    ordered, first, most = sorted(times), 0, 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - span_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


class Watching(FarEnd):
    """A far end that notes who got something when."""

    def __init__(self, clock: Jumping) -> None:
        super().__init__()
        self.got: dict[str, list[int]] = defaultdict(list)
        self.at: dict[str, int] = {}

        def note(item: Dispatch) -> None:
            self.got[item.envelope.person].append(clock.now_ms())
            self.at[item.envelope.id] = clock.now_ms()

        self.script = note


def messages(ids: IdFactory, count: int, people: int) -> list[Envelope]:
    return [text(ids, n % people, category="marketing", tier=5) for n in range(count)]


def kinds(records: Records) -> Mapping[str, int]:
    return Counter(type(record.outcome).__name__ for record in records.last().values())


async def capped(folder: Path, *, count: int, people: int, patience: float) -> Mapping[str, int]:
    """Three an hour and five a day to each: three leave at once, an hour later two, and the rest is told that it takes too long.
    How many had left after each."""
    clock = Jumping(china("2026-06-15 10:00"))
    ids = IdFactory(clock, system_random())
    far, records = Watching(clock), Records()
    config = config_folder(folder / "config", policy=CAPPED)
    sent = messages(ids, count, people)
    left = {}
    async with running(config, scripted(far), records, clock=clock) as app:
        for start in range(0, count, 1000):
            await submit(app, sent[start : start + 1000])
        settled = {"Sent": 3 * people, "Held": count - 3 * people}
        await until(lambda: kinds(records) == settled, patience)
        left["first hour"] = len(far.taken)
        clock.leap_to(china("2026-06-15 10:59"))
        await until(lambda: len(far.taken) == 3 * people, 2)
        clock.leap_to(china("2026-06-15 11:10"))
        ended = {"Sent": 5 * people, "Suppressed": count - 5 * people}
        await until(lambda: kinds(records) == ended, patience)
        left["second hour"] = len(far.taken)
    assert Counter(far.taken).most_common(1)[0][1] == 1
    for times in far.got.values():
        assert most_within(times, HOUR - LET_GO_MS) <= 3
        assert most_within(times, DAY - LET_GO_MS) <= 5
    dropped = [r for r in records.last().values() if isinstance(r.outcome, Suppressed)]
    assert {record.outcome.rule for record in dropped} == {"person"}
    assert all(record.decisions[-1].next_at > record.at for record in dropped)
    return left


async def night(folder: Path, *, count: int, patience: float) -> float:
    """Messages of the night wait for the morning, over a restart, and leave once, none before its turn; over how many seconds
    the turns are spread."""
    clock = Jumping(china("2026-06-15 23:30"))
    ids = IdFactory(clock, system_random())
    far, records = Watching(clock), Records()
    config = config_folder(folder / "config", policy=QUIET)
    sent = messages(ids, count, count)
    opens = china("2026-06-16 08:00")
    async with running(config, scripted(far), records, clock=clock) as app:
        await submit(app, sent)
        await until(lambda: kinds(records) == {"Held": count}, patience)
    held = [record for record in records.last().values() if isinstance(record.outcome, Held)]
    assert {record.outcome.rule for record in held} == {"quiet_hours"}
    assert {record.outcome.detail for record in held} == {"night"}
    turns = {record.envelope.id: record.outcome.until for record in held}
    assert min(turns.values()) >= opens
    clock.leap_to(min(turns.values()) - SECOND)
    async with running(config, scripted(far), records, clock=clock):
        await until(lambda: kinds(records) == {"Sent": count}, patience)
    assert sorted(far.taken) == sorted(message.id for message in sent)
    ends = {r.envelope.id: r for r in records.of("channel") if isinstance(r.outcome, Sent)}
    assert len(ends) == count
    assert all(far.at[message] >= turn for message, turn in turns.items())
    return (max(turns.values()) - min(turns.values())) / SECOND
