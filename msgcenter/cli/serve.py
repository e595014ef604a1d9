"""`msgcenter serve`: run one process of the product until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from msgcenter import log as logs
from msgcenter.cli.config import EX_CONFIG, folder_of
from msgcenter.clock import SystemClock
from msgcenter.config import ConfigErrors
from msgcenter.serve import CANNOT_START, Process

EX_UNAVAILABLE = 69

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    folder: Annotated[
        Path | None,
        typer.Option("--config", metavar="DIR", help="Configuration folder.", show_default=False),
    ] = None,
    roles: Annotated[
        str, typer.Option(help="Comma list of api, submit, channel, inbound, archive, schedule.")
    ] = "",
    data: Annotated[str, typer.Option(help="Data folder.")] = "",
    port: Annotated[int, typer.Option(help="Port of the API.", min=-1, max=65535)] = -1,
) -> None:
    """Run the product until Ctrl-C or SIGTERM; SIGHUP reloads the configuration.

    Without a configuration folder everything is embedded: SQLite, all roles, API on 127.0.0.1:8080.
    """
    env = dict(os.environ)
    if roles:
        env["MSGCENTER__ROLES"] = roles
    if data:
        env["MSGCENTER__DATA"] = data
    if port >= 0:
        env["MSGCENTER__API__PORT"] = str(port)
    sys.exit(run(folder_of(folder, os.environ), env))


def run(folder: Path | None, env: dict[str, str]) -> int:
    """The process from start to end; its exit status."""
    clock = SystemClock()
    try:
        process = Process(folder, env=env, clock=clock)
    except ConfigErrors as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return EX_CONFIG
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    settings = process.config.process.log
    logs.setup(clock, level=settings.level, form=settings.format)
    process.log = logs.get("msgcenter")
    use_uvloop()
    try:
        asyncio.run(process.run_until_signalled())
    except CANNOT_START as error:
        process.log.error("cannot_start", error=error, kind=type(error).__name__)
        return EX_UNAVAILABLE
    return 0


def use_uvloop() -> None:
    """The faster event loop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
