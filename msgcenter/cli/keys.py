"""`msgcenter keys`: API keys, through a running server or, while none runs, in the Store itself: so the first key is made."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from msgcenter.api.auth import pepper_of
from msgcenter.api.keys import create_key, key_view, revoke_key
from msgcenter.api.problems import Problem
from msgcenter.cli.client import (
    EX_DATAERR,
    EX_UNAVAILABLE,
    AsJson,
    KeyFile,
    Quiet,
    Url,
    ask,
    connect,
    fail,
    language,
    print_json,
)
from msgcenter.cli.config import EX_CONFIG, folder_of, installed_settings
from msgcenter.clock import SystemClock
from msgcenter.config import Config, ConfigErrors, load
from msgcenter.parts import DataFolderBusy, lock_folder
from msgcenter.store import StoreError
from msgcenter.store.store import Store

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Make, list and revoke API keys."
)
Folder = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration folder, when no server runs; default ./config."),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Data folder, when it is not the configured one.")
]
Work = Callable[[Store, Config], Coroutine[Any, Any, Any]]


@app.command()
def create(
    caller: Annotated[str, typer.Argument(help="A caller of callers.yaml.")],
    name: Annotated[str, typer.Option(help="A note: who holds it, what for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="Less than the caller has; may be repeated.")
    ] = None,
    expires_in: Annotated[int | None, typer.Option(min=60, help="Seconds; none: never.")] = None,
    config: Folder = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a key; it is printed once and never again."""
    if _server(url):
        given = {"caller": caller, "name": name, "scopes": scope, "expires_in": expires_in}
        body = {key: value for key, value in given.items() if value not in (None, "")}
        view = ask(connect(url, key_file), "POST", "/v1/keys", body)
    else:

        async def work(store: Store, loaded: Config) -> dict[str, Any]:
            key, full = await create_key(
                store,
                loaded,
                caller=caller,
                pepper=pepper_of(loaded),
                now_ms=SystemClock().now_ms(),
                who=_who(),
                env=loaded.process.api.env,
                name=name,
                scopes=scope,
                expires_in=expires_in,
            )
            return key_view(key, full).model_dump(exclude_none=True)

        view = _offline(config, data, work)
    if as_json:
        print_json(view)
    else:
        typer.echo(view["key"])
        if not quiet:
            typer.echo(f"key {view['id']} of {caller}; it is not shown again", err=True)


@app.command("list")
def show(
    caller: Annotated[str, typer.Argument(help="Only this caller's.")] = "",
    config: Folder = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """All keys, revoked ones included; never a secret."""
    if _server(url):
        query = {"caller": caller}
        items = ask(connect(url, key_file), "GET", "/v1/keys", query=query)["items"]
    else:

        async def work(store: Store, _: Config) -> list[dict[str, Any]]:
            keys = await store.list_keys(caller)
            return [key_view(key).model_dump(exclude_none=True) for key in keys]

        items = _offline(config, data, work)
    if as_json:
        print_json({"items": items})
        return
    table = Table(box=None, pad_edge=False)
    names = ("id", "caller", "name", "scopes", "created_at", "expires_at", "revoked_at")
    for name in names:
        table.add_column(name.removesuffix("_at"))
    for item in items:
        scopes = ", ".join(item.get("scopes", ())) or "all"
        table.add_row(*(scopes if n == "scopes" else str(item.get(n, "")) for n in names))
    Console(file=sys.stdout, highlight=False).print(table)


@app.command()
def revoke(
    keyid: Annotated[str, typer.Argument(help="The id, as `keys list` shows it.")],
    config: Folder = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """End a key; it is refused within 5 seconds everywhere."""
    if _server(url):
        ask(connect(url, key_file), "POST", f"/v1/keys/{keyid}:revoke")
    else:

        async def work(store: Store, _: Config) -> bool:
            return await revoke_key(store, keyid, now_ms=SystemClock().now_ms(), who=_who())

        if not _offline(config, data, work):
            fail(f"there is no key {keyid}", EX_DATAERR)
    typer.echo(f"{keyid} revoked")


def _server(url: str | None) -> bool:
    """Whether a server was named; else the files are used."""
    return bool(url or os.environ.get("MSGCENTER_URL"))


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _offline(folder: Path | None, data: Path | None, work: Work) -> Any:
    try:
        config = load(
            folder_of(folder, os.environ),
            settings_models=installed_settings(),
            env=os.environ,
            clock=SystemClock(),
        )
    except ConfigErrors as errors:
        fail(str(errors), EX_CONFIG)
    if data is not None:
        process = config.process.model_copy(update={"data": data})
        config = replace(config, process=process)

    async def run() -> Any:
        async with opened_store(config) as store:
            return await work(store, config)

    try:
        return asyncio.run(run())
    except DataFolderBusy:
        api = config.process.api
        fail(
            f"a server uses {config.process.data}: go through it, for example "
            f"--url http://{api.host}:{api.port} with MSGCENTER_KEY set to a key of scope admin",
            EX_UNAVAILABLE,
        )
    except StoreError as error:
        fail(f"the store cannot be opened: {error}", EX_UNAVAILABLE)
    except Problem as problem:
        document = problem.document("zh" if language(os.environ) == "zh" else "en")
        faults = [f"{f['field']} {f['detail']}; {f['remedy']}" for f in document.get("errors", ())]
        fail("\n".join(faults) or document["detail"], EX_DATAERR)


@asynccontextmanager
async def opened_store(config: Config) -> AsyncIterator[Store]:
    """The Store of a configuration, opened and migrated for one command; an embedded one only while no server has it.

    Raises DataFolderBusy, StoreError.
    """
    process = config.process
    embedded = process.store.url is None
    lock = lock_folder(process.data) if embedded else None
    url = (
        f"sqlite:///{(process.data / 'store.db').absolute()}"
        if process.store.url is None
        else process.store.url.reveal()
    )
    store = Store(url, SystemClock())
    try:
        await store.open()
        try:
            await store.migrate()
            yield store
        finally:
            await store.close()
    finally:
        if lock is not None:
            lock.close()
