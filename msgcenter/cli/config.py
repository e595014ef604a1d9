"""`msgcenter config`: check, test, show, schema and hashes of a configuration folder, without a running
process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from msgcenter.clock import SystemClock
from msgcenter.config import Config, ConfigErrors, ConfigProblem, Mark, json_schema, load
from msgcenter.config.suite import run, suite_files

EX_CONFIG = 78
DEFAULT_FOLDER = Path("config")

app = typer.Typer(no_args_is_help=True, help="Check, show and describe the configuration files.")

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]",
        help="Configuration folder; default $MSGCENTER_CONFIG, else ./config, else no files.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def installed_settings() -> dict[str, type[BaseModel]]:
    """Channel kind -> settings model of every installed adapter (entry points
    `msgcenter.adapters`).

    Raises ConfigErrors if one of them cannot be imported.
    """
    out: dict[str, type[BaseModel]] = {}
    problems = []
    for point in entry_points(group="msgcenter.adapters"):
        try:
            out[point.name] = point.load().Settings
        except (ImportError, AttributeError) as e:
            mark = Mark(f"adapter {point.name}")
            remedy = f"reinstall or remove the package that offers `{point.value}`"
            problems.append(ConfigProblem(mark, "", f"cannot be loaded: {e}", remedy))
    if problems:
        raise ConfigErrors(problems)
    return out


def folder_of(given: Path | None, env: Mapping[str, str]) -> Path | None:
    """The folder to read; None when none was named and `./config` does not exist."""
    if given is not None:
        return given
    if named := env.get("MSGCENTER_CONFIG"):
        return Path(named)
    return DEFAULT_FOLDER if DEFAULT_FOLDER.is_dir() else None


@app.command()
def check(folder: Folder = None, as_json: AsJson = False) -> None:
    """Report every fault with file, line and remedy; exit 0 if there is none, else 78."""
    config = load_or_exit(folder, as_json=as_json)
    counts = _counts(config)
    if as_json:
        _print_json({"ok": True, "hash": config.hash, "counts": counts, "problems": []})
        return
    where = str(config.directory) if config.directory else "built-in defaults (no folder)"
    parts = ", ".join(f"{n} {name}" for name, n in counts.items())
    line = Text.assemble(("good", "bold green"), f"  {where}: {parts}")
    _console().print(line, soft_wrap=True)


@app.command()
def test(
    folder: Folder = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", help="Run this file instead; may be given again.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the rules' own test files, *_test.yaml beside them; exit 1 if a decision differs, 78 if a file is faulty."""
    config = load_or_exit(folder, as_json=as_json)
    found = files or (suite_files(config.directory) if config.directory else [])
    try:
        results = [result for file in found for result in run(config, file)]
    except ConfigErrors as e:
        report(e, as_json=as_json)
        raise typer.Exit(EX_CONFIG) from e
    failed = [result for result in results if result.differences]
    if as_json:
        rows = [
            {"test": r.name, "at": str(r.mark), "differences": list(r.differences)} for r in results
        ]
        _print_json({"ok": not failed, "tests": rows})
    else:
        for result in failed:
            typer.echo(f"{result.mark}  {result.name}: {'; '.join(result.differences)}")
        typer.echo(f"{len(results) - len(failed)} passed, {len(failed)} failed, {len(found)} files")
    if failed:
        raise typer.Exit(1)


@app.command()
def show(
    folder: Folder = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Print ••• for secrets instead of their references.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the merged configuration with every default filled in; never a secret's value."""
    files = load_or_exit(folder, as_json=as_json).effective(redact=redact)
    if as_json:
        _print_json(files)
        return
    for name, content in files.items():
        typer.echo(f"# {name}")
        typer.echo(yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=100))


@app.command()
def schema(
    name: Annotated[
        str | None,
        typer.Argument(help="One file, like channels or channels.yaml.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write NAME.json files into this folder.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Leave out the settings of the installed adapters.")
    ] = False,
) -> None:
    """Print the JSON Schema (2020-12) of the files, for editors and pipelines."""
    try:
        schemas = json_schema(None if plain else installed_settings())
    except ConfigErrors as e:
        report(e, as_json=False)
        raise typer.Exit(EX_CONFIG) from e
    if name is not None:
        name = name.removesuffix(".yaml")
        if name not in schemas:
            raise typer.BadParameter(f"one of {', '.join(schemas)}", param_hint="NAME")
        schemas = {name: schemas[name]}
    if out is None:
        _print_json(schemas[name] if name else schemas)
        return
    out.mkdir(parents=True, exist_ok=True)
    for key, content in schemas.items():
        (out / f"{key}.json").write_text(schema_text(content), encoding="utf-8")
        typer.echo(str(out / f"{key}.json"))


def schema_text(content: Mapping[str, Any]) -> str:
    """The exact text of a schema file."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def folder_status(folder: Path | None, as_json: bool) -> None:
    """Which files of a folder are read, their hashes, and the hash of the whole; exit 78 with every fault told."""
    config = load_or_exit(folder, as_json=as_json)
    content = describe(config)
    if as_json:
        _print_json(content)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("file", "state", "entries", "sha256"):
        table.add_column(column)
    for file in content["files"]:
        entries = "" if file["entries"] is None else str(file["entries"])
        state = "read" if file["present"] else "absent, defaults"
        table.add_row(file["name"], state, entries, file["sha256"][:12])
    console = _console()
    console.print(table)
    console.print(f"hash {config.hash[:12]}  rules {config.rules_hash[:12]}", highlight=False)


def describe(config: Config) -> dict[str, Any]:
    """What `status` says of a configuration, here and over HTTP; holds no secret."""
    counts = _counts(config)
    counts["policy"] = counts["categories"]
    return {
        "folder": str(config.directory) if config.directory else None,
        "generation": config.generation,
        "hash": config.hash,
        "rules_hash": config.rules_hash,
        "loaded_at": config.loaded_at,
        "restart_needed": list(config.restart_needed),
        "files": [
            {
                "name": file.name,
                "present": file.present,
                "sha256": file.sha256,
                "entries": counts.get(file.name.removesuffix(".yaml")),
            }
            for file in config.files
        ],
    }


def _counts(config: Config) -> dict[str, int]:
    return {
        "channels": len(config.channels),
        "routes": len(config.routes.routes),
        "categories": len(config.policy.categories),
        "callers": len(config.callers),
        "accounts": len(config.accounts),
        "words": sum(len(words) for words in config.words.lists.values()),
        "holidays": len(config.holidays.days),
        "cities": len(config.cities),
        "templates": len(config.templates),
    }


def load_or_exit(folder: Path | None, *, as_json: bool) -> Config:
    try:
        return load(
            folder_of(folder, os.environ),
            settings_models=installed_settings(),
            env=os.environ,
            clock=SystemClock(),
        )
    except ConfigErrors as e:
        report(e, as_json=as_json)
        raise typer.Exit(EX_CONFIG) from e


def report(errors: ConfigErrors, *, as_json: bool) -> None:
    """A table on a terminal; else one line per problem, which editors and grep understand."""
    if as_json:
        _print_json({"ok": False, "problems": [p.as_dict() for p in errors.problems]})
        return
    console = _console()
    n = len(errors.problems)
    if not console.is_terminal:
        for problem in errors.problems:
            typer.echo(str(problem))
        return
    table = Table(title=f"{n} problem{'s' * (n != 1)}", title_style="bold red", pad_edge=False)
    table.add_column("where", no_wrap=True, style="cyan")
    for column in ("field", "problem", "remedy"):
        table.add_column(column, overflow="fold")
    for problem in errors.problems:
        cells = (str(problem.mark), problem.path, problem.message, problem.remedy)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


def _console() -> Console:
    return Console(file=sys.stdout)
