"""`python -m bench`: run one of the benches; progress on stderr, tables on stdout, ratios and raw runs in `--json FILE`."""

from __future__ import annotations

import json as jsons
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import callers as callers_bench
from bench import caps as caps_bench
from bench import drain as drain_bench
from bench import e2e as e2e_bench
from bench import lanes as lanes_bench
from bench import report
from bench import sms as sms_bench

app = typer.Typer(
    help="Measure the product against baselines in the same run.", add_completion=False
)

Quick = Annotated[bool, typer.Option("--quick", help="One short round.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write ratios and runs there.")
]
Rounds = Annotated[
    int, typer.Option(min=0, help="How often each side has its turn; 0 = 3 (1 when quick).")
]
Only = Annotated[str, typer.Option(help="Comma list of single, batch, p50_one_client.")]


@app.command()
def e2e(quick: Quick = False, json: Json = None, rounds: Rounds = 0, only: Only = "") -> None:
    """Product against the one-message-at-a-time baseline, from POST to archived record."""
    scenarios = e2e_bench.QUICK if quick else e2e_bench.FULL
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = sorted(set(names) - {scenario.name for scenario in scenarios})
    if unknown:
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}", param_hint="--only")
    chosen = tuple(s for s in scenarios if not names or s.name in names)
    _measure(lambda step: e2e_bench.run(rounds or (1 if quick else 3), chosen, step), json)


@app.command()
def drain(quick: Quick = False, json: Json = None, rounds: Rounds = 0) -> None:
    """A channel worker with everything it does, as a fraction of a bare consume-decode-ack loop."""
    frames = drain_bench.QUICK if quick else drain_bench.FULL
    _measure(lambda step: drain_bench.run(rounds or (1 if quick else 3), frames, step), json)


@app.command()
def sms(quick: Quick = False, json: Json = None, rounds: Rounds = 0) -> None:
    """The SMS channel at windows 1, 16 and 64, as a fraction of a bare protocol that writes the same bytes, and what lies between."""
    count = sms_bench.QUICK if quick else sms_bench.FULL
    _measure(lambda step: sms_bench.run(rounds or (5 if quick else 9), count, step), json)


@app.command()
def caps(quick: Quick = False, json: Json = None, rounds: Rounds = 0) -> None:
    """Reserve and admit on Redis: in batches against a call for each message, and with ten rules against one."""
    count = caps_bench.QUICK if quick else caps_bench.FULL
    _measure(lambda step: caps_bench.run(rounds or (1 if quick else 3), count, step), json)


@app.command()
def lanes(quick: Quick = False, json: Json = None, rounds: Rounds = 0) -> None:
    """A code and an opportunity, from durable to the channel's call: under a bulk of 100,000 against an idle system."""
    bulk = lanes_bench.QUICK if quick else lanes_bench.FULL
    _measure(lambda step: lanes_bench.run(rounds or 1, bulk, step), json)


@app.command()
def callers(
    quick: Quick = False,
    json: Json = None,
    rounds: Rounds = 0,
    parts: Annotated[
        str, typer.Option(help="embedded: one process on SQLite; production: RabbitMQ and others.")
    ] = "embedded",
    calm: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds to wait before each turn for a machine that others leave alone."
        ),
    ] = 0,
) -> None:
    """A quiet caller beside one that sends ten times its quota, against the same one alone; then everybody at three times the capacity."""
    if parts not in ("embedded", "production"):
        raise typer.BadParameter("embedded or production", param_hint="--parts")
    chosen: callers_bench.Parts = "embedded" if parts == "embedded" else "production"
    with _progress() as progress:
        task = progress.add_task("starting", total=None)
        done = 0

        def step(what: str, of: int) -> None:
            nonlocal done
            progress.update(task, description=what, total=of, completed=done)
            done += ":" in what

        result = callers_bench.run(
            chosen, rounds or (1 if quick else 6), 200 if quick else 500, calm, step
        )
    callers_bench.show(Console(), result)
    if json is not None:
        told = {"ratio": result.ratio("noisy"), "floor": result.ratio("burner"), **asdict(result)}
        json.write_text(jsons.dumps(told, indent=1) + "\n")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def _measure(
    work: Callable[[Callable[[str, int], None]], list[report.Run]], json: Path | None
) -> None:
    console = Console()
    with _progress() as progress:
        task = progress.add_task("starting", total=None)
        begun: list[str] = []

        def step(what: str, of: int) -> None:
            """Told before each run; what comes before the first one is not counted."""
            measuring = ":" in what
            progress.update(task, description=what, total=of, completed=len(begun))
            if measuring:
                begun.append(what)

        runs = work(step)
        progress.update(task, description="done", completed=len(begun))
    report.show(console, runs)
    if json is not None:
        report.write_json(json, runs)


if __name__ == "__main__":
    app()
