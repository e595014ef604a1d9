"""`msgcenter config status | diff | approve | apply | rollback | history`: what a change of the rules means, and how it comes into force."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.cli.client import EX_DATAERR, AsJson, KeyFile, Url, ask, connect, fail, print_json
from msgcenter.cli.config import (
    EX_CONFIG,
    Folder,
    folder_of,
    folder_status,
    installed_settings,
    report,
)
from msgcenter.clock import SystemClock
from msgcenter.config import Config, ConfigErrors, load
from msgcenter.config.diff import diff as differences
from msgcenter.config.diff import touches_rules
from msgcenter.config.values import parse_duration

_COLOUR = {"added": "green", "removed": "red", "changed": "yellow"}


def read(folder: Path | None, texts: Mapping[str, bytes] | None = None) -> Config:
    """A folder's configuration, or exit 78 with every fault told."""
    try:
        return load(
            folder,
            settings_models=installed_settings(),
            env=os.environ,
            clock=SystemClock(),
            texts=texts,
        )
    except ConfigErrors as errors:
        report(errors, as_json=False)
        raise typer.Exit(EX_CONFIG) from errors


def diff(
    folder: Folder = None,
    against: Annotated[
        str,
        typer.Option(help="Another folder, or a version of `history`; default: what is in force."),
    ] = "",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """What the folder says otherwise, rule by rule and in words; exit 1 if it does."""
    where = folder_of(folder, os.environ)
    new = read(where)
    held: int | None = None
    if against and not against.isdecimal():
        old = read(Path(against))
    else:
        client = connect(url, key_file)
        now = ask(client, "GET", "/v1/config")
        held = now["held"]
        number = against or now.get("in_force", {}).get("version")
        if not number:
            fail("nothing is in force yet; name a folder with --against", EX_DATAERR)
        found = ask(client, "GET", f"/v1/config/versions/{number}")
        old = read(where, {name: text.encode() for name, text in found["texts"].items()})
    changes = differences(old, new)
    decided = held if held is not None and touches_rules(changes) else 0 if not changes else None
    if as_json:
        rows = [
            {"file": c.file, "what": c.what, "rule": c.rule, "details": list(c.details)}
            for c in changes
        ]
        print_json({"changes": rows, "held_decided_anew": decided})
    else:
        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        shown = ""
        for change in changes:
            if change.file != shown:
                console.print(change.file, style="bold", markup=False)
                shown = change.file
            console.print(f"  {change}", style=_COLOUR[change.what], markup=False)
        if not changes:
            console.print("no difference that means anything")
        elif touches_rules(changes) and held is not None:
            console.print(f"{held} held messages would be decided anew")
    if changes:
        raise typer.Exit(1)


def approve(
    role: Annotated[
        str, typer.Option(help="As whom; callers.yaml says which a key may speak for.")
    ],
    reject: Annotated[bool, typer.Option("--reject", help="Refuse instead.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Agree to the changed rule files exactly as they lie in the server's folder now."""
    body = {"role": role, "reject": reject}
    _told(ask(connect(url, key_file), "POST", "/v1/config:approve", body), as_json)


def apply(
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="Without the approvals; needs --reason and --for.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Kept in the history and the audit log.")] = "",
    lasts: Annotated[
        str, typer.Option("--for", help="Approved by then, or the text before comes back; like 4h.")
    ] = "",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Take the folder's text now, if everybody has agreed who must; exit 1 if something else stays in force."""
    body: dict[str, Any] = {"break_glass": break_glass, "reason": reason}
    if lasts:
        body["lasts"] = _seconds(lasts)
    _told(ask(connect(url, key_file), "POST", "/v1/config:apply", body), as_json)


def rollback(
    version: Annotated[
        int, typer.Argument(help="A number of `history`; default: the text before.")
    ] = 0,
    reason: Annotated[str, typer.Option(help="Kept in the history and the audit log.")] = "",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Put an earlier version in force, until the folder's text changes."""
    body: dict[str, Any] = {"reason": reason, **({"version": version} if version else {})}
    view = ask(connect(url, key_file), "POST", "/v1/config:rollback", body)
    if as_json:
        print_json(view)
    else:
        typer.echo(_line(view["in_force"]))
        typer.echo(view.get("waiting", ""))


def history(url: Url = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """What was in force, newest first: how it came, and by whom."""
    items = ask(connect(url, key_file), "GET", "/v1/config/versions")["items"]
    if as_json:
        print_json({"items": items})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "at", "how", "hash", "who", "reason"):
        table.add_column(column)
    for item in items:
        cells = (str(item["version"]), item["at"], item["how"], item["hash"][:12])
        table.add_row(*cells, item.get("who", ""), item.get("reason", ""))
    Console(file=sys.stdout, highlight=False).print(table)


def status(
    folder: Folder = None,
    live: Annotated[
        bool, typer.Option("--live", help="Of a running server: what is in force, what waits.")
    ] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Which files are read, their hashes, and the hash of the whole."""
    if not live:
        folder_status(folder, as_json)
        return
    view = ask(connect(url, key_file), "GET", "/v1/config")
    if as_json:
        print_json(view)
        return
    _say(view)


def _told(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        _say(view)
    if view.get("waiting") or view["result"].get("result") in ("refused", "failed"):
        raise typer.Exit(1)


def _say(view: dict[str, Any]) -> None:
    if "in_force" in view:
        typer.echo(_line(view["in_force"]))
    result = view["result"]
    for problem in result.get("problems", ()):
        typer.echo(f"{problem['at']}  {problem['path']}: {problem['message']}; {problem['remedy']}")
    if view.get("waiting"):
        typer.echo(f"the folder's text {view['folder'][:12]} waits: {view['waiting']}")
    elif result.get("result") == "failed":
        typer.echo(f"not taken: {result.get('detail', '')}")


def _line(version: dict[str, Any]) -> str:
    who = f" by {version['who']}" if "who" in version else ""
    until = f", to be approved by {version['until']}" if "until" in version else ""
    how = version["how"].replace("_", "-")
    return f"in force: version {version['version']} ({version['hash'][:12]}), {how}{who}{until}"


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = None
    if not isinstance(seconds, float) or seconds <= 0:
        fail(f"--for {text}: write it like 30m or 4h", EX_DATAERR)
    return seconds
