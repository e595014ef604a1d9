"""`msgcenter config explain`: what would become of a message now, by the rules and counters of a running server, in words."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from msgcenter.cli.client import AsJson, KeyFile, Url, ask, connect, print_json
from msgcenter.wording import decision_words, time_words

_COLOUR = {"send": "green", "wait": "yellow", "retry": "yellow", "refuse": "red"}


def explain(
    to: Annotated[str, typer.Argument(help="scheme:value, customer:<id>, or a mobile number.")],
    text: Annotated[str, typer.Argument(help="What to say; content rules look at it.")] = "您好",
    category: Annotated[str | None, typer.Option(help="Default: the caller's.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="Kind to use; may be repeated, in order.")
    ] = None,
    sender: Annotated[str | None, typer.Option("--from", help="The account that sends.")] = None,
    campaign: Annotated[str | None, typer.Option()] = None,
    send_at: Annotated[str | None, typer.Option(help="Not before this time (RFC 3339).")] = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what would become of a message now: which rule, why, and when it may go. Nothing is sent or counted."""
    given = {
        "to": to,
        "content": {"type": "text", "text": text},
        "category": category,
        "channels": channel or None,
        "from": sender,
        "campaign": campaign,
        "send_at": send_at,
    }
    body = {name: value for name, value in given.items() if value is not None}
    answer = ask(connect(url, key_file), "POST", "/v1/messages:explain", body)
    if as_json:
        print_json(answer)
        return
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for step in answer["steps"]:
        console.print(step_words(step), style=_COLOUR.get(step["verdict"], ""), markup=False)
        for decision in step["decisions"]:
            console.print(f"  {decision_words(decision)}", markup=False)


def step_words(step: Mapping[str, Any]) -> str:
    """What becomes of one step: `sms to c-1 would wait (quiet_hours) until …`."""
    words = f"{step['channel']} to {step['person']} would "
    code = f" ({step['code']})" if step.get("code") else ""
    match step["verdict"]:
        case "send":
            return f"{words}leave now by {step.get('route', step['channel'])}"
        case "wait":
            until = f" until {time_words(step['next_at'])}" if step.get("next_at") else ""
            return f"{words}wait{code}{until}"
        case "retry":
            return f"{words}be tried again soon{code}"
        case _:
            later = f"; not before {time_words(step['next_at'])}" if step.get("next_at") else ""
            return f"{words}not be sent{code}{later}"
