"""What a bench prints and writes: runs, their ratios as `--json` holds them, and the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

RATIOS = ("single", "batch", "p50_one_client", "drain")
SMS = ("sms_1", "sms_16", "sms_64", "sms_16_own")
"""Of the SMS bench, by window; left out where it was not run."""
CAPS = ("caps_batched", "caps_ten_rules")
"""Of the caps bench: how much faster in batches than one by one; how much dearer ten rules are than one, in CPU."""
LANES = ("lanes_code", "lanes_opportunity")
"""Of the lanes bench: p99 from durable to the channel's call under a bulk, as a multiple of that on the idle system."""
_COSTS = ("caps_ten_rules",)
_LAYERS = ("callers", "codec", "link")
"""What the SMS bench measures between bare and product."""
_BARE = ("drain", *SMS)
"""Measured against what no program can beat, not against a naive one."""
TARGETS = {
    "single": (2.5, "at least"),
    "batch": (8.0, "at least"),
    "p50_one_client": (1.3, "at most"),
    "sms_16": (0.4, "at least"),
    "caps_batched": (5.0, "at least"),
    "caps_ten_rules": (3.0, "at most"),
    "lanes_code": (3.0, "at most"),
    "lanes_opportunity": (3.0, "at most"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one side. `rate`: messages/s from first POST to everything archived; `sent_rate`: to the last one at
    the far end; `cpu`: CPU-µs per message by process; `p50`, `p99`: milliseconds of a POST, 0 where nothing was posted."""

    scenario: str
    side: str
    messages: int
    seconds: float
    rate: float
    sent_rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    refused: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        """CPU-µs per message of all processes but the load generator and the far end."""
        return sum(v for name, v in self.cpu.items() if name not in ("load", "far end"))


def _of(runs: Sequence[Run], scenario: str, side: str) -> list[Run]:
    return [run for run in runs if run.scenario == scenario and run.side == side]


def _names(runs: Sequence[Run]) -> list[str]:
    return [*RATIOS, *(n for n in (*SMS, *CAPS, *LANES) if any(run.scenario == n for run in runs))]


def ratios(runs: Sequence[Run]) -> dict[str, float | None]:
    """Product to baseline: medians of the rate, for `p50_one_client` of the p50; None where one of the two was not measured."""
    out: dict[str, float | None] = {}
    for name in _names(runs):
        baseline = "bare" if name in _BARE else "naive"
        ours, theirs = _of(runs, name, "product"), _of(runs, name, baseline)
        if not ours or not theirs:
            out[name] = None
        elif name in _COSTS:
            out[name] = round(median(r.cpu_us for r in ours) / median(r.cpu_us for r in theirs), 3)
        elif name in LANES:
            out[name] = round(median(r.p99 for r in ours) / median(r.p99 for r in theirs), 3)
        elif name == "p50_one_client":
            out[name] = round(median(r.p50 for r in ours) / median(r.p50 for r in theirs), 3)
        else:
            out[name] = round(median(r.rate for r in ours) / median(r.rate for r in theirs), 3)
    return out


def more(runs: Sequence[Run]) -> dict[str, float]:
    """Product to baseline in CPU-µs per message (`cpu_…`, noise harms it least), of the best rounds (`best_…`, what
    an undisturbed machine gives) and in messages/s up to the far end (`sent_…`)."""
    out: dict[str, float] = {}
    for name in _names(runs):
        for layer in _LAYERS:
            between = _of(runs, name, layer)
            if between and (bare := _of(runs, name, "bare")):
                rate = median(r.rate for r in between) / median(r.rate for r in bare)
                out[f"{name} {layer} to bare"] = round(rate, 3)
            if between and layer == "callers" and (whole := _of(runs, name, "product")):
                rate = median(r.rate for r in whole) / median(r.rate for r in between)
                out[f"{name} product to callers"] = round(rate, 3)
        baseline = "bare" if name.startswith("sms_") else "naive"
        ours, theirs = _of(runs, name, "product"), _of(runs, name, baseline)
        if not ours or not theirs or name in ("p50_one_client", *LANES):
            continue
        cpu = median(r.cpu_us for r in theirs)
        sent = median(r.sent_rate for r in theirs)
        if name in SMS:
            best = max(r.rate for r in ours) / max(r.rate for r in theirs)
            out[f"best_{name}"] = round(best, 3)
        out[f"cpu_{name}"] = round(median(r.cpu_us for r in ours) / cpu, 3)
        if not sent:
            continue
        out[f"sent_{name}"] = round(median(r.sent_rate for r in ours) / sent, 3)
    return out


def as_json(runs: Sequence[Run]) -> dict[str, object]:
    """`{"ratios": {…}, "more": {…}, "runs": […]}`; each run also says its `cpu_us`."""
    return {
        "ratios": ratios(runs),
        "more": more(runs),
        "runs": [{**asdict(r), "cpu_us": r.cpu_us} for r in runs],
    }


def write_json(path: Path, runs: Sequence[Run]) -> None:
    """Into the file, together with the ratios and runs of the other bench that it may hold already."""
    before: list[Run] = []
    measured = {run.scenario for run in runs}
    if path.exists():
        for kept in json.loads(path.read_text())["runs"]:
            kept.pop("cpu_us")
            if kept["scenario"] not in measured:
                before.append(Run(**kept))
    path.write_text(json.dumps(as_json([*before, *runs]), indent=1) + "\n")


def show(console: Console, runs: Sequence[Run]) -> None:
    """A row per run, CPU by process, then the ratios."""
    table = Table(title="runs")
    for column in (
        "scenario",
        "side",
        "messages",
        "msg/s",
        "sent/s",
        "p50 ms",
        "p99 ms",
        "CPU µs/msg",
    ):
        table.add_column(column, justify="left" if column in ("scenario", "side") else "right")
    for run in runs:
        table.add_row(
            run.scenario,
            run.side,
            str(run.messages),
            f"{run.rate:,.0f}",
            f"{run.sent_rate:,.0f}" if run.sent_rate else "",
            f"{run.p50:.2f}" if run.p50 else "",
            f"{run.p99:.2f}" if run.p99 else "",
            f"{run.cpu_us:,.0f}",
        )
    console.print(table)
    if any(len(run.cpu) > 1 for run in runs):
        console.print(_cpu_table(runs))
    table = Table(title="ratios, product to baseline (medians)")
    for column in ("scenario", "ratio", "target"):
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for name, ratio in ratios(runs).items():
        if ratio is not None:
            table.add_row(name, f"{ratio:.2f}", _verdict(name, ratio))
    for name, ratio in more(runs).items():
        table.add_row(name, f"{ratio:.2f}", "")
    console.print(table)


def _cpu_table(runs: Sequence[Run]) -> Table:
    """Medians over the runs of one scenario and side."""
    table = Table(title="CPU-µs per message by process (medians)")
    pairs = dict.fromkeys((run.scenario, run.side) for run in runs)
    table.add_column("process")
    for scenario, side in pairs:
        table.add_column(f"{scenario}\n{side}", justify="right")
    for name in dict.fromkeys(name for run in runs for name in run.cpu):
        cells = []
        for scenario, side in pairs:
            values = [r.cpu[name] for r in _of(runs, scenario, side) if name in r.cpu]
            cells.append(f"{median(values):,.0f}" if values else "")
        table.add_row(name, *cells)
    return table


def _verdict(name: str, ratio: float) -> str:
    if name not in TARGETS:
        return ""
    bound, word = TARGETS[name]
    met = ratio >= bound if word == "at least" else ratio <= bound
    return f"{word} {bound:g}: {'met' if met else 'MISSED'}"
