"""`msgcenter send`: one message from the command line, with what became of it."""

from __future__ import annotations

from typing import Annotated

import typer

from msgcenter.cli.client import AsJson, KeyFile, Quiet, Url, ask, connect, print_json

app = typer.Typer(add_completion=False)


@app.command()
def send(
    to: Annotated[str, typer.Argument(help="scheme:value, or a bare 11-digit mobile number.")],
    text: Annotated[str, typer.Argument(help="What to say.")],
    category: Annotated[str | None, typer.Option(help="Default: the caller's.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="Kind to use; may be repeated, in order.")
    ] = None,
    sender: Annotated[str | None, typer.Option("--from", help="The account that sends.")] = None,
    reference: Annotated[str | None, typer.Option(help="Comes back with every event.")] = None,
    campaign: Annotated[str | None, typer.Option()] = None,
    send_at: Annotated[str | None, typer.Option(help="Not before this time (RFC 3339).")] = None,
    expires_in: Annotated[str | None, typer.Option(help="30s, 10m, 2h, 7d.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--key", help="Idempotency-Key: the same key sends only once.")
    ] = None,
    wait: Annotated[str, typer.Option(help="Wait this long for the final status (≤ 30s).")] = "0s",
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send one message; prints its id and status."""
    client = connect(url, key_file)
    given = {
        "to": to,
        "content": {"type": "text", "text": text},
        "category": category,
        "channels": channel or None,
        "from": sender,
        "reference": reference,
        "campaign": campaign,
        "send_at": send_at,
        "expires_in": expires_in,
    }
    body = {name: value for name, value in given.items() if value is not None}
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    answer = ask(client, "POST", "/v1/messages", body, query={"wait": wait}, headers=headers)
    if as_json:
        print_json(answer)
    elif quiet:
        typer.echo(answer["id"])
    else:
        typer.echo(f"{answer['id']}  {answer['status']}")
