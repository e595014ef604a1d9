"""`msgcenter status`: one screen that says what waits where, for how long, which links are up and what died."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from msgcenter.cli.client import (
    AsJson,
    KeyFile,
    Refused,
    Unavailable,
    Url,
    ask,
    connect,
    print_json,
    refused,
)
from msgcenter.clock import SystemClock

app = typer.Typer(add_completion=False)
_GOOD = {"up", "elsewhere"}


@app.command()
def status(
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    every: Annotated[bool, typer.Option("--all", help="Also list queues that are empty.")] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.5, help="Look again every so many seconds, until Ctrl-C.", show_default=False
        ),
    ] = None,
) -> None:
    """Queues with depth and age of the oldest, links, held, parked and dead messages."""
    if watch is not None and as_json:
        raise typer.BadParameter(
            "--watch draws a screen; call --json once per look", param_hint="--json"
        )
    if watch is not None:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(url, key_file, watch, every=every))
        return
    answer = ask(connect(url, key_file), "GET", "/v1/status")
    if as_json:
        print_json(answer)
        return
    Console(file=sys.stdout, highlight=False).print(screen(answer, every=every))


async def _watch(url: str | None, key_file: Path | None, seconds: float, *, every: bool) -> None:
    """A server that is away is said on the screen and asked again: it may be the very thing that is watched."""
    clock, client = SystemClock(), connect(url, key_file)
    console = Console(file=sys.stdout, highlight=False)
    before: dict[str, Any] | None = None
    with (
        Live(console=console, screen=True, auto_refresh=False)
        if console.is_terminal
        else nullcontext() as live
    ):
        while True:
            shown: Text | Group
            try:
                answer = client.call("GET", "/v1/status")
            except (Unavailable, Refused) as error:
                if isinstance(error, Refused) and error.status < 500:
                    refused(error)
                shown = Text(str(error), "bold red")
            else:
                shown = screen(answer, every=every, before=before)
                before = answer
            if live is None:
                console.print(shown)
            else:
                live.update(shown, refresh=True)
            await clock.sleep(seconds)


def screen(
    answer: dict[str, Any], *, every: bool = False, before: dict[str, Any] | None = None
) -> Group:
    """The screen for an answer of `GET /v1/status`; with the answer `before`, how much the queues grew since."""
    return Group(
        _head(answer),
        Text(),
        _queues(answer["queues"], every, (before or {}).get("queues")),
        Text(),
        _links(answer),
        _rest(answer),
    )


def _head(answer: dict[str, Any]) -> Text:
    bad = [check for check in answer["checks"] if not check["ok"]]
    head = Text.assemble(
        ("ready", "bold green") if answer["ready"] else ("NOT READY", "bold red"),
        f"  msgcenter {answer['version']}  {answer['time']}",
        f"  config {answer['config']['hash'][:12]} generation {answer['config']['generation']}",
    )
    for check in bad:
        head.append(f"\n  {check['name']}: {check.get('detail', 'not ok')}", "red")
    if answer["config"].get("restart_needed"):
        head.append(
            f"\n  restart needed for: {', '.join(answer['config']['restart_needed'])}", "yellow"
        )
    last = answer["config"].get("last_reload") or {}
    if last.get("result") in ("refused", "failed"):
        head.append(f"\n  the last edit of the configuration was {last['result']}", "red")
        if last.get("detail"):
            head.append(f": {last['detail']}", "red")
        for problem in last.get("problems", ()):
            where = f"{problem['at']}  {problem['path']}"
            head.append(f"\n    {where}: {problem['message']}; {problem['remedy']}", "red")
    return head


def _queues(
    queues: list[dict[str, Any]], every: bool, before: list[dict[str, Any]] | None
) -> Table | Text:
    was = None if before is None else {queue["name"]: queue["ready"] for queue in before}
    shown = [queue for queue in queues if every or queue["ready"] or queue["leased"]]
    if not shown:
        return Text(f"queues   all {len(queues)} are empty")
    table = Table(box=None, pad_edge=False)
    table.add_column("queue")
    for column in ("frames", *(("change",) if was is not None else ()), "leased", "oldest"):
        table.add_column(column, justify="right")
    for queue in shown:
        oldest = queue.get("oldest_seconds")
        age = age_of(oldest) if oldest is not None else "-"
        cells = [queue["name"], str(queue["ready"]), str(queue["leased"]), age]
        if was is not None:
            grown = queue["ready"] - was.get(queue["name"], 0)
            cells.insert(2, f"{grown:+d}" if grown else "")
        table.add_row(*cells)
    return table


def _links(answer: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("channel", "kind", "health", "links", ""):
        table.add_column(column)
    for channel in answer["channels"]:
        health = channel["health"]
        style = "green" if health in _GOOD else "red" if health == "down" else "yellow"
        links = str(channel.get("links_up", "-"))
        table.add_row(
            channel["name"], channel["kind"], Text(health, style), links, channel.get("detail", "")
        )
    return table


def _rest(answer: dict[str, Any]) -> Text:
    now = datetime.fromisoformat(answer["time"])
    out = Text("\n")
    for name, meaning in (("held", "next due"), ("parked", "oldest")):
        backlog = answer[name]
        out.append(f"{name} {backlog['count']}")
        if "oldest_at" in backlog:
            seconds = (now - datetime.fromisoformat(backlog["oldest_at"])).total_seconds()
            when = f"{age_of(seconds)} ago" if seconds >= 0 else f"in {age_of(-seconds)}"
            out.append(f" ({meaning} {when})")
        out.append("   ")
    out.append(f"dead {answer['dead']}", "red" if answer["dead"] else "")
    return out


def age_of(seconds: float) -> str:
    """`4.2s`, `3m`, `2h`, `5d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.1f}s"
