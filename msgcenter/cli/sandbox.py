"""`msgcenter sandbox`: everything on this machine, far ends simulated, with a walk-through that checks every claim it prints."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from msgcenter.sandbox.box import Box
    from msgcenter.sandbox.story import Story

EX_FALSE, EX_UNAVAILABLE = 1, 69

app = typer.Typer(add_completion=False)


@app.command()
def sandbox(
    once: Annotated[
        bool, typer.Option("--once", help="The walk-through alone: exit 0 if all is true, else 1.")
    ] = False,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of everything it writes.")
    ] = Path("data"),
    port: Annotated[int, typer.Option(help="Port of the API; 0: a free one.", min=0, max=65535)] = (
        8080
    ),
    sim_port: Annotated[
        int, typer.Option(help="Port of the far ends' journals; 0: a free one.", min=0, max=65535)
    ] = 8081,
) -> None:
    """Run the product with simulated far ends, tell what it does, and stay up until Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a story told line by line, in any locale
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
    console = Console(file=sys.stdout, highlight=False)
    console.print("[bold]msgcenter sandbox[/]: the whole product, its far ends simulated")
    from msgcenter import log as logs
    from msgcenter.cli.config import EX_CONFIG
    from msgcenter.cli.serve import use_uvloop
    from msgcenter.clock import SystemClock
    from msgcenter.config import ConfigErrors
    from msgcenter.sandbox.box import Box
    from msgcenter.sandbox.folder import Folder
    from msgcenter.serve import CANNOT_START

    folder = Folder(data.absolute())
    code = EX_UNAVAILABLE
    try:
        folder.data.mkdir(parents=True, exist_ok=True)
        with folder.log.open("a", encoding="utf-8") as log:
            logs.setup(SystemClock(), form="json", stream=log)
            use_uvloop()
            box = Box(folder, port=port, sim_port=sim_port)
            code = asyncio.run(_run(box, console, once=once, shown=data))
    except ConfigErrors as errors:
        for problem in errors.problems:
            sys.stderr.write(f"{data}/config/{problem}\n")
        code = EX_CONFIG
    except CANNOT_START as error:
        sys.stderr.write(f"msgcenter: {error}\n")
    raise SystemExit(code)


async def _run(box: Box, console: Console, *, once: bool, shown: Path) -> int:
    """Start, tell, stay, stop; the exit status."""
    from msgcenter.sandbox.story import Story
    from msgcenter.sandbox.walk import walk

    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    story = Story(console)
    try:
        await box.start()
        process = box.process
        assert process is not None and process.live is not None
        process.live.on_sighup(loop)
        _tell_where(box, story, shown)
        walking = asyncio.create_task(
            walk(
                url=box.url,
                sim_url=box.journals.url,
                key=box.key,
                config=box.folder.config,
                story=story,
                clock=process.clock,
                rng=process.rng,
            )
        )
        stopping = asyncio.create_task(told.wait())
        await asyncio.wait({walking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not walking.done():
            walking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await walking
            return 0 if not once else EX_FALSE
        good = walking.result()
        if once:
            stopping.cancel()
            return 0 if good else EX_FALSE
        _tell_what_next(box, story, shown)
        await stopping
        story.line("stopping")
        return 0
    finally:
        await box.stop()


def _tell_where(box: Box, story: Story, shown: Path) -> None:
    new = "made" if box.key_is_new else "kept from before"
    story.line(f"  API            {box.url}  (description: {box.url}/docs)")
    story.line(f"  far ends       {box.journals.url}  what they really received: /journal/sms, …")
    story.line(f"  configuration  {shown}/config  (edit it while this runs)")
    story.line(f"  log            {shown}/sandbox.log")
    story.line(f"  API key        {shown}/sandbox.key, {new}:")
    story.line(f"  {box.key}")


def _tell_what_next(box: Box, story: Story, shown: Path) -> None:
    story.line()
    story.line("It stays up until Ctrl-C. Try:", "bold")
    for line in hints(box.url, box.journals.url, shown / "sandbox.key"):
        story.line(f"  {line}")
    story.line(
        "Numbers that begin with 139000 are refused by the carrier, 139001 are switched off."
    )


def hints(url: str, sim_url: str, key: Path) -> list[str]:
    """Command lines that work as they stand."""
    login = f'-H "Authorization: Bearer $(cat {key})"'
    body = '{"to": "13800138000", "content": {"type": "text", "text": "您好"}}'
    mo = '{"sender": "13800138000", "destination": "10690000101", "text": "退订"}'
    return [
        f"curl -s {login} --json '{body}' '{url}/v1/messages?wait=5s'",
        f"curl -s {login} '{url}/v1/messages?address=13800138000'",
        f"curl -s {sim_url}/journal/sms?recipient=13800138000",
        f"curl -s --json '{mo}' {sim_url}/control/sms/mo",
        f"curl -s {login} {url}/v1/events",
        f"curl -s {url}/metrics",
        f"MSGCENTER_KEY=$(cat {key}) .venv/bin/msgcenter status --url {url}",
    ]
