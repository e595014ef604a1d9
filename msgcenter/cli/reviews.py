"""`msgcenter reviews`: content that a rule holds, and the decision about it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.cli.client import AsJson, KeyFile, Quiet, Url, ask, connect, fail, print_json

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Look at held content; approve or reject it."
)

Id = Annotated[str, typer.Argument(help="The review, rev_…")]
SHORT = 60


@app.command("list")
def show_all(
    state: Annotated[
        str, typer.Option(help="waiting, approved, rejected, expired or all.")
    ] = "waiting",
    caller: Annotated[str | None, typer.Option(help="Only what this caller sent.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only what this content rule held.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Oldest first."""
    query = {"state": state, "caller": caller, "rule": rule, "limit": limit}
    answer = ask(connect(url, key_file), "GET", "/v1/reviews", query=query)
    if as_json:
        print_json(answer)
        return
    if quiet:
        for item in answer["items"]:
            typer.echo(item["id"])
        return
    names = ("id", "state", "caller", "category", "rule", "found", "until", "content")
    table = Table(box=None, pad_edge=False)
    for column in names:
        table.add_column(column, overflow="fold")
    for item in answer["items"]:
        row = {**item, "found": _found(item, ", "), "content": _short(_text(item))}
        table.add_row(*(str(row.get(name, "")) for name in names))
    Console(file=sys.stdout, highlight=False).print(table)
    if answer.get("next_cursor"):
        typer.echo(f"more than {limit}: use --limit, or the filters")


@app.command()
def show(
    review: Id,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """One, with its whole content and every hit."""
    _print(ask(connect(url, key_file), "GET", f"/v1/reviews/{review}"), as_json=as_json)


@app.command()
def approve(
    review: Id,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let it go on. Not with the key that sent it."""
    body = {"reason": reason}
    answer = ask(connect(url, key_file), "POST", f"/v1/reviews/{review}:approve", body)
    _print(answer, as_json=as_json)


@app.command()
def reject(
    review: Id,
    reason: Annotated[str, typer.Option(help="The sender is told.")] = "",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """It is not sent."""
    if not reason:
        fail("say why: --reason TEXT", 2)
    body = {"reason": reason}
    answer = ask(connect(url, key_file), "POST", f"/v1/reviews/{review}:reject", body)
    _print(answer, as_json=as_json)


def _print(item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(item)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name in ("id", "state", "message", "step", "caller", "category", "campaign", "reference"):
        if item.get(name) not in (None, ""):
            table.add_row(name, str(item[name]))
    table.add_row("found", _found(item, "\n"))
    for name in ("at", "until", "decided_by", "decided_at", "reason"):
        if item.get(name):
            table.add_row(name, str(item[name]))
    table.add_row("content", _text(item))
    Console(file=sys.stdout, highlight=False, markup=False).print(table)


def _found(item: dict[str, Any], between: str) -> str:
    return between.join(f"{hit['rule']}: {hit['what']}" for hit in item["found"])


def _text(item: dict[str, Any]) -> str:
    content = item["content"]
    text = content.get("text")
    return text if isinstance(text, str) else json.dumps(content, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
