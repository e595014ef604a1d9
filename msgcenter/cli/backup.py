"""`msgcenter backup` and `msgcenter restore`: a whole deployment in one file, and the way back with what it has lost told."""

from __future__ import annotations

import asyncio
import os
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from msgcenter.backup import BackupError, Manifest, gaps, quiet
from msgcenter.backup import Progress as Told
from msgcenter.backup.make import make
from msgcenter.backup.restore import Restored, describe, verify
from msgcenter.backup.restore import restore as put_back
from msgcenter.cli import installed_version
from msgcenter.cli.client import EX_DATAERR, EX_UNAVAILABLE, AsJson, fail, print_json
from msgcenter.cli.config import EX_CONFIG, folder_of, installed_settings
from msgcenter.clock import SystemClock
from msgcenter.config import Config, ConfigErrors, load
from msgcenter.parts import DataFolderBusy
from msgcenter.state import StateError
from msgcenter.store import StoreError

Folder = Annotated[
    Path | None, typer.Option("--config", help="Configuration folder; default ./config.")
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Data folder, when it is not the configured one.")
]


def app(args: list[str], prog_name: str) -> None:
    """Runs `backup` or `restore`, by the name it is called."""
    command: Callable[..., None] = restore if prog_name.endswith("restore") else backup
    one = typer.Typer(add_completion=False)
    one.command()(command)
    one(args=args, prog_name=prog_name)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it: a .tar.gz.")],
    with_archive: Annotated[
        bool, typer.Option("--with-archive", help="The archive's files too.")
    ] = False,
    with_media: Annotated[bool, typer.Option("--with-media", help="Media files too.")] = False,
    config: Folder = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write configuration, keys and databases to one checked file; a server may run meanwhile.

    The file holds secrets and customers' data: it is readable by its owner only; keep it so.
    """
    loaded = _load(config, data)
    with _progress(as_json) as told, _faults():
        manifest = asyncio.run(
            make(
                loaded,
                file,
                release=installed_version(),
                clock=SystemClock(),
                archive=with_archive,
                media=with_media,
                progress=told,
            )
        )
    if as_json:
        print_json({"file": str(file), "size": file.stat().st_size, **_view(manifest)})
        return
    _table(manifest)
    typer.echo(f"wrote {file}, {decimal(file.stat().st_size)}")
    for part, kind, tools in (
        ("bus", "rabbit", "RabbitMQ"),
        ("state", "redis", "Redis"),
    ):
        if manifest.kinds[part] == kind:
            typer.echo(f"{tools} is not in it: see docs/upgrades.md", err=True)
    typer.echo(f"to look at it: msgcenter restore {shlex.quote(str(file))} --verify", err=True)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `msgcenter backup` wrote.")],
    only_verify: Annotated[
        bool, typer.Option("--verify", help="Check it and say what is in it; change nothing.")
    ] = False,
    replace_old: Annotated[
        bool, typer.Option("--replace", help="Move the old data aside and take its place.")
    ] = False,
    archive: Annotated[
        Path | None,
        typer.Option(help="Archive files to list what is lost by; default those of the old data."),
    ] = None,
    config: Folder = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place, safe to start: nothing that may have left is sent again, what is lost is listed.

    What waited in the backup ends as `unknown` with code `restored`; P4 to P6 are paused until you resume them, for opt-outs since
    the backup are lost.
    """
    if only_verify:
        with _progress(as_json) as told, _faults(), tempfile.TemporaryDirectory() as folder:
            manifest = verify(file, Path(folder), told)
            found = describe(Path(folder), manifest)
        if as_json:
            print_json({"ok": True, **_view(manifest), "rows": found})
        else:
            _table(manifest, found)
            typer.echo(
                f"{file} is whole: {len(manifest.parts)} files, checksums and databases good"
            )
        return
    loaded = _load(config, data)
    with _progress(as_json) as told, _faults():
        done = asyncio.run(
            put_back(
                file,
                loaded,
                replace_old=replace_old,
                archive=archive,
                clock=SystemClock(),
                progress=told,
            )
        )
    if as_json:
        print_json(_done(done))
    else:
        _say(done)


def _load(folder: Path | None, data: Path | None) -> Config:
    try:
        loaded = load(
            folder_of(folder, os.environ),
            settings_models=installed_settings(),
            env=os.environ,
            clock=SystemClock(),
        )
    except ConfigErrors as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(EX_CONFIG) from None
    if data is not None:
        loaded = replace(loaded, process=loaded.process.model_copy(update={"data": data}))
    return loaded


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except (BackupError, ValueError) as error:
        fail(str(error), EX_DATAERR)
    except (DataFolderBusy, StoreError, StateError, OSError, sqlite3.Error) as error:
        fail(str(error), EX_UNAVAILABLE)


@contextmanager
def _progress(silent: bool) -> Iterator[Told]:
    """A bar a part, on a terminal's stderr; silent with `--json`."""
    if silent:
        yield quiet
        return
    with Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def told(part: str, done: int, of: int) -> None:
            if part not in tasks:
                tasks[part] = bars.add_task(part, total=None, said="")
            said = f"{100 * done // of} %" if of else f"{done} rows"
            bars.update(tasks[part], completed=done, total=of or None, said=said)

        yield told


def _view(manifest: Manifest) -> dict[str, Any]:
    return {
        "release": manifest.release,
        "made_at": _time(manifest.made_at),
        "revision": manifest.revision,
        "kinds": manifest.kinds,
        "parts": [
            {"name": part.name, "size": part.size, "sha256": part.sha256} for part in manifest.parts
        ],
    }


def _table(manifest: Manifest, rows: dict[str, int] | None = None) -> None:
    console = Console(file=sys.stdout, highlight=False)
    console.print(
        f"release {manifest.release}, made {_time(manifest.made_at)}, tables at {manifest.revision or '-'}"
    )
    sizes: dict[str, tuple[int, int]] = {}
    for part in manifest.parts:
        head = part.name.partition("/")[0]
        name = head if head in ("config", "archive", "media", "tables") else part.name
        files, size = sizes.get(name, (0, 0))
        sizes[name] = files + 1, size + part.size
    table = Table(box=None, pad_edge=False)
    table.add_column("part")
    table.add_column("files", justify="right")
    table.add_column("size", justify="right")
    for name, (files, size) in sizes.items():
        table.add_row(name, str(files), decimal(size))
    console.print(table)
    if rows:
        table = Table(box=None, pad_edge=False)
        table.add_column("holds")
        table.add_column("rows", justify="right")
        for name, count in rows.items():
            table.add_row(name, str(count))
        console.print(table)


def _done(done: Restored) -> dict[str, Any]:
    return {
        "data": str(done.data),
        "old_data": str(done.aside) if done.aside else None,
        "report": str(done.report),
        "config": str(done.config) if done.config else None,
        "ended_as_unknown": done.marked,
        "unreadable_frames": done.unreadable,
        "gaps": dict(done.gaps),
        "paused": list(done.paused),
        "notes": done.notes,
    }


def _say(done: Restored) -> None:
    console = Console(file=sys.stdout, highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("gap")
    table.add_column("messages", justify="right")
    table.add_column("meaning")
    for kind, meaning in gaps.KINDS.items():
        table.add_row(kind, str(done.gaps[kind]), meaning)
    console.print(table)
    console.print(f"each of them: {done.report}", soft_wrap=True)
    console.print(
        f"{done.marked} messages waited in the backup and may have left since: they end as unknown (restored)",
        soft_wrap=True,
    )
    for note in done.notes:
        console.print(note, soft_wrap=True)
    if done.aside:
        console.print(f"the old data: {done.aside}", soft_wrap=True)
    if done.config:
        console.print(f"the backup's configuration: {done.config}", soft_wrap=True)
    console.print(f"restored into {done.data}; start it with: msgcenter serve", soft_wrap=True)
    if done.paused:
        console.print(
            "P4 to P6 wait: opt-outs since the backup are lost. Bring them in, then:",
            soft_wrap=True,
        )
        for name in done.paused:
            console.print(f"  msgcenter resume category={name}")


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
