"""`msgcenter tail`: events as they come, one line each, read on from where the last answer ended."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from msgcenter.cli.client import AsJson, KeyFile, Url, ask, connect

app = typer.Typer(add_completion=False)


@app.command()
def tail(
    cursor: Annotated[str, typer.Option(help="Start here; none: from now on.")] = "",
    beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start at the first.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more; else stop at the end.")] = True,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Follow the events of the key's caller (with scope read:all: everybody's)."""
    client = connect(url, key_file)
    silent = not (cursor or beginning)
    while True:
        # what is old is passed over first, without waiting
        wait = "20s" if follow and not silent else ""
        query = {"cursor": cursor, "wait": wait, "limit": 1000}
        page = ask(client, "GET", "/v1/events", query=query)
        cursor = page["cursor"]
        if not silent:
            for event in page["items"]:
                typer.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
        if not page["items"]:
            silent = False
            if not follow:
                return


def _line(event: dict[str, Any]) -> str:
    data = event["data"]
    words = " ".join(
        f"{name}={data[name]}"
        for name in ("status", "code", "channel", "reference")
        if data.get(name)
    )
    return f"{event['time']}  {event['type']}  {event.get('subject', '')}  {words}".rstrip()
