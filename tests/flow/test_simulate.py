"""Simulate against the product itself: what really happened, decided again by the same rules, comes out the same, message by message."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from msgcenter.archive.file_sink import FileSink
from msgcenter.cli import main
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.config import load
from msgcenter.customers import Consent, Person
from msgcenter.customers.sheet import Put
from msgcenter.customers.writes import By
from msgcenter.policy.when import SHANGHAI, wall
from msgcenter.simulate import Report, Simulation
from msgcenter.traffic import Asked, events, files_of
from protocols.envelope import Envelope
from protocols.outcome import Held, Rejected, Sent, Suppressed
from protocols.payload import Text
from tests.fault import replaying
from tests.flow.rigging import (
    FarEnd,
    Records,
    ScriptedSettings,
    config_folder,
    running,
    scripted,
    submit,
    text,
    until,
)

IDS = IdFactory(SystemClock(), system_random())
PEOPLE, EACH = 20, 6


def policy(limit: int, *, at: int, more: str = "") -> str:
    """Care is capped, marketing needs consent and sleeps now, transactional is looked through."""
    now = wall(at, SHANGHAI)
    closed = [f"{now + timedelta(hours=h):%H}:00" for h in (-1, 3)]
    return f"""
spread: 1m
quiet:
  siesta: {{windows: [{{hours: "{closed[0]}-{closed[1]}"}}]}}
caps:
  daily: {{scope: person, when: {{categories: [care]}}, windows: [{{rolling: 1d, limit: {limit}}}], on_cap: drop}}
content:
  rude: {{action: block, words: [damn]}}
categories:
  care: {{quiet: []}}
  marketing: {{quiet: [siesta], on_quiet: hold, max_hold: 2d, expires_in: 3d}}
  transactional: {{receipt_wait: 1s}}
{more}"""


def traffic() -> list[Envelope]:
    out: list[Envelope] = []
    for _ in range(EACH):
        out += [text(IDS, n, category="care", tier=4) for n in range(PEOPLE)]
    out += [text(IDS, n, category="marketing", tier=5) for n in range(PEOPLE)]
    rude = [text(IDS, 900 + n) for n in range(4)]
    for n, one in enumerate(rude):
        payload = Text("damn it" if n % 2 else "thank you")
        out.append(Envelope(**{**fields(one), "payload": payload}))
    return out


def fields(one: Envelope) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def config(folder: Path):
    return load(folder, settings_models={"devnull": ScriptedSettings}, env={}, clock=SystemClock())


async def simulated(rules: Path, archive: Path) -> Report:
    simulation = Simulation(config(rules), reach=lambda _: {"tel"})
    return await simulation.run(events(files_of(archive)))


@pytest.mark.timeout(120)
async def test_live_traffic_on_unchanged_rules_shows_no_difference_and_on_others_what_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("msgcenter.recount.LAG_S", 0.05)
    far_end, records, started = FarEnd(), Records(), SystemClock().now_ms()
    live = config_folder(tmp_path / "live", policy=policy(3, at=started))
    sink = FileSink("files", tmp_path / "archive", SystemClock(), lambda _: "full")
    await sink.open()
    refused: list[str] = []

    def script(item):
        """The far end surely refuses each first message of five people: their allowance is unchanged."""
        number = item.envelope.to.value
        if item.envelope.category != "care" or int(number[-7:]) >= 5 or number in refused:
            return None
        refused.append(number)
        return Rejected("message", "no", "refused")

    far_end.script = script
    envelopes = traffic()
    async with running(
        live, scripted(far_end, max_batch=10), records, sinks=lambda _: {"files": sink.write}
    ) as app:
        counted = await app.recount.look()  # a new deployment: nothing was sent before
        await until(lambda: counted or not app.recount.rebuilding())
        yes = [
            Put(
                f"c{n}",
                addresses=(claim(n),),
                organisation=f"广东/{'广州' if n % 2 else '深圳'}",
            )
            for n in range(PEOPLE)
        ]
        made = await app.customers.put(yes, By("crm"))
        assert all(isinstance(one, Person) for one in made), made
        for n in range(0, PEOPLE, 2):
            word = Consent(f"con_{n}", "*", "marketing", "granted", started - 1000)
            await app.customers.consent(f"c{n}", [word], By("crm"))
        for start in range(0, len(envelopes), PEOPLE):
            await submit(app, envelopes[start : start + PEOPLE])
            part = {e.id for e in envelopes[start : start + PEOPLE]}
            await until(lambda part=part: part <= set(ended(records)), 40)
        await until(lambda: len(files_lines(tmp_path / "archive")) >= len(envelopes), 20)
    await sink.close()
    outcomes = [type(r.outcome) for r in records.last().values()]
    care = {e.id for e in envelopes if e.category == "care"}
    went = [e for e in far_end.taken if e in care]
    assert len(went) == 3 * PEOPLE
    assert outcomes.count(Held) == PEOPLE // 2
    assert outcomes.count(Sent) == 3 * PEOPLE + 2

    report = await simulated(live, tmp_path / "archive")
    assert (report.messages, report.changed, report.examples) == (len(envelopes), 0, {})
    for rows in (report.rules, report.categories, report.cities):
        for name, row in rows.items():
            assert row.before == row.after, name
    assert report.total.after == {
        "sent": 3 * PEOPLE + 5 + 2,
        "held": PEOPLE // 2,
        "dropped": len(envelopes) - 3 * PEOPLE - 7 - PEOPLE // 2,
    }
    dropped = sum(isinstance(r.outcome, Suppressed) for r in records.last().values())
    assert report.total.after["dropped"] == dropped
    held = {
        e.envelope.id: e.until
        for e in events(files_of(tmp_path / "archive"))
        if isinstance(e, Asked) and e.verdict == "held"
    }
    assert len(held) == PEOPLE // 2
    assert {c: sum(row.before.values()) for c, row in report.cities.items()}["广州"] > 0

    other = config_folder(tmp_path / "other", policy=policy(1, at=started + 6 * 3_600_000))
    changed = await simulated(other, tmp_path / "archive")
    assert changed.categories["care"].after["sent"] == PEOPLE + 5
    assert changed.categories["care"].before["sent"] == 3 * PEOPLE + 5
    assert changed.categories["marketing"].after["held"] == 0
    assert (
        changed.rules["daily"].after["dropped"] - changed.rules["daily"].before["dropped"]
        == 2 * PEOPLE
    )
    assert set(changed.examples) == {"sent -> dropped by daily", "held by siesta -> sent"}

    await shown(tmp_path, other, monkeypatch, capsys)


async def shown(tmp_path, other, monkeypatch, capsys) -> None:
    """The command prints the same: tables, examples, and JSON."""
    monkeypatch.setenv("COLUMNS", "200")
    args = ["config", "simulate", "--rules", str(other), "--traffic", str(tmp_path / "archive")]
    for more in ([], ["--json"]):

        def work(more=more) -> None:
            with pytest.raises(SystemExit) as end:
                main([*args, *more])
            assert not end.value.code

        await asyncio.to_thread(work)
        out = capsys.readouterr().out
        if more:
            told = json.loads(out)
            assert told["categories"]["marketing"]["after"]["held"] == 0
            assert {one["change"] for one in told["examples"]} == {
                "sent -> dropped by daily",
                "held by siesta -> sent",
            }
        else:
            assert "decided otherwise" in out
            assert "sent -> dropped by daily" in out
            assert all(word in out for word in ("care", "广州", "siesta", "daily"))


@pytest.mark.timeout(240)
def test_20000_messages_need_hardly_more_memory_than_2000(tmp_path: Path) -> None:
    """The command, in a process of its own, at a fiftieth of the size of tests/fault/test_simulate_long.py."""
    small, large = (replaying.written(tmp_path, number, people=1000) for number in (2000, 20_000))
    assert (small.messages, large.messages) == (2000, 20_000)
    assert large.changed > small.changed > 0
    assert large.peak_mib < 1.5 * small.peak_mib, (small, large)


def claim(number: int):
    from msgcenter.customers.sheet import Claim

    return Claim(f"tel:+861380{number:07d}")


def ended(records: Records) -> dict[str, object]:
    """Messages that the rules stopped or that left."""
    return {
        one: r
        for one, r in records.last().items()
        if r.pipeline == "channel" or isinstance(r.outcome, Held | Suppressed)
    }


def files_lines(folder: Path) -> list[object]:
    return [e for e in events(files_of(folder)) if isinstance(e, Asked)]
