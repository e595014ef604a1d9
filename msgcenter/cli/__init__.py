"""The command line: `msgcenter COMMAND …`; each command's module is imported only when it is called, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

#: Command -> (module with `app`, one line of help). `app(args=…, prog_name=…)` runs it: a Typer app or a function.
COMMANDS: dict[str, tuple[str, str]] = {
    "sandbox": (
        "msgcenter.cli.sandbox",
        "Everything on this machine, far ends simulated, with a tour",
    ),
    "serve": ("msgcenter.cli.serve", "Run the product, or some of its roles"),
    "send": ("msgcenter.cli.send", "Send one message and show what became of it"),
    "status": ("msgcenter.cli.status", "One screen: queues, oldest ages, links, held, dead"),
    "doctor": (
        "msgcenter.cli.doctor",
        "What is wrong with files, servers, clocks, keys; what to do",
    ),
    "tail": ("msgcenter.cli.tail", "Follow the events of a caller"),
    "keys": ("msgcenter.cli.keys", "Make, list and revoke API keys"),
    "customers": ("msgcenter.cli.customers", "Read customers in, show them, write them out"),
    "sms": ("msgcenter.cli.sms", "What a text makes of short messages; a list of numbers checked"),
    "pause": (
        "msgcenter.cli.pause",
        "Stop a campaign, caller, category or channel: held, not dropped",
    ),
    "resume": ("msgcenter.cli.pause", "Let what was paused go on, spread"),
    "dead": ("msgcenter.cli.dead", "List and replay dead letters"),
    "reviews": ("msgcenter.cli.reviews", "Look at held content; approve or reject it"),
    "reconcile": ("msgcenter.cli.reconcile", "Per account and day: relayed against archived"),
    "backup": ("msgcenter.cli.backup", "Configuration, keys and data in one checked file"),
    "restore": (
        "msgcenter.cli.backup",
        "Check a backup, or put it in place: nothing sent twice, gaps listed",
    ),
    "config": ("msgcenter.cli.configuring", "Check, test, compare, try and apply the rules"),
    "templates": (
        "msgcenter.cli.templates",
        "List, show and try out the templates of a configuration folder",
    ),
    "reference": (
        "msgcenter.cli.reference",
        "Every key of the configuration, every metric, as a page",
    ),
    "adapter": ("msgcenter.cli.adapter", "What each channel kind can do; begin a new one"),
    "events": ("msgcenter.cli.events", "What each type of event holds"),
    "sim": ("msgcenter.cli.sim", "Run a simulated far end alone"),
}

EX_USAGE = 2


def main(argv: Sequence[str] | None = None) -> None:
    """The console script. Exits 0, 2 (usage), 65 (refused input), 69 (unavailable), 77 (no permission), 78 (configuration)."""
    args = list(sys.argv[1:] if argv is None else argv)
    name = args[0] if args else "--help"
    if name in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        raise SystemExit(0 if args else EX_USAGE)
    if name in ("-V", "--version"):
        sys.stdout.write(f"msgcenter {installed_version()}\n")
        raise SystemExit(0)
    if name not in COMMANDS:
        sys.stderr.write(f"msgcenter: no command {name!r}\n\n{_help()}")
        raise SystemExit(EX_USAGE)
    module = import_module(COMMANDS[name][0])
    module.app(args=args[1:], prog_name=f"msgcenter {name}")


def installed_version() -> str:
    """Of the installed distribution; `0+source` when it runs from a source tree."""
    try:
        return version("msgcenter")
    except PackageNotFoundError:
        return "0+source"


def _help() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: msgcenter COMMAND …   (msgcenter COMMAND --help tells more)",
            "",
            *lines,
            "",
            "Commands that talk to a server use --url or MSGCENTER_URL, and MSGCENTER_KEY or --key-file.",
            "",
        ]
    )
