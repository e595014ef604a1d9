"""`msgcenter config simulate`: what other rules would have done with recorded traffic: per rule, category and city, with examples."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from msgcenter.cli.client import EX_DATAERR, AsJson, fail, print_json
from msgcenter.cli.config import folder_of
from msgcenter.cli.rollout import read
from msgcenter.clock import SystemClock
from msgcenter.config.values import parse_duration
from msgcenter.policy.when import SHANGHAI
from msgcenter.serve import quiet_collector
from msgcenter.simulate import VERDICTS, Report, Row, Said, Simulation
from msgcenter.traffic import events, files_of

SHOW_EVERY = 1 << 20


def simulate(
    rules: Annotated[
        Path | None,
        typer.Option("--rules", help="Folder with the new rules; default: the folder itself."),
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option("--traffic", help="An archive file (also .gz), or a folder of them."),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="The archive's traffic of the last 1d, 6h …")
    ] = "",
    examples: Annotated[int, typer.Option(help="Shown of each kind of change.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Decide recorded traffic again by new rules: sent, held and dropped before and after."""
    clock = SystemClock()
    if traffic is None and not since:
        fail("name the traffic: --traffic FILE, or --since 1d for the archive's own", EX_DATAERR)
    since_ms = clock.now_ms() - round(_seconds(since) * 1000) if since else 0
    config = read(rules or folder_of(None, os.environ))
    process = config.process
    place = traffic or process.data / process.archive.file.path
    files = files_of(place, since_ms) if place.exists() else []
    if not files:
        fail(f"{place}: no archive files (records-*.jsonl); name them with --traffic", EX_DATAERR)
    kinds = entry_points(group="msgcenter.adapters")
    schemes = {kind.name: kind.load().spec.schemes for kind in kinds}
    simulation = Simulation(
        config, reach=lambda kind: schemes.get(kind, frozenset()), examples=examples
    )
    with _progress() as progress:
        task = progress.add_task("reading", total=sum(path.stat().st_size for path in files))
        stream = events(files, since_ms=since_ms, read_bytes=_Shown(progress, task, simulation))
        quiet_collector()
        report = asyncio.run(simulation.run(stream))
    if as_json:
        print_json(_json(report))
        return
    _print(report, Console(file=sys.stdout, highlight=False))


class _Shown:
    """Moves the bar a megabyte at a time."""

    def __init__(self, progress: Progress, task: TaskID, simulation: Simulation) -> None:
        self._progress = progress
        self._task = task
        self._simulation = simulation
        self._since = 0

    def __call__(self, size: int) -> None:
        self._since += size
        if self._since >= SHOW_EVERY:
            report = self._simulation.report
            told = f"{report.messages:,} messages, {report.changed:,} changed"
            self._progress.update(self._task, advance=self._since, description=told)
            self._since = 0


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = None
    if not isinstance(seconds, float) or seconds <= 0:
        fail(f"--since {text}: write it like 6h or 1d", EX_DATAERR)
    return seconds


def _print(report: Report, console: Console) -> None:
    if not report.messages:
        console.print("no message of this traffic was ever put to the rules")
        return
    span = f"{_time(report.first_at)} to {_time(report.last_at)}"
    console.print(f"{report.messages:,} messages, {span}; {report.changed:,} decided otherwise")
    for title, rows in (
        ("rule", report.rules),
        ("category", report.categories),
        ("city", report.cities),
    ):
        console.print(_table(title, {**rows, "all": report.total} if title != "rule" else rows))
    for kind, kept in sorted(report.examples.items()):
        console.print(kind, style="bold", markup=False)
        for one in kept:
            until = f", until {_time(one.after.until)}" if one.after.until else ""
            detail = f" ({one.after.detail})" if one.after.detail else ""
            where = f"{one.category} {one.city}"
            console.print(f"  {one.message}  {_time(one.at)}  {where}{until}{detail}", markup=False)
    console.print("caps count from the beginning of this traffic on", style="dim")


def _table(title: str, rows: dict[str, Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for verdict in VERDICTS:
        table.add_column(verdict, justify="right")
        table.add_column("now", justify="right")
        table.add_column("", justify="right")
    for name, row in sorted(rows.items(), key=lambda pair: (pair[0] == "all", pair[0])):
        cells = [cell for verdict in VERDICTS for cell in _cells(row, verdict)]
        table.add_row("(let pass)" if title == "rule" and name == "-" else name, *cells)
    return table


def _cells(row: Row, verdict: str) -> tuple[str, str, str]:
    before, after = row.before[verdict], row.after[verdict]
    moved = after - before
    colour = "dim" if not moved else "yellow"
    return f"{before:,}", f"{after:,}", f"[{colour}]{moved:+,}[/]" if moved else ""


def _json(report: Report) -> dict[str, Any]:
    def rows(found: dict[str, Row]) -> dict[str, Any]:
        return {name: asdict(row) for name, row in sorted(found.items())}

    return {
        "messages": report.messages,
        "changed": report.changed,
        "first_at": _time(report.first_at) if report.messages else None,
        "last_at": _time(report.last_at) if report.messages else None,
        "total": asdict(report.total),
        "rules": rows(report.rules),
        "categories": rows(report.categories),
        "cities": rows(report.cities),
        "examples": [
            {
                "change": kind,
                "message": one.message,
                "at": _time(one.at),
                "category": one.category,
                "city": one.city,
                "before": _said(one.before),
                "after": _said(one.after),
            }
            for kind, kept in sorted(report.examples.items())
            for one in kept
        ],
    }


def _said(said: Said) -> dict[str, Any]:
    return {
        "verdict": said.verdict,
        "rule": said.rule or None,
        "until": _time(said.until) if said.until else None,
        "detail": said.detail or None,
    }


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(SHANGHAI):%Y-%m-%dT%H:%M:%S%z}"
