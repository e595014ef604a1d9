"""The command line's way to a server: plain HTTP with a key, and problems as words and exit codes."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

import typer

DEFAULT_URL = "http://127.0.0.1:8080"
EX_DATAERR, EX_UNAVAILABLE, EX_NOPERM = 65, 69, 77
TIMEOUT_S = 40.0

Url = Annotated[
    str | None,
    typer.Option("--url", help="The server; default $MSGCENTER_URL, else http://127.0.0.1:8080."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help="File that holds the API key; default: $MSGCENTER_KEY."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]


class Refused(Exception):
    """The server answered with a problem document. `status` is the HTTP status."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail", status)))
        self.status = status
        self.problem = problem


class Unavailable(Exception):
    """There is no server at this URL; the text says what to do."""


class Client:
    """One server, one key. Synchronous: a command makes a handful of calls."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Unavailable(f"{url}: write it like {DEFAULT_URL}")
        self.url = url
        self._key = key
        self._base = parts.path.rstrip("/")
        make = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = make(parts.hostname, parts.port, timeout=TIMEOUT_S)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer. Raises Refused, Unavailable."""
        given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        target = self._base + quote(path, safe="/:") + (f"?{urlencode(given)}" if given else "")
        lines = {"Accept": "application/json", "Accept-Language": language(os.environ)}
        if self._key:
            lines["Authorization"] = f"Bearer {self._key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            lines["Content-Type"] = "application/json"
        try:
            self._connection.request(method, target, data, {**lines, **(headers or {})})
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(
                f"no server answers at {self.url} ({error}); start one with `msgcenter serve` "
                "or name another with --url"
            ) from error
        try:
            answer = json.loads(raw) if raw else None
        except ValueError as error:
            raise Unavailable(f"{self.url} does not answer as msgcenter does") from error
        if response.status >= 400 and isinstance(answer, dict) and "code" in answer:
            raise Refused(response.status, answer)
        return answer


def language(env: Mapping[str, str]) -> str:
    """`zh` on a Chinese terminal, else `en`."""
    locale = env.get("LC_ALL") or env.get("LC_MESSAGES") or env.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


def connect(url: str | None, key_file: Path | None) -> Client:
    """A client from options and environment. Exits 77 when there is no key."""
    key = os.environ.get("MSGCENTER_KEY", "")
    if key_file is not None:
        try:
            key = key_file.read_text().strip()
        except OSError as error:
            fail(f"{key_file}: {error.strerror}", EX_NOPERM)
    if not key:
        fail("no API key: set MSGCENTER_KEY or give --key-file", EX_NOPERM)
    try:
        return Client(url or os.environ.get("MSGCENTER_URL") or DEFAULT_URL, key)
    except Unavailable as error:
        fail(str(error), EX_UNAVAILABLE)


def fail(text: str, code: int) -> NoReturn:
    """Say it on stderr and leave."""
    sys.stderr.write(f"msgcenter: {text}\n")
    raise typer.Exit(code)


def ask(client: Client, method: str, path: str, body: Any = None, **more: Any) -> Any:
    """`client.call`, with problems told to the user: every fault on its own line, exit code by kind."""
    try:
        return client.call(method, path, body, **more)
    except Unavailable as error:
        fail(str(error), EX_UNAVAILABLE)
    except Refused as no:
        refused(no)


def refused(no: Refused) -> NoReturn:
    """Say what the server has against it, and leave."""
    problem = no.problem
    lines = [f"{problem.get('title')}: {problem.get('detail')}"]
    for fault in problem.get("errors", ()):
        value = f" ({fault['value']})" if "value" in fault else ""
        lines.append(f"  {fault['field']}{value} {fault['detail']}; {fault['remedy']}")
    if not problem.get("errors") and problem.get("remedy"):
        lines.append(f"  {problem['remedy']}")
    code = {401: EX_NOPERM, 403: EX_NOPERM, 429: EX_UNAVAILABLE}.get(no.status, EX_DATAERR)
    fail("\n".join(lines), EX_UNAVAILABLE if no.status >= 500 else code)


def print_json(content: object) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))
