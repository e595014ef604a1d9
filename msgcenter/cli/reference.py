"""`msgcenter reference`: the pages of docs/ that are made from the program itself: every key of the configuration, every metric."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from msgcenter.config import reference
from msgcenter.metrics import Metrics, page

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Pages made from the program itself."
)
Out = Annotated[Path | None, typer.Option(help="Write the page into this file.")]


@app.command()
def configuration(out: Out = None) -> None:
    """Every key of every configuration file: type, default, meaning."""
    _give(reference.page(shipped_settings()), out)


@app.command()
def metrics(out: Out = None) -> None:
    """Every metric: type, labels, meaning."""
    _give(page(Metrics(CollectorRegistry())), out)


def shipped_settings() -> dict[str, type[BaseModel]]:
    """Channel kind -> settings model of the adapters shipped here; those of other packages have pages of their own."""
    return {
        point.name: point.load().Settings
        for point in entry_points(group="msgcenter.adapters")
        if point.value.startswith("adapters.")
    }


def _give(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, "utf-8")
    typer.echo(f"written: {out}")
