"""`msgcenter customers`: read a file of customers in, show one, write them out; three commands, and the steps of an import that can be
stopped at any of them.

One file, for the three commands share the form of a line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from msgcenter.cli.client import (
    EX_DATAERR,
    EX_UNAVAILABLE,
    AsJson,
    Client,
    KeyFile,
    Quiet,
    Refused,
    Unavailable,
    Url,
    ask,
    connect,
    fail,
    print_json,
)
from msgcenter.clock import SystemClock
from msgcenter.customers.files import Entry, Unreadable, csv_lines, item_of, read_rows

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Read customers in, show them, write them out."
)
BATCH = 250
_FORMS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}


@dataclass(frozen=True, slots=True)
class Done:
    """How far an import came. `size`, `mtime_ns`: of the file; `rejects`: octets of the rejects file."""

    size: int
    mtime_ns: int
    rows: int = 0
    saved: int = 0
    refused: int = 0
    rejects: int = 0


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="FILE.csv or FILE.ndjson.", exists=True)],
    encoding: Annotated[str, typer.Option(help="Of the file.")] = "utf-8",
    restart: Annotated[
        bool, typer.Option("--restart", help="From the first row, not from where it stopped.")
    ] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make or change the customers of a file. Stopped, the same command goes on; the same file again changes nothing.

    Rows that are refused go to FILE.rejects.ndjson, each with its line, field, value and remedy; the exit code is then 65.
    """
    form = _FORMS.get(file.suffix.lower())
    if form is None:
        fail(f"{file}: the name must end in {', '.join(_FORMS)}", 2)
    client = connect(url, key_file)
    clock = SystemClock()
    begun = clock.monotonic()
    done = _begun(file, restart)
    first = done.rows
    try:
        with file.open("rb") as source, _Bar(file, quiet or as_json) as (bar, task):
            rows = read_rows(source, form, encoding)
            for _ in islice(rows, done.rows):
                continue
            with _rejects(file, done) as rejects:
                while batch := list(islice(rows, BATCH)):
                    saved = _send(client, batch, rejects)
                    rejects.flush()
                    done = replace(
                        done,
                        rows=done.rows + len(batch),
                        saved=done.saved + saved,
                        refused=done.refused + len(batch) - saved,
                        rejects=rejects.tell(),
                    )
                    _keep(file, done)
                    bar.update(task, completed=batch[-1].offset)
    except (Unreadable, LookupError) as error:
        fail(f"{file}: {error}", EX_DATAERR)
    except Unavailable as error:
        fail(f"{error}; {done.rows} rows are done, the same command goes on", EX_UNAVAILABLE)
    _progress(file).unlink(missing_ok=True)
    if not done.refused:
        _rejected(file).unlink(missing_ok=True)
    took = clock.monotonic() - begun
    where = str(_rejected(file)) if done.refused else None
    summary = {
        "rows": done.rows,
        "saved": done.saved,
        "refused": done.refused,
        "resumed_after": first,
        "seconds": round(took, 3),
        "rejects": where,
    }
    if as_json:
        print_json(summary)
    elif not quiet:
        rate = (done.rows - first) / took if took else 0.0
        typer.echo(f"{done.saved} saved, {done.refused} refused, {rate:.0f} rows a second")
        if where:
            typer.echo(f"why: {where}", err=True)
    if done.refused:
        raise typer.Exit(EX_DATAERR)


@app.command()
def show(
    customer: Annotated[str, typer.Argument(metavar="ID|ADDRESS")],
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """One customer with all that are linked to it."""
    client = connect(url, key_file)
    view: Mapping[str, Any] | None = None
    if ":" not in customer:
        try:
            view = client.call("GET", f"/v1/customers/{customer}")
        except Refused as no:
            if no.status != 404 or not customer.lstrip("+").isdigit():
                view = ask(client, "GET", f"/v1/customers/{customer}")
        except Unavailable as error:
            fail(str(error), EX_UNAVAILABLE)
    if view is None:
        view = ask(client, "GET", "/v1/customers", query={"address": customer})["items"][0]
    if as_json:
        print_json(view)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, text in _lines(view):
        table.add_row(name, text)
    Console(file=sys.stdout, highlight=False).print(table)


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="FILE.csv or FILE.ndjson; none: print.")] = None,
    tag: Annotated[str, typer.Option(help="Only with this tag.")] = "",
    form: Annotated[str, typer.Option("--format", help="csv or ndjson.")] = "",
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Everybody, one person a line, as `import` reads it; whoever was erased is left out."""
    form = form or (_FORMS.get(out.suffix.lower(), "") if out else "ndjson")
    if form not in ("csv", "ndjson"):
        fail("--format: csv or ndjson", 2)
    items = _all(connect(url, key_file), tag)
    lines = csv_lines(items) if form == "csv" else (_json(item) + "\n" for item in items)
    if out is None:
        for line in lines:
            typer.echo(line, nl=False)
        return
    part = out.with_name(out.name + ".part")
    with _private(part, "w") as target:
        target.writelines(lines)
    part.replace(out)


# -- import, step by step -----------------------------------------------------------------------


def _send(client: Client, batch: Sequence[Entry], rejects: IO[str]) -> int:
    """Hand over the rows that could be read; how many were saved."""
    good = [entry for entry in batch if entry.problem is None]
    answers: list[Mapping[str, Any]] = []
    if good:
        body = {"customers": [entry.item for entry in good]}
        try:
            answers = client.call("POST", "/v1/customers:batch", body)["items"]
        except Refused as no:
            if no.status >= 500 or no.status == 429:
                raise Unavailable(str(no)) from no
            if no.status == 400:  # JSON that only the server refuses: find the row
                answers = [_alone(client, entry) for entry in good]
            else:
                answers = ask(client, "POST", "/v1/customers:batch", body)["items"]
    results = iter(answers)
    saved = 0
    for entry in batch:
        if entry.problem is not None:
            faults: Sequence[Mapping[str, Any]] = [asdict(entry.problem)]
        else:
            answer = next(results)
            if answer["ok"]:
                saved += 1
                continue
            faults = answer.get("errors", ())
        for fault in faults:
            rejects.write(_json({"line": entry.line, **fault, "row": entry.item}) + "\n")
    return saved


def _alone(client: Client, entry: Entry) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = client.call(
            "POST", "/v1/customers:batch", {"customers": [entry.item]}
        )["items"][0]
    except Refused as no:
        if no.status != 400:
            raise Unavailable(str(no)) from no
        problem = no.problem
        fault = {"field": "", "detail": problem["detail"], "remedy": problem.get("remedy", "")}
        return {"ok": False, "errors": [fault]}
    return answer


def _progress(file: Path) -> Path:
    return file.with_name(file.name + ".progress")


def _rejected(file: Path) -> Path:
    return file.with_name(file.name + ".rejects.ndjson")


def _begun(file: Path, restart: bool) -> Done:
    """Where to go on."""
    stat = file.stat()
    fresh = Done(stat.st_size, stat.st_mtime_ns)
    if restart:
        return fresh
    try:
        kept = Done(**json.loads(_progress(file).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return fresh
    except (ValueError, TypeError):
        fail(f"{_progress(file)} cannot be read: --restart begins anew", EX_DATAERR)
    if (kept.size, kept.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
        fail(f"{file} was changed since its import stopped: --restart begins anew", EX_DATAERR)
    return kept


def _keep(file: Path, done: Done) -> None:
    part = file.with_name(file.name + ".progress.part")
    part.write_text(json.dumps(asdict(done)), encoding="utf-8")
    part.replace(_progress(file))


def _rejects(file: Path, done: Done) -> IO[str]:
    """The rejects file, as it was when `done` was written down."""
    path = _rejected(file)
    target = _private(path, "a" if done.rejects else "w")
    target.truncate(done.rejects)
    return target


def _private(path: Path, mode: str) -> IO[str]:
    """Personal data: for the owner only."""
    return open(
        path, mode, encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)
    )


class _Bar:
    """A progress bar on stderr when somebody watches."""

    def __init__(self, file: Path, hidden: bool) -> None:
        self._total = file.stat().st_size
        self._name = file.name
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=hidden or not sys.stderr.isatty(),
        )

    def __enter__(self) -> tuple[Progress, Any]:
        self._bar.start()
        return self._bar, self._bar.add_task(self._name, total=self._total)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


# -- showing and writing ------------------------------------------------------------------------


def _all(client: Client, tag: str) -> Iterator[Mapping[str, Any]]:
    cursor = ""
    while True:
        query = {"tag": tag, "cursor": cursor, "limit": 1000}
        page = ask(client, "GET", "/v1/customers", query=query)
        for view in page["items"]:
            if item := item_of(view):
                yield item
        cursor = page.get("next_cursor", "")
        if not cursor:
            return


def _lines(view: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("id", "person", "zone", "city", "level", "organisation", "agent", "erased_at"):
        if view.get(name):
            yield name, str(view[name])
    if len(view.get("members", ())) > 1:
        yield "members", ", ".join(view["members"])
    for held in view["addresses"]:
        times = f"{held.get('valid_from', '')} – {held.get('valid_to', '')}".strip(" –")
        yield "address", f"{held['address']}  {times}".rstrip()
    if view["tags"]:
        yield "tags", ", ".join(dict.fromkeys(tag["name"] for tag in view["tags"]))
    wishes = view["preferences"]
    for window in wishes["windows"]:
        yield "not disturbed", _json(window)
    for mute in wishes["mutes"]:
        yield "muted until", mute["until"]
    if wishes["service_only"]:
        yield "wishes", "service messages only"
    if wishes["channels"]:
        yield "prefers", ", ".join(wishes["channels"])
    for one in view["consents"]:
        yield one["state"], f"{one['channel']} {one['category']}  {one.get('at', '')}"
    for one in view["blocks"]:
        if one["in_force"]:
            yield (
                one["level"],
                f"{one['id']}  until {one.get('until', 'lifted')}  {one.get('reason', '')}",
            )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
