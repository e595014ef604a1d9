"""`msgcenter templates`: what ops keep in `templates/`, which version is valid when and where, and how it reads."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.archive.content import TYPES
from msgcenter.cli.config import AsJson, Folder, load_or_exit
from msgcenter.clock import SystemClock
from msgcenter.config import Config
from msgcenter.config.values import parse_moment
from msgcenter.policy.quiet import zone_of
from msgcenter.templates.book import ANY_KIND, Version, say
from msgcenter.templates.engine import Unfit
from msgcenter.templates.variables import expected, sample

EX_REFUSED = 65

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="List, show and try out the templates of a configuration folder.",
)

Name = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Like bill-due or bill-due@2.")]
At = Annotated[
    str | None,
    typer.Option(help="As of this time, like 2026-03-05T08:00:00+08:00; default now."),
]
Organisation = Annotated[
    str, typer.Option(help="For whom: 广东/广州; default: nobody's part of the organisation.")
]


@app.command("list")
def list_(folder: Folder = None, at: At = None, as_json: AsJson = False) -> None:
    """Every version, when it is valid, where, and for which channel kinds it has words of its own."""
    config = load_or_exit(folder, as_json=as_json)
    moment = _moment(at)
    rows = [
        {"name_zh": config.templates[name].name_zh, **_row(version, moment)}
        for name, versions in config.book.versions.items()
        for version in versions.values()
    ]
    if as_json:
        _print_json({"templates": rows})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("template", "name", "valid", "from", "until", "where", "channels"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["template"],
            row["name_zh"],
            "yes" if row["valid"] else "no",
            row["valid_from"] or "",
            row["valid_until"] or "",
            ", ".join(row["organisations"]) or "everywhere",
            ", ".join(row["channels"]),
        )
    _console().print(table)
    if not rows:
        typer.echo("no templates; write one into templates/NAME.yaml")


@app.command()
def show(name: Name, folder: Folder = None, at: At = None, as_json: AsJson = False) -> None:
    """The versions of a template: variables with their types, and the words of each channel kind."""
    config = load_or_exit(folder, as_json=as_json)
    moment = _moment(at)
    rows = [_whole(version, moment) for version in _meant(config, name)]
    if as_json:
        _print_json({"name_zh": config.templates[name.partition("@")[0]].name_zh, "versions": rows})
        return
    for row in rows:
        state = "valid" if row["valid"] else "not valid"
        until = row["valid_until"] or "no end"
        where = ", ".join(row["organisations"]) or "everywhere"
        typer.echo(
            f"{row['template']}  {state}  {row['valid_from'] or 'always'} to {until}  {where}"
        )
        for variable in row["variables"]:
            need = "required" if variable["required"] else "optional"
            typer.echo(f"  {variable['name']}  {need}  {variable['expected']}")
        for kind, content in row["content"].items():
            typer.echo(f"  {kind}:")
            for field, text in content.items():
                typer.echo(f"    {field}: {text.rstrip()}")


@app.command()
def render(
    name: Name,
    folder: Folder = None,
    channel: Annotated[str, typer.Option(help="Channel kind.")] = ANY_KIND,
    variable: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="NAME=VALUE", help="A variable; may be given again."),
    ] = None,
    variables: Annotated[
        str | None, typer.Option(metavar="JSON", help="All variables, as in a request.")
    ] = None,
    at: At = None,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """What a message would say; variables that are not given are examples. Exit 65 if it could not be sent."""
    config = load_or_exit(folder, as_json=as_json)
    template, _, number = name.partition("@")
    path = tuple(organisation.split("/")) if organisation else ()
    _meant(config, name)
    version = config.book.chosen(template, int(number or 0), _moment(at), path)
    if isinstance(version, Unfit):
        raise _refuse(str(version), as_json=as_json)
    values = _values(version, variable or [], variables)
    zone = zone_of(config.rules.quiet, "", path).zone
    said = say(version, channel, values, zone)
    if isinstance(said, Unfit):
        raise _refuse(str(said), as_json=as_json)
    content = {"type": TYPES[type(said)], **{k: v for k, v in asdict(said).items() if v}}
    if as_json:
        _print_json(
            {
                "template": version.name,
                "channel": channel,
                "content": content,
                "variables": values,
            }
        )
        return
    typer.echo(f"{version.name} by {channel} as {content.pop('type')}")
    for field, text in content.items():
        typer.echo(f"{field}: {text}")


def _meant(config: Config, name: str) -> tuple[Version, ...]:
    template, _, number = name.partition("@")
    known = config.book.of(template)
    if not known:
        names = ", ".join(config.book.versions) or "none"
        raise typer.BadParameter(f"no template {template}; known: {names}", param_hint="NAME")
    meant = config.book.of(template, int(number)) if number.isdecimal() else known
    if (number and not number.isdecimal()) or not meant:
        numbers = ", ".join(str(version.number) for version in known)
        raise typer.BadParameter(f"no version {number}; there are {numbers}", param_hint="NAME")
    return meant


def _values(version: Version, pairs: list[str], whole: str | None) -> dict[str, Any]:
    values = {name: sample(variable) for name, variable in version.variables.items()}
    if whole is not None:
        try:
            given = json.loads(whole)
        except ValueError as error:
            raise typer.BadParameter(f"is not JSON: {error}", param_hint="--variables") from error
        if not isinstance(given, dict):
            raise typer.BadParameter("must be a JSON object", param_hint="--variables")
        values |= given
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"write {name}=VALUE", param_hint="--var")
        declared = version.variables.get(name)
        plain = declared is None or declared.type in ("text", "url", "date", "datetime")
        values[name] = text if plain else _json_or_text(text)
    return values


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _row(version: Version, at: int) -> dict[str, Any]:
    return {
        "template": version.name,
        "valid": version.valid(at),
        "valid_from": _time(version.valid_from),
        "valid_until": _time(version.valid_until),
        "organisations": ["/".join(place.path) or place.name for place in version.places],
        "channels": list(version.variants),
    }


def _whole(version: Version, at: int) -> dict[str, Any]:
    return {
        **_row(version, at),
        "variables": [
            {"name": name, "required": one.required, "type": one.type, "expected": expected(one)}
            for name, one in version.variables.items()
        ],
        "content": {
            kind: {
                "type": one.shape,
                **{field: source.text for field, source in one.fields.items()},
            }
            for kind, one in version.variants.items()
        },
    }


def _time(ms: int) -> str | None:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat() if ms else None


def _moment(at: str | None) -> int:
    if at is None:
        return SystemClock().now_ms()
    try:
        return parse_moment(at)
    except ValueError as error:
        remedy = "write it like 2026-03-05T08:00:00+08:00"
        raise typer.BadParameter(remedy, param_hint="--at") from error


def _refuse(why: str, *, as_json: bool) -> typer.Exit:
    if as_json:
        _print_json({"ok": False, "problem": why})
    else:
        typer.echo(why, err=True)
    return typer.Exit(EX_REFUSED)


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


def _console() -> Console:
    return Console(file=sys.stdout)
