"""`msgcenter sms`: `numbers FILE` (`cli/numbers.py`), and `parts TEXT`: how a text would travel and what it would cost, by protocol,
with the reasons; nothing is sent."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.cli.client import EX_DATAERR, AsJson, print_json
from msgcenter.cli.numbers import numbers
from protocols.sms.coding import CODINGS
from protocols.sms.content import Fitted, Rules, Unfit, fit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Short messages: what a text makes of them, whose numbers these are.",
)


@app.callback()
def sms() -> None:
    """Short messages: what a text makes of them, whose numbers these are."""


app.command()(numbers)


@app.command()
def parts(
    text: Annotated[
        str, typer.Argument(help="The text as a caller would give it; - reads it from stdin.")
    ],
    protocol: Annotated[
        str, typer.Option(help=f"One of {', '.join(CODINGS)}; none: all of them.")
    ] = "",
    signature: Annotated[str, typer.Option(help="【…】 put into the text exactly once.")] = "",
    end: Annotated[bool, typer.Option("--end", help="The signature stands at the end.")] = False,
    opt_out: Annotated[str, typer.Option(help="Put under the text as under marketing.")] = "",
    max_parts: Annotated[int, typer.Option(min=1, max=255, help="Most parts allowed.")] = 255,
    as_json: AsJson = False,
) -> None:
    """Encoding, parts and price units of a text. Exits 65 when it cannot go out in any of the protocols asked for."""
    if protocol and protocol not in CODINGS:
        raise typer.BadParameter(f"one of {', '.join(CODINGS)}", param_hint="--protocol")
    if signature and not (signature.startswith("【") and signature.endswith("】")):
        raise typer.BadParameter("write it like 【中国移动】", param_hint="--signature")
    if text == "-":
        try:
            text = typer.get_binary_stream("stdin").read().decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise typer.BadParameter("stdin is not UTF-8", param_hint="TEXT") from error
    rules = Rules(signature, "end" if end else "front", opt_out, max_parts)
    found: dict[str, Fitted | Unfit] = {}
    for name in [protocol] if protocol else CODINGS:
        try:
            found[name] = fit(text, rules, CODINGS[name], marketing=bool(opt_out))
        except Unfit as error:
            found[name] = error
    if as_json:
        print_json([_row(name, one) for name, one in found.items()])
    else:
        _show(found)
    if all(isinstance(one, Unfit) for one in found.values()):
        raise typer.Exit(EX_DATAERR)


def _row(name: str, one: Fitted | Unfit) -> dict[str, object]:
    if isinstance(one, Unfit):
        return {"protocol": name, "error": {"rule": one.rule, "detail": str(one)}}
    return {
        "protocol": name,
        "encoding": one.coding.name,
        "parts": one.parts,
        "units": one.units,
        "characters": len(one.text),
        "octets": len(one.coding.alphabet.write(one.text)),
        "text": one.text,
        "facts": [{"rule": fact.rule, "said": fact.said} for fact in one.facts],
    }


def _show(found: dict[str, Fitted | Unfit]) -> None:
    table = Table()
    for column in ("protocol", "encoding", "parts", "units", "characters", "octets", "why"):
        table.add_column(
            column, justify="left" if column in ("protocol", "encoding", "why") else "right"
        )
    for name, one in found.items():
        row = _row(name, one)
        if isinstance(one, Unfit):
            table.add_row(name, "", "", "", "", "", f"{one.rule}: {one}")
            continue
        why = "; ".join(
            f"{fact.rule}: {fact.said}" for fact in one.facts if fact.rule != "encoding"
        )
        cells = [str(row[key]) for key in ("encoding", "parts", "units", "characters", "octets")]
        table.add_row(name, *cells, why)
    Console().print(table)
