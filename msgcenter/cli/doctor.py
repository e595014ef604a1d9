"""`msgcenter doctor`: look at everything this process would stand on, and say what to do about each fault."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from msgcenter.cli.client import AsJson, print_json
from msgcenter.cli.config import folder_of, installed_settings
from msgcenter.clock import SystemClock
from msgcenter.config import Config, ConfigErrors, load
from msgcenter.doctor import Finding, Look, examine

app = typer.Typer(add_completion=False)

EX_FAULTS = 1
_SIGNS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Option("--config", metavar="DIR", help="Configuration folder; default ./config."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data folder, when it is not the configured one.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0.1, max=60, help="Seconds that a server may take for an answer.")
    ] = 5.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what is not well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Files, machine, servers, queues, clocks, keys, backlogs: what is wrong, and what to do.

    Changes nothing, and may run beside a server. Exit 0: nothing fails (warnings may be there); 1: something does.
    """
    place = folder_of(folder, os.environ)
    clock = SystemClock()
    config: Config | None = None
    errors: ConfigErrors | None = None
    try:
        config = load(place, settings_models=installed_settings(), env=os.environ, clock=clock)
    except ConfigErrors as error:
        errors = error
    if config is not None and data is not None:
        config = replace(config, process=config.process.model_copy(update={"data": data}))
    look = Look(place, os.environ, config, errors, clock, patience)
    console = Console(file=sys.stdout, highlight=False)

    async def all_findings() -> list[Finding]:
        found = []
        async for finding in examine(look):
            found.append(finding)
            if not as_json and not (quiet and finding.level == "ok"):
                console.print(line(finding), soft_wrap=True)
        return found

    findings = asyncio.run(all_findings())
    levels = Counter(finding.level for finding in findings)
    if as_json:
        print_json({"ok": not levels["fail"], "findings": [each.as_dict() for each in findings]})
    else:
        console.print(f"\n{levels['fail']} fail, {levels['warn']} warn, {levels['ok']} ok")
    if levels["fail"]:
        raise typer.Exit(EX_FAULTS)


def line(finding: Finding) -> Text:
    """One finding as it is read; its remedy on a line of its own."""
    sign, style = _SIGNS[finding.level]
    out = Text.assemble((f"{sign:<5}", style), f"{finding.check:<20} {finding.said}")
    if finding.remedy:
        out.append(f"\n     {'':<20} → {finding.remedy}", "bold")
    return out
