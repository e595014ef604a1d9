"""`msgcenter pause` and `msgcenter resume`: the stop button on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.cli.client import EX_DATAERR, AsJson, KeyFile, Url, ask, connect, fail, print_json
from msgcenter.config.values import parse_duration
from msgcenter.pauses import SCOPES

What = Annotated[
    str | None,
    typer.Argument(
        metavar="SCOPE=NAME",
        help="campaign=…, caller=…, category=…, template=… or channel=… (a channel or a kind).",
        show_default=False,
    ),
]


def app(args: list[str], prog_name: str) -> None:
    """Runs `pause` or `resume`, by the name it is called."""
    command: Callable[..., None] = resume if prog_name.endswith("resume") else pause
    one = typer.Typer(add_completion=False)
    one.command()(command)
    one(args=args, prog_name=prog_name)


def pause(
    what: What = None,
    lasts: Annotated[
        str, typer.Option("--for", help="How long, like 2h; without it until `resume`.")
    ] = "",
    why: Annotated[str, typer.Option("--why", help="Told with every message held.")] = "",
    show: Annotated[bool, typer.Option("--list", help="What is paused now.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop all messages of one campaign, caller, category, template or channel: held, not dropped."""
    if show == (what is not None):
        fail("say what to pause, like campaign=spring; or --list what is paused", EX_DATAERR)
    client = connect(url, key_file)
    if what is None:
        items = ask(client, "GET", "/v1/pauses")["items"]
        print_json({"items": items}) if as_json else _table(items)
        return
    scope, value = _split(what)
    body: dict[str, Any] = {"scope": scope, "value": value, "why": why}
    if lasts:
        body["lasts"] = _seconds(lasts, "--for")
    view = ask(client, "POST", "/v1/pauses", body)
    if as_json:
        print_json(view)
        return
    until = f"until {view['until']}" if "until" in view else "until you resume it"
    typer.echo(f"paused {scope}={value} {until}; nothing more of it leaves")
    typer.echo(f"to go on: msgcenter resume {scope}={value}", err=True)


def resume(
    what: Annotated[str, typer.Argument(metavar="SCOPE=NAME", help="As it was paused.")],
    spread: Annotated[
        str,
        typer.Option(help="Over how long to let out what is held, like 10m; default by number."),
    ] = "",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let what was paused go on: each message once, in order of age, spread over a while."""
    scope, value = _split(what)
    query: dict[str, object] = {"scope": scope, "value": value}
    if spread:
        query["spread"] = f"{_seconds(spread, '--spread'):g}s"
    view = ask(connect(url, key_file), "DELETE", "/v1/pauses", query=query)
    if as_json:
        print_json(view)
        return
    if not view["ended"]:
        typer.echo(f"{scope}={value} was not paused", err=True)
    typer.echo(f"{view['released']} messages leave over {view['spread_seconds']:g} s")


def _split(what: str) -> tuple[str, str]:
    scope, sign, value = what.partition("=")
    if scope not in SCOPES or not sign or not value:
        fail(f"{what!r}: write one of {', '.join(f'{one}=NAME' for one in SCOPES)}", EX_DATAERR)
    return scope, value


def _seconds(text: str, option: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = None
    if not isinstance(seconds, float) or seconds <= 0:
        fail(f"{option} {text}: write it like 30s, 10m or 2h", EX_DATAERR)
    return seconds


def _table(items: list[dict[str, Any]]) -> None:
    if not items:
        typer.echo("nothing is paused")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("what", "held", "since", "until", "by", "why"):
        table.add_column(column, justify="right" if column == "held" else "left")
    for item in items:
        what = f"{item['scope']}={item['value']}"
        until, why = item.get("until", "resumed"), item.get("why", "")
        table.add_row(what, str(item["held"]), item["since"], until, item["by"], why)
    Console(file=sys.stdout, highlight=False).print(table)
