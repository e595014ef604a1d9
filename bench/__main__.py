"""`python -m bench`: run one of the benches; progress on stderr, tables on stdout, ratios and raw runs in `--json FILE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import drain as drain_bench
from bench import e2e as e2e_bench
from bench import report

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


def _measure(
    work: Callable[[Callable[[str, int], None]], list[report.Run]], json: Path | None
) -> None:
    console = Console()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:
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
