"""`msgcenter events`: the page of what each event holds, to read or to write anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from msgcenter.archive.event_page import page

app = typer.Typer(add_completion=False)


@app.command()
def show(
    out: Annotated[Path | None, typer.Option(help="Write the page there instead.")] = None,
) -> None:
    """Print, or write, what each type of event holds."""
    if out is None:
        typer.echo(page())
        return
    out.write_text(page(), "utf-8")
    typer.echo(f"written: {out}")
