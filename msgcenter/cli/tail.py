"""`msgcenter tail`: events as they come, one line each, read on from where the last answer ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from msgcenter.cli.client import (
    EX_UNAVAILABLE,
    AsJson,
    KeyFile,
    Refused,
    Unavailable,
    Url,
    connect,
    fail,
    refused,
)
from msgcenter.clock import SystemClock

app = typer.Typer(add_completion=False)
RETRY_S = 1.0
_WORDS = ("type", "status", "code", "channel", "reference", "to")


@app.command()
def tail(
    cursor: Annotated[str, typer.Option(help="Start here; none: from now on.")] = "",
    beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start at the first.")
    ] = False,
    follow: Annotated[bool, typer.Option(help="Wait for more; else stop at the end.")] = True,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="WORD=TEXT",
            help="Only events of which this holds: type (part of it), status, code, channel, reference, to; may be repeated.",
        ),
    ] = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Follow the events of the key's caller (with scope read:all: everybody's)."""
    wanted = [_condition(each) for each in only or ()]
    silent = not (cursor or beginning)
    away = False
    clock, client = SystemClock(), connect(url, key_file)
    while True:
        # what is old is passed over first, without waiting
        wait = "20s" if follow and not silent else ""
        query = {"cursor": cursor, "wait": wait, "limit": 1000}
        try:
            page = client.call("GET", "/v1/events", query=query)
        except (Unavailable, Refused) as error:
            passing = isinstance(error, Unavailable) or error.status >= 500
            if not (passing and follow and cursor):
                if isinstance(error, Refused):
                    refused(error)
                fail(str(error), EX_UNAVAILABLE)
            if not away:
                typer.echo(f"{error}; waiting for it", err=True)
            away = True
            asyncio.run(clock.sleep(RETRY_S))
            continue
        away = False
        cursor = page["cursor"]
        if not silent:
            for event in page["items"]:
                if all(holds(event) for holds in wanted):
                    typer.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
        if not page["items"]:
            silent = False
            if not follow:
                return


def _condition(text: str) -> Callable[[dict[str, Any]], bool]:
    """`status=delivered` as a test of an event. Raises BadParameter."""
    word, sign, value = text.partition("=")
    if not sign or word not in _WORDS:
        raise typer.BadParameter(
            f"{text!r}: write one of {', '.join(_WORDS)}, =, and a text", param_hint="--only"
        )
    if word == "type":
        return lambda event: value in event["type"]
    return lambda event: str(event["data"].get(word, "")) == value


def _line(event: dict[str, Any]) -> str:
    data = event["data"]
    words = " ".join(
        f"{name}={data[name]}"
        for name in ("status", "code", "channel", "reference")
        if data.get(name)
    )
    return f"{event['time']}  {event['type']}  {event.get('subject', '')}  {words}".rstrip()
