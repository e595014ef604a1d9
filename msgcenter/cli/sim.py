"""`msgcenter sim NAME`: one simulated far end alone; its options are those of the simulator's own model."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import types
import typing
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from msgcenter.journals import JournalServer
from msgcenter.simulator import Journal, Simulator

GROUP = "msgcenter.simulators"
EX_UNAVAILABLE = 69
_SCALARS = (str, int, float)


def app(args: Sequence[str], prog_name: str) -> None:
    """Run until SIGINT or SIGTERM. Exits 2 for wrong options, 69 when the port is taken."""
    names = sorted(point.name for point in entry_points(group=GROUP))
    if not args or args[0] in ("-h", "--help") or args[0] not in names:
        out = sys.stdout if args and args[0] in ("-h", "--help") else sys.stderr
        out.write(
            f"Usage: {prog_name} NAME [options]\n\n  NAME: {', '.join(names) or 'none is installed'}\n"
        )
        raise SystemExit(0 if out is sys.stdout else 2)
    make: type[Simulator] = next(iter(entry_points(group=GROUP, name=args[0]))).load()
    parser = parser_of(f"{prog_name} {args[0]}", make.Options, make.__doc__ or "")
    given = vars(parser.parse_args(args[1:]))
    path, control = given.pop("journal"), (given.pop("control_host"), given.pop("control_port"))
    options = read_options(parser, make.Options, given)
    try:
        journal = Journal(path)
        try:
            asyncio.run(_run(make(options, journal), args[0], control))
        finally:
            journal.close()
    except OSError as error:
        sys.stderr.write(f"{prog_name} {args[0]}: {error}\n")
        raise SystemExit(EX_UNAVAILABLE) from error


def parser_of(prog: str, options: type[BaseModel], text: str) -> argparse.ArgumentParser:
    """An argument parser from a model: `report_delay: float` becomes `--report-delay`; lists and tables are given as JSON."""
    description = text.strip().partition("\n\n")[0]
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument(
        "--journal",
        type=Path,
        default=None,
        metavar="FILE",
        help="one JSON line per message received",
    )
    parser.add_argument(
        "--control-port",
        type=int,
        choices=range(65536),
        default=None,
        metavar="NUMBER",
        help="also serve GET /journal/NAME and POST /control/NAME/COMMAND here; 0 picks a free one",
    )
    parser.add_argument(
        "--control-host",
        default="127.0.0.1",
        metavar="TEXT",
        help="address of the control port; it asks for no login (default '127.0.0.1')",
    )
    for name, field in options.model_fields.items():
        flag = "--" + name.replace("_", "-")
        default = (
            ""
            if field.is_required()
            else f" (default {field.get_default(call_default_factory=True)!r})"
        )
        words = ((field.description or "") + default).strip().replace("%", "%%")
        settings: dict[str, Any] = {
            "dest": name,
            "default": argparse.SUPPRESS,
            "help": words,
            "required": field.is_required(),
        }
        if field.annotation is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(field.annotation) is typing.Literal:
            settings["choices"] = [str(choice) for choice in typing.get_args(field.annotation)]
        elif not _scalar(field.annotation):
            settings["type"] = json.loads
            settings["metavar"] = "JSON"
        else:
            settings["metavar"] = "TEXT" if field.annotation is str else "NUMBER"
        parser.add_argument(flag, **settings)
    return parser


def read_options(
    parser: argparse.ArgumentParser, options: type[BaseModel], given: dict[str, Any]
) -> BaseModel:
    """The validated model. Exits 2 through the parser, naming every wrong option."""
    try:
        return options.model_validate(given)
    except ValidationError as error:
        faults = [
            f"--{'.'.join(str(part) for part in fault['loc']).replace('_', '-')}: "
            + fault["msg"].removeprefix("Value error, ")
            for fault in error.errors(include_url=False)
        ]
        return parser.error("; ".join(faults))


def _scalar(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(part is types.NoneType or _scalar(part) for part in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Annotated:
        return _scalar(typing.get_args(annotation)[0])
    return isinstance(annotation, type) and issubclass(annotation, (*_SCALARS, Path))


async def _run(simulator: Simulator, name: str, control: tuple[str, int | None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    host, port = control
    journals = None if port is None else JournalServer({name: simulator}, host=host, port=port)
    await simulator.start()
    try:
        lines = simulator.banner()
        if journals is not None:
            await journals.start()
            lines.append(f"control {journals.url}")
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        if journals is not None:
            await journals.stop()
        await simulator.stop()
