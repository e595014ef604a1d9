"""The rules over the whole core: caps that are exact whatever is sent at once, quiet time that holds and lets out, an edit that
counts at once, a State that forgot; on the parts of one process, with a far end that is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from msgcenter import recount
from msgcenter.adapter import Rejected
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.customers import Mute, Preferences
from msgcenter.customers.sheet import Claim, Put
from msgcenter.customers.writes import By
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Held, Sent, Suppressed
from tests.flow.rigging import (
    FarEnd,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    text,
    until,
)

BY = By("test")
CHINA = ZoneInfo("Asia/Shanghai")
IDS = IdFactory(SystemClock(), system_random())
OPEN = "marketing: {quiet: [], consent: false}"
CAPS = """
categories: {%s}
caps:
  person: {scope: person, windows: [{rolling: 1h, limit: 3}, {rolling: 1d, limit: 5}], on_cap: %s}
"""
DROP = CAPS % (OPEN, "drop")


def to(number: int, **more: Any) -> Envelope:
    return replace(text(IDS, number, category="marketing", tier=5), **more)


def ends(records: Records) -> Counter[str]:
    """How the messages ended, by kind."""
    return Counter(type(record.outcome).__name__ for record in records.last().values())


@pytest.mark.timeout(120)
async def test_of_many_exactly_the_allowance_leaves(tmp_path: Path) -> None:
    far, records = FarEnd(), Records()
    folder = config_folder(tmp_path / "config", policy=DROP)
    messages = [to(n % 10) for n in range(200)]
    async with running(folder, scripted(far), records) as app:
        await submit(app, messages)
        await until(lambda: len(records.last()) == 200 and not pending(records), 90)
    by_person = Counter(next(m for m in messages if m.id == id_).person for id_ in far.taken)
    assert by_person == {m.person: 3 for m in messages}
    assert ends(records) == {"Sent": 30, "Suppressed": 170}
    refused = [r for r in records.last().values() if isinstance(r.outcome, Suppressed)]
    assert {r.outcome.rule for r in refused} == {"person"}
    assert all(r.decisions[-1].next_at > r.at for r in refused)


def pending(records: Records) -> list[str]:
    return [i for i, r in records.last().items() if not isinstance(r.outcome, Sent | Suppressed)]


async def test_failing_sends_leave_the_allowance_as_it_was(tmp_path: Path) -> None:
    far, records = FarEnd(), Records()
    far.script = lambda item: (
        Rejected("recipient", "no", "refused") if item.envelope.campaign else None
    )
    folder = config_folder(tmp_path / "config", policy=DROP)
    bad, good = [to(1, campaign="bad") for _ in range(3)], [to(1) for _ in range(4)]
    async with running(folder, scripted(far), records) as app:
        for message in bad:
            await submit(app, [message])
            await until(lambda m=message: refused(records, m.id), 60)
        await submit(app, good)
        await until(lambda: len(records.last()) == 7 and not open_ones(records), 60)
    assert len(far.taken) == 3


def refused(records: Records, message: str) -> bool:
    last = records.last().get(message)
    return last is not None and isinstance(last.outcome, Rejected)


def open_ones(records: Records) -> list[str]:
    done = (Sent, Suppressed, Rejected)
    return [i for i, r in records.last().items() if not isinstance(r.outcome, done)]


@pytest.mark.timeout(120)
async def test_one_customer_in_three_forms_gets_three(tmp_path: Path) -> None:
    """50 tasks send at once; the customer is named by two numbers and by id."""
    far, records = FarEnd(), Records()
    folder = config_folder(tmp_path / "config", policy=DROP)
    numbers = ["tel:+8613800000001", "tel:+8613900000001"]
    forms = [Address.parse(form) for form in (*numbers, "customer:c-1")]
    async with running(folder, scripted(far), records) as app:
        await app.customers.put([Put("c-1", addresses=tuple(map(Claim, numbers)))], BY)
        messages = [
            to(n, to=form, person=str(form)) for n, form in ((n, forms[n % 3]) for n in range(200))
        ]
        await asyncio.gather(*(submit(app, messages[n::50]) for n in range(50)))
        await until(lambda: len(records.last()) == 200 and not pending(records), 90)
        assert len(far.taken) == 3
        assert {r.envelope.person for r in records.last().values()} == {"c-1"}


@pytest.mark.timeout(60)
async def test_a_muted_customer_is_written_to_when_the_mute_ends(tmp_path: Path) -> None:
    far, records = FarEnd(), Records()
    folder = config_folder(tmp_path / "config", policy=f"spread: 0s\ncategories: {{{OPEN}}}")
    async with running(folder, scripted(far), records) as app:
        message = to(1)
        await app.customers.put([Put("c-1", addresses=(Claim(str(message.to)),))], BY)
        ends_at = SystemClock().now_ms() + 2500
        await app.customers.prefer("c-1", Preferences(mutes=(Mute(ends_at),)), BY)
        await submit(app, [message])
        await until(lambda: any(isinstance(r.outcome, Sent) for r in records.of("channel")), 40)
    assert far.taken == [message.id]
    held = [r for r in records.of("submit") if isinstance(r.outcome, Held)]
    assert [(r.outcome.until, r.outcome.detail) for r in held] == [(ends_at, "customer.mute")]
    (sent,) = (r for r in records.of("channel") if isinstance(r.outcome, Sent))
    assert sent.at >= ends_at


def now_closed() -> str:
    """A window that began two hours ago and ends in two."""
    now = datetime.now(CHINA)
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-2, 2))
    return f'{{windows: [{{hours: "{start}-{end}"}}]}}'


@pytest.mark.timeout(90)
async def test_an_edit_of_the_rules_lets_out_what_the_old_ones_hold(tmp_path: Path) -> None:
    far, records = FarEnd(), Records()
    closed = f"quiet: {{siesta: {now_closed()}}}\ncategories: {{marketing: {{quiet: [%s], consent: false}}}}"
    folder = config_folder(
        tmp_path / "config", policy=closed % "siesta", process="reload: {poll: 200ms}\n"
    )
    messages = [to(n) for n in range(20)]
    async with running(folder, scripted(far), records) as app:
        await submit(
            app, [*messages, waiting := to(99, not_before=SystemClock().now_ms() + 600_000)]
        )
        await until(lambda: len(records.last()) == 21, 40)
        held = {i for i, r in records.last().items() if isinstance(r.outcome, Held)}
        assert held == {m.id for m in (*messages, waiting)}
        (folder / "policy.yaml").write_text(closed % "")
        await until(lambda: len(far.taken) == 20, 40)
    assert set(far.taken) == {m.id for m in messages}
    assert isinstance(records.last()[waiting.id].outcome, Held)


@pytest.mark.timeout(120)
async def test_a_state_that_forgot_is_told_by_the_store(
    tmp_path: Path, quick_recount: None
) -> None:
    far, records = FarEnd(), Records()
    policy = f"categories: {{{OPEN}}}\ncaps:\n  person: {{scope: person, windows: [{{rolling: 1h, limit: 3}}]}}\n"
    folder = config_folder(tmp_path / "config", policy=policy)
    first, second = [to(n % 2) for n in range(4)], [to(n % 2) for n in range(8)]
    async with running(folder, scripted(far), records, sinks=stored) as app:
        await submit(app, first)
        await until(lambda: len(far.taken) == 4, 60)
    for file in (tmp_path / "config" / "data").glob("state.db*"):
        file.unlink()
    told = Records()
    async with running(folder, scripted(far), told, sinks=stored) as app:
        await submit(app, [*second, plain := text(IDS, 50)])
        await until(lambda: len(told.last()) == 9 and not pending(told), 60)
        assert not app.recount.rebuilding()
    # two had left to each, so one more does
    sent = [i for i in far.taken if i in {m.id for m in second}]
    assert len(sent) == 2
    assert plain.id in far.taken
    waited = [r for r in told.of("submit") if isinstance(r.outcome, Held)]
    assert {r.outcome.rule for r in waited} == {"caps_rebuilding"}
    (passed,) = (r for r in told.of("submit") if r.envelope.id == plain.id)
    assert "caps_rebuilding" in [d.rule for d in passed.decisions]


def stored(parts: Any) -> dict[str, Any]:
    async def write(batch: Any) -> None:
        await parts.store.write_records(batch, lambda _: "full")

    return {"store": write}


@pytest.fixture(autouse=True)
def quick_recount(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process runs by older rules here, and records reach the Store at once."""
    monkeypatch.setattr(recount, "LAG_S", 1.0)
    monkeypatch.setattr(recount, "LOOK_S", 0.2)
