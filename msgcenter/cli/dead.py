"""`msgcenter dead`: what was given up on, and back to work with it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.cli.client import AsJson, KeyFile, Quiet, Url, ask, connect, fail, print_json

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List and replay dead letters.")

Channel = Annotated[str | None, typer.Option(help="Only of this channel.")]
Code = Annotated[str | None, typer.Option(help="Only with this reason code.")]
Message = Annotated[str | None, typer.Option(help="Only of this message.")]
ExpiresIn = Annotated[str | None, typer.Option(help="New validity from now: 30s, 10m, 2h, 7d.")]


@app.command("list")
def show(
    channel: Channel = None,
    code: Code = None,
    message: Message = None,
    replayed: Annotated[bool, typer.Option(help="Also those replayed already.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Newest first, with the cause."""
    query = {
        "channel": channel,
        "code": code,
        "message": message,
        "replayed": "" if replayed else "false",
        "limit": limit,
    }
    answer = ask(connect(url, key_file), "GET", "/v1/dead-letters", query=query)
    if as_json:
        print_json(answer)
        return
    if quiet:
        for item in answer["items"]:
            typer.echo(item["id"])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "message", "caller", "channel", "code", "at", "cause"):
        table.add_column(column, overflow="fold")
    for item in answer["items"]:
        names = ("id", "message", "caller", "channel", "code", "at", "detail")
        table.add_row(*(str(item.get(name, "")) for name in names))
    Console(file=sys.stdout, highlight=False).print(table)
    if answer.get("next_cursor"):
        typer.echo(f"more than {limit}: use --limit, or the filters")


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.")] = None,
    channel: Channel = None,
    code: Code = None,
    message: Message = None,
    everything: Annotated[bool, typer.Option("--all", help="All not replayed yet.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 1000,
    expires_in: ExpiresIn = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters in again: those named, or all that fit the filters."""
    if bool(ids) == bool(channel or code or message or everything):
        fail("name ids, or filters (--channel, --code, --message), or --all", 2)
    client = connect(url, key_file)
    life = {"expires_in": expires_in} if expires_in else {}
    done: list[str] = []
    skipped: dict[str, str] = {}
    if ids:
        for dead_id in ids:
            answer = ask(client, "POST", f"/v1/dead-letters/{dead_id}:replay", life)
            done += answer["replayed"]
    else:
        given = {"channel": channel, "code": code, "message": message}
        body = {name: value for name, value in given.items() if value}
        answer = ask(client, "POST", "/v1/dead-letters:replay", {**body, **life, "limit": limit})
        done, skipped = answer["replayed"], answer["skipped"]
    if as_json:
        print_json({"replayed": done, "skipped": skipped})
        return
    typer.echo(f"{len(done)} replayed")
    for dead_id, why in skipped.items():
        typer.echo(f"{dead_id} skipped: {why}")
