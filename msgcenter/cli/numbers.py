"""`msgcenter sms numbers FILE`: a list of numbers checked as the API would: which are wrong and why, which stand twice, whose network; nothing
is sent."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.api.problems import Fault
from msgcenter.api.recipient import read_recipient
from msgcenter.cli.client import EX_DATAERR, AsJson, print_json
from protocols.numbers import range_of

SHOWN = 20
_HEADS = frozenset({"number", "phone", "mobile", "tel", "手机号", "手机号码", "号码"})


@dataclass(slots=True)
class Checked:
    """`good`: E.164 in the order of the file, each once. `wrong`: (line, what stands there, why). `repeats`: (line, number, first line)."""

    good: dict[str, int] = field(default_factory=dict)
    """Number -> the line where it first stands."""
    wrong: list[tuple[int, str, str]] = field(default_factory=list)
    repeats: list[tuple[int, str, int]] = field(default_factory=list)
    networks: Counter[str] = field(default_factory=Counter)


def check_numbers(lines: Iterable[str]) -> Checked:
    """Check the first cell of each line; empty lines and a heading are passed over."""
    found = Checked()
    for number, row in enumerate(csv.reader(lines), 1):
        cell = row[0].strip() if row else ""
        if not cell or (number == 1 and cell.lower() in _HEADS):
            continue
        read = read_recipient(cell)
        if isinstance(read, Fault):
            found.wrong.append((number, cell, str(read.facts.get("why", read.code))))
        elif read.scheme != "tel":
            found.wrong.append((number, cell, f"is no number but {read.scheme}"))
        elif read.value in found.good:
            found.repeats.append((number, read.value, found.good[read.value]))
        else:
            found.good[read.value] = number
            known = range_of(read.value[3:]) if read.value.startswith("+86") else None
            found.networks[known.carrier if known else "other"] += 1
    return found


def numbers(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="One number a line, or CSV with it in front; -")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the good ones there, each once, as +86….")
    ] = None,
    wrong: Annotated[
        Path | None, typer.Option(help="Write the wrong ones there: line, number, why (CSV).")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of the file; gb18030 for old sheets.")] = "utf-8",
    as_json: AsJson = False,
) -> None:
    """Check a list of numbers as the API would, and whose network each is in. Exits 65 when any is wrong; --out is written all the same."""
    try:
        text = file.read().decode(encoding).removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:
        raise typer.BadParameter(
            f"{error}: name another, such as gb18030", param_hint="--encoding"
        ) from error
    found = check_numbers(io.StringIO(text))
    if out is not None:
        out.write_text("".join(f"{number}\n" for number in found.good), "utf-8")
    if wrong is not None:
        with wrong.open("w", encoding="utf-8", newline="") as sheet:
            csv.writer(sheet).writerows([("line", "number", "why"), *found.wrong])
    if as_json:
        print_json(
            {
                "good": len(found.good),
                "repeats": [
                    {"line": line, "number": number, "first": first}
                    for line, number, first in found.repeats
                ],
                "wrong": [
                    {"line": line, "number": number, "why": why}
                    for line, number, why in found.wrong
                ],
                "networks": dict(found.networks),
            }
        )
    else:
        _show(found)
    if found.wrong:
        raise typer.Exit(EX_DATAERR)


def _show(found: Checked) -> None:
    console = Console()
    networks = ", ".join(f"{name} {count}" for name, count in found.networks.most_common())
    console.print(
        f"{len(found.good)} good ({networks or '-'}), {len(found.repeats)} stand twice, "
        f"{len(found.wrong)} wrong"
    )
    if not found.wrong:
        return
    table = Table("line", "number", "why")
    for line, number, why in found.wrong[:SHOWN]:
        table.add_row(str(line), number[:40], why)
    console.print(table)
    if len(found.wrong) > SHOWN:
        console.print(f"… and {len(found.wrong) - SHOWN} more; --wrong FILE writes them all")
