"""`msgcenter reconcile`: per account and day, platform = relayed + stated exceptions; exits 1 when it does not add up."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.cli.client import AsJson, KeyFile, Url, ask, connect, print_json

app = typer.Typer(add_completion=False)
_REASONS = ("no_licence", "no_consent", "too_young", "unexplained")
_HEADS = ("account", "archived", "missing", "filled", "own", "in", "out", "staff", *_REASONS, "")


@app.command()
def reconcile(
    day: Annotated[
        str | None, typer.Option(help="Business day such as 2026-11-21; default: yesterday.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also accounts that add up.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare what the platform's archive kept with what was relayed, account by account."""
    answer = ask(connect(url, key_file), "GET", "/v1/reconciliation", query={"day": day})
    if as_json:
        print_json(answer)
    else:
        _show(answer, every)
    raise typer.Exit(0 if answer["balanced"] else 1)


def _show(answer: dict[str, Any], every: bool) -> None:
    items = answer["items"]
    wrong = [item for item in items if not item["balanced"]]
    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    for head in _HEADS:
        table.add_column(head, justify="left" if head in ("account", "") else "right")
    for item in items if every else wrong:
        relayed, exceptions = item["relayed"], item["exceptions"]
        table.add_row(
            item["account"],
            str(item.get("archived", "-")),
            *(str(item[name]) for name in ("missing", "filled", "own")),
            *(str(relayed.get(name, 0)) for name in ("in", "out", "staff")),
            *(str(exceptions.get(name, 0)) for name in _REASONS),
            "adds up" if item["balanced"] else "DOES NOT ADD UP",
        )
        for one in item.get("unexplained") or ():
            table.add_row(f"  {one['person']}", *[""] * 10, str(one["messages"]), "not archived")
        for one in item.get("not_relayed") or ():
            said = f"  {one['person']} {one['at']}"
            table.add_row(said, *[""] * 11, f"not relayed: {one['remote_id']}")
    if table.rows:
        console.print(table)
    good = len(items) - len(wrong)
    console.print(f"{answer['day']}: {good} of {len(items)} accounts add up")
    if wrong:
        console.print(
            "missing: read from the archive, not relayed: look at `msgcenter dead list`; "
            "unexplained: see the archive channel's health and its alarms"
        )
