"""Simulate: what is held comes back at its time, a failed send gives its credit back, what is out of order is put in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgcenter.archive.file_sink import frame
from msgcenter.clock import ManualClock
from msgcenter.config import Config, Strict, load
from msgcenter.simulate import Report, Simulation
from msgcenter.traffic import Asked, Failed, events, files_of, read
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Text

#: 20:00 in Shanghai.
EVENING = 1_790_078_400_000
HOUR = 3_600_000
POLICY = """
spread: 0s
quiet:
  night: {windows: [{hours: "21:00-08:00"}]}
caps:
  daily: {scope: person, when: {categories: [care]}, windows: [{rolling: 1d, limit: 2}], on_cap: drop}
categories:
  care: {quiet: [night], on_quiet: hold, max_hold: 1d, expires_in: 3d}
"""


def rules(folder: Path, policy: str = POLICY) -> Config:
    folder.mkdir(exist_ok=True)
    (folder / "policy.yaml").write_text(policy)
    (folder / "channels.yaml").write_text("sms: {kind: sms}\n")
    return load(folder, settings_models={"sms": Strict}, env={}, clock=ManualClock())


def asked(number: int, at: int, person: int = 1, verdict: str = "sent", **more: object) -> Asked:
    to = Address("tel", f"+861380000{person:04d}")
    values: dict[str, object] = {
        "id": f"msg_{number}",
        "caller": "crm",
        "to": to,
        "category": "care",
        "tier": 4,
        "payload": Text("hi"),
        "created_at": at,
        "person": str(to),
        "channels": ("sms",),
    }
    rule = str(more.pop("rule", ""))
    return Asked(at, Envelope(**{**values, **more}), None, verdict, rule)  # type: ignore[arg-type]


def simulate(config: Config, traffic: Iterable[Asked | Failed]) -> tuple[Report, int]:
    simulation = Simulation(config, reach=lambda _: {"tel"})
    report = asyncio.run(simulation.run(traffic))
    return report, simulation.waiting


def test_the_clock_of_the_tests_is_the_evening() -> None:
    from msgcenter.policy.when import SHANGHAI, wall

    assert f"{wall(EVENING, SHANGHAI):%H:%M}" == "20:00"


def test_caps_count_what_the_simulation_sends(tmp_path: Path) -> None:
    traffic = [asked(n, EVENING + n, person=n % 2) for n in range(10)]
    report, _ = simulate(rules(tmp_path), traffic)
    assert (report.messages, report.changed) == (10, 6)
    assert report.total.before == {"sent": 10, "held": 0, "dropped": 0}
    assert report.total.after == {"sent": 4, "held": 0, "dropped": 6}
    assert report.rules["daily"].after["dropped"] == 6
    [(kind, kept)] = report.examples.items()
    assert (kind, len(kept)) == ("sent -> dropped by daily", 3)


def test_a_definite_failure_gives_the_credit_back(tmp_path: Path) -> None:
    traffic = [asked(0, EVENING), Failed(EVENING + 1, "msg_0", 0), asked(1, EVENING + 2)]
    traffic += [asked(2, EVENING + 3), asked(3, EVENING + 4, verdict="dropped", rule="daily")]
    report, _ = simulate(rules(tmp_path), traffic)
    assert (report.changed, report.total.after) == (0, {"sent": 3, "held": 0, "dropped": 1})


def test_what_is_held_comes_back_and_is_decided_by_the_caps_of_then(tmp_path: Path) -> None:
    night = EVENING + 2 * HOUR
    traffic = [asked(n, night + n, verdict="held", rule="night") for n in range(3)]
    morning = asked(9, night + 11 * HOUR, person=2)
    report, waiting = simulate(rules(tmp_path), [*traffic, morning])
    assert report.changed == 0
    assert waiting == 0, "all of them came back in the morning"
    assert report.total.before == {"sent": 1, "held": 3, "dropped": 0}
    assert report.total.after == {"sent": 1, "held": 2, "dropped": 1}, "the third is over the cap"


def test_what_live_dropped_after_a_hold_counts_as_dropped(tmp_path: Path) -> None:
    night = EVENING + 2 * HOUR
    traffic = [asked(n, night + n, verdict="held", rule="night") for n in range(3)]
    again = asked(2, night + 10 * HOUR, verdict="dropped", rule="daily", held_since=night)
    report, _ = simulate(rules(tmp_path), [*traffic, again])
    assert report.total.before == report.total.after == {"sent": 0, "held": 2, "dropped": 1}


def test_what_could_only_leave_after_its_expiry_is_dropped(tmp_path: Path) -> None:
    night = EVENING + 2 * HOUR
    policy = POLICY.replace("daily:", "hourly:").replace(
        "on_cap: drop", "on_cap: hold, max_wait: 2d"
    )
    config = rules(tmp_path, policy.replace("limit: 2", "limit: 1"))
    late = asked(1, night + 11 * HOUR, expires_at=night + 12 * HOUR)
    report, _ = simulate(config, [asked(0, night + 11 * HOUR - 1), late])
    assert report.total.after == {"sent": 1, "held": 0, "dropped": 1}


@given(st.permutations(range(12)))
def test_files_that_are_out_of_order_are_read_in_order(order: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records-20261121-000001.jsonl"
        lines = [
            {"pipeline": "channel", "kind": "rejected", "at": n, "message": f"m{n}", "step": 0}
            for n in order
        ]
        path.write_bytes(b"".join(frame(line) for line in lines) + b'{"torn')
        assert [one.at for one in events(files_of(Path(folder)))] == list(range(12))


@pytest.mark.parametrize(
    "line",
    [
        {"pipeline": "inbound", "kind": "routed"},
        {"pipeline": "submit", "kind": "routed", "envelope": {}, "facts": None},
        {"pipeline": "submit", "kind": "retry", "envelope": {"a": 1}, "facts": {"at": 1}},
        {"pipeline": "channel", "kind": "rejected", "receipt": True, "at": 1},
    ],
)
def test_what_says_nothing_about_the_rules_is_passed_by(line: dict[str, object]) -> None:
    assert read(line) is None
