"""The bench's figures, command line and JSON, with made-up runs: nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import __main__ as program
from bench import e2e, load, report
from bench.report import Run

RUNS = [
    Run("single", "product", 100, 0.1, 1000.0, 1100.0, 5.0, 9.0, 0, {"api": 100.0, "load": 50.0}),
    Run("single", "naive", 100, 0.5, 200.0, 300.0, 7.0, 9.0, 0, {"api": 900.0, "far end": 9.0}),
    Run("single", "product", 100, 0.1, 3000.0, 1100.0, 5.0, 9.0, 0, {"api": 300.0}),
    Run("single", "naive", 100, 0.5, 200.0, 300.0, 7.0, 9.0, 0, {"api": 700.0}),
    Run("p50_one_client", "product", 10, 1.0, 10.0, 10.0, 2.0, 3.0),
    Run("p50_one_client", "naive", 10, 1.0, 10.0, 10.0, 4.0, 5.0),
]
DRAIN = [Run("drain", "product", 10, 1.0, 10.0), Run("drain", "bare", 10, 0.1, 100.0)]


def test_ratios_are_of_medians_and_missing_ones_are_none() -> None:
    found = report.ratios(RUNS)
    assert found == {"single": 10.0, "batch": None, "p50_one_client": 0.5, "drain": None}
    assert report.ratios(DRAIN)["drain"] == 0.1


def test_cpu_leaves_out_what_is_not_the_middleware() -> None:
    assert RUNS[0].cpu_us == 100.0
    assert RUNS[1].cpu_us == 900.0


def test_json_holds_ratios_and_runs_and_keeps_the_other_bench(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    report.write_json(path, RUNS)
    report.write_json(path, DRAIN)
    held = json.loads(path.read_text())
    assert set(held["ratios"]) == {"single", "batch", "p50_one_client", "drain"}
    assert (held["ratios"]["single"], held["ratios"]["drain"]) == (10.0, 0.1)
    assert len(held["runs"]) == len(RUNS) + len(DRAIN)
    assert held["more"]["cpu_single"] == 0.25
    report.write_json(path, DRAIN)  # measured again: replaced
    assert len(json.loads(path.read_text())["runs"]) == len(RUNS) + len(DRAIN)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the command line asked the benches for; they answer with made-up runs."""
    calls: list[tuple[object, ...]] = []

    def run_e2e(
        rounds: int, scenarios: tuple[e2e.Scenario, ...], step: Callable[[str, int], None]
    ) -> list[Run]:
        step("single: product", 1)
        calls.append((rounds, [scenario.name for scenario in scenarios]))
        return RUNS

    def run_drain(rounds: int, frames: int, step: Callable[[str, int], None]) -> list[Run]:
        calls.append((rounds, frames))
        return DRAIN

    monkeypatch.setattr(program.e2e_bench, "run", run_e2e)
    monkeypatch.setattr(program.drain_bench, "run", run_drain)
    return calls


def test_command_line(asked: list[tuple[object, ...]], tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    invoke = CliRunner().invoke
    assert invoke(program.app, ["e2e", "--quick", "--json", str(path)]).exit_code == 0
    done = invoke(program.app, ["e2e", "--only", "single,batch", "--rounds", "2"])
    assert done.exit_code == 0
    assert "at least 2.5: met" in done.output
    assert invoke(program.app, ["drain", "--json", str(path)]).exit_code == 0
    names = ["single", "batch", "p50_one_client"]
    assert asked == [(1, names), (2, names[:2]), (3, program.drain_bench.FULL)]
    assert json.loads(path.read_text())["ratios"]["drain"] == 0.1


def test_command_line_refuses_what_it_does_not_know(asked: list[tuple[object, ...]]) -> None:
    invoke = CliRunner().invoke
    assert invoke(program.app, ["e2e", "--only", "sigle"]).exit_code == 2
    assert invoke(program.app, ["e2e", "--rounds", "-1"]).exit_code == 2
    assert invoke(program.app, ["soak"]).exit_code == 2
    assert asked == []


def test_load_posts_every_message_once() -> None:
    def texts(size: int) -> list[str]:
        bodies = [post.partition(b"\r\n\r\n")[2] for post in load.requests(1, "k", 5, size, 7)]
        parsed = [json.loads(body) for body in bodies]
        items = [one for body in parsed for one in body.get("messages", [body])]
        return [item["content"]["text"] for item in items]

    assert len(load.requests(1, "k", 5, 2, 7)) == 3
    assert texts(0) == texts(2)
    assert len(set(texts(0))) == 5
