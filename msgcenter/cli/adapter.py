"""`msgcenter adapter`: the matrix of what each kind can do, and `new`, which writes a working adapter package to begin with."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from msgcenter import matrix
from msgcenter.cli.scaffold import files

app = typer.Typer(add_completion=False, no_args_is_help=True)
MOST = 40
"""Characters of a kind."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@app.command("matrix")
def show(
    out: Annotated[
        Path | None, typer.Option(help="Write the page of the kinds shipped here.")
    ] = None,
) -> None:
    """Print, or write, what each installed kind can do."""
    if out is None:
        typer.echo(matrix.page(list(matrix.installed().values())))
        return
    out.write_text(matrix.page(list(matrix.installed(own=True).values())), "utf-8")
    typer.echo(f"written: {out}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The kind, such as notice-board.")],
    folder: Annotated[
        Path, typer.Option(help="Where; a folder of that name is made in it.")
    ] = Path(),
) -> None:
    """Write a package with an adapter over HTTP and its rig: it passes the contract suite as it is."""
    if not _NAME.fullmatch(name) or len(name) > MOST:
        _refuse(
            f"NAME {name!r}: lower-case letters, digits and single hyphens, at most {MOST}, such as notice-board"
        )
    if name in matrix.installed():
        _refuse(f"{name}: this kind is installed already; choose another name")
    home = folder / name
    if home.exists():
        _refuse(f"{home}: is there already; choose another name or --folder")
    try:
        for path, text in files(name).items():
            target = home / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
            typer.echo(target)
    except OSError as error:
        _refuse(f"--folder {folder}: {error.strerror}; choose one that can be written to")
    # This interpreter: another one would not find msgcenter.
    typer.echo(
        f"\nnext: {sys.executable} -m pip install -e {home}\n"
        f"then, in a checkout of msgcenter:\n"
        f"      {sys.executable} -m pytest tests/contract/test_adapter.py -k {name}"
    )


def _refuse(why: str) -> None:
    sys.stderr.write(f"msgcenter adapter: {why}\n")
    raise typer.Exit(2)
