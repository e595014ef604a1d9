"""The client: every operation of the OpenAPI document, honest retries, pages, files, events; against the real API."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import msgcenter.client as package
from msgcenter.api.app import ROUTES
from msgcenter.api.openapi import describe
from msgcenter.client import ApiError, AsyncClient, Client, NotReached, Retries
from msgcenter.client.generate import FILES, generate
from msgcenter.client.operations import Operations
from msgcenter.client.sse import read_events
from msgcenter.client.sync_operations import SyncOperations
from tests.unit.api.parts import Parts, message

DOCUMENT = describe(ROUTES, "0")
OPERATIONS = [
    (method.upper(), path, told)
    for path, methods in DOCUMENT["paths"].items()
    for method, told in methods.items()
]


# -- against the document -----------------------------------------------------------------------


def definitions(text: str) -> list[str]:
    """What a module says, apart from imports and layout."""
    body = ast.parse(text).body[1:]
    return [ast.unparse(node) for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]


def test_what_is_committed_is_what_the_document_makes() -> None:
    made = generate(DOCUMENT)
    for name in FILES:
        kept = (Path(package.__file__).parent / name).read_text()
        assert definitions(kept) == definitions(made[name]), f"{name}: run `make client`"


@pytest.mark.parametrize("surface", [Operations, SyncOperations])
@pytest.mark.parametrize(("method", "path", "told"), OPERATIONS, ids=lambda x: str(x)[:40])
def test_every_operation_has_its_method(
    surface: type, method: str, path: str, told: dict[str, Any]
) -> None:
    function = getattr(surface, told["operationId"])
    given = inspect.signature(function).parameters
    for parameter in told.get("parameters", ()):
        name = parameter["name"].replace("Idempotency-Key", "idempotency_key")
        assert name in given or f"{name}_" in given
    assert ("body" in given) == (
        "application/json" in told.get("requestBody", {}).get("content", {})
    )
    assert f"`{method} {path}`" in function.__doc__


# -- against the API ----------------------------------------------------------------------------


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start()
    try:
        yield parts
    finally:
        await parts.close()


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(str(parts.client.make_url("/")), await parts.key()) as client:
        yield client


async def test_send_read_page_cancel(parts: Parts, client: AsyncClient) -> None:
    sent = await client.send_message(message(), idempotency_key="mine")  # type: ignore[arg-type]
    again = await client.send_message(message(), idempotency_key="mine")  # type: ignore[arg-type]
    assert again["id"] == sent["id"]
    assert len(parts.bus.envelopes) == 1
    many = await client.send_messages({"messages": [message() for _ in range(7)]})  # type: ignore[list-item]
    assert many["accepted"] == 7
    assert (await client.get_message(sent["id"]))["status"] == "accepted"
    assert (await client.cancel_message(sent["id"]))["status"] == "cancelled"
    assert (await client.get_caller())["name"] == "crm"


async def test_pages_are_walked_to_the_end(parts: Parts, client: AsyncClient) -> None:
    keys = [await parts.key("crm", name=f"k{n}") for n in range(3)]
    assert keys
    async with AsyncClient(str(parts.client.make_url("/")), await parts.key("ops")) as ops:
        found = await ops.list_keys(caller="crm")
        assert len(found["items"]) == 4
    seen = [item async for item in client.iter_messages(limit=2)]
    assert seen == []


async def test_a_refusal_says_everything(client: AsyncClient) -> None:
    with pytest.raises(ApiError) as no:
        await client.send_message({"to": "1", "content": {"type": "text", "text": ""}})
    assert (no.value.status, no.value.code) == (422, "validation_failed")
    assert {error["field"] for error in no.value.errors} >= {"to", "content.text"}
    assert "remedy" in str(no.value.errors)
    assert no.value.trace_id in str(no.value.problem)


async def test_files_go_in_and_come_out(client: AsyncClient, tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(200_000)
    path = tmp_path / "a.png"
    path.write_bytes(png)
    kept = await client.upload_media(path, content_type="image/png", name="a.png")
    assert (kept["size"], kept["type"]) == (len(png), "image/png")
    with path.open("rb") as file:
        assert (await client.upload_media(file, content_type="image/png"))["id"] == kept["id"]
    assert await client.download_media(kept["id"]) == png
    await client.save_media(kept["id"], tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == png


async def test_the_sync_client_is_the_same(parts: Parts) -> None:
    base, key = str(parts.client.make_url("/")), await parts.key()

    def work() -> None:
        with Client(base, key) as client:
            sent = client.send_message(message())  # type: ignore[arg-type]
            assert client.get_message(sent["id"])["status"] == "accepted"
            assert list(client.iter_messages()) == []
            with pytest.raises(ApiError):
                client.get_group("grp_none")
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.get_version()

    await asyncio.to_thread(work)
    assert "msgcenter-client" not in {thread.name for thread in threading.enumerate()}


# -- retries ------------------------------------------------------------------------------------


class Scripted:
    """A server that answers as it was told and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, dict[str, str]] | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []
        self.slept: list[float] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.headers.get("Idempotency-Key", "")))
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, headers = answer
        code = headers.pop("code", "x")
        text = json.dumps({"id": "msg_1", "code": code, "status": "accepted"})
        return web.Response(status=status, headers=headers, text=text)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    opened: list[Any] = []

    async def make(*answers: Any, **more: Any) -> tuple[Scripted, AsyncClient]:
        script = Scripted(*answers)
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", script)
        server = TestServer(app)
        await server.start_server()
        client = AsyncClient(
            str(server.make_url("/")), "k", sleep=script.sleep, chance=lambda: 1.0, **more
        )
        opened.extend((client, server))
        return script, client

    yield make
    for one in opened:
        await one.close()


OK = (202, {})


async def test_every_try_carries_the_same_key_and_waits_as_told(serve: Any) -> None:
    script, client = await serve(
        (503, {"Retry-After": "3"}), None, (409, {"code": "idempotency_busy"}), (502, {}), OK
    )
    await client.send_message(message())
    keys = {key for _, key in script.asked}
    assert len(script.asked) == 5
    assert len(keys) == 1 and len(keys.pop()) == 32
    assert script.slept == [3.0, 0.4, 0.8, 1.6]
    script.answers = [OK]
    await client.send_message(message())
    assert script.asked[-1][1] != script.asked[0][1], "another message, another key"


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([(422, {})], 1),
        ([(409, {"code": "too_late"})], 1),
        ([(429, {"Retry-After": "3600"})], 1),
        ([(429, {"Retry-After": "1"})] * 6, 6),
    ],
)
async def test_what_is_not_tried_again(serve: Any, answers: list[Any], tries: int) -> None:
    script, client = await serve(*[(status, dict(headers)) for status, headers in answers])
    with pytest.raises(ApiError):
        await client.send_message(message())
    assert len(script.asked) == tries


async def test_what_may_have_been_done_is_not_repeated_without_a_key(serve: Any) -> None:
    script, client = await serve(None)
    with pytest.raises(NotReached):
        await client.link_media("med_1", {})
    assert script.asked == [("POST", "")]
    script.answers = [(503, {"Retry-After": "1"})]
    with pytest.raises(ApiError):
        await client.link_media("med_1", {})


async def test_nobody_there_is_said_after_the_last_try() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with AsyncClient("http://127.0.0.1:9", "k", sleep=sleep, retries=Retries(2)) as client:
        with pytest.raises(NotReached, match="GET /version"):
            await client.get_version()
    assert len(slept) == 2


async def test_a_redirect_never_takes_the_key_elsewhere(serve: Any) -> None:
    script, client = await serve((302, {"Location": "http://127.0.0.1:9/"}))
    await client.get_version()
    assert len(script.asked) == 1


# -- events -------------------------------------------------------------------------------------


async def test_server_sent_events_are_read_as_the_standard_says() -> None:
    async def lines() -> AsyncIterator[bytes]:
        for line in (
            b"retry: 2000\n",
            b"\n",
            b": still here\n",
            b"id: 7\r\n",
            b"event: a\n",
            b'data: {"x":\n',
            b"data: 1}\n",
            b"\n",
            b"data: 2\n",
            b"\n",
            b"data: cut off\n",
        ):
            yield line

    events = [event async for event in read_events(lines())]
    assert [(e.id, e.event, e.json()) for e in events] == [
        ("7", "a", {"x": 1}),
        ("7", "message", 2),
    ]


async def test_a_stream_goes_on_where_it_broke(serve: Any) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        last = request.headers.get("Last-Event-ID", "")
        seen.append(last)
        number = int(last or 0)
        text = "".join(f"id: {n}\nevent: e\ndata: {n}\n\n" for n in (number + 1, number + 2))
        return web.Response(text=text, content_type="text/event-stream")

    app = web.Application()
    app.router.add_get("/v1/events/stream", answer)
    server = TestServer(app)
    await server.start_server()

    async def sleep(_: float) -> None:
        return

    async with AsyncClient(str(server.make_url("/")), "k", sleep=sleep) as client:
        got = []
        async for event in client.stream_events():
            got.append(event.json())
            if len(got) == 5:
                break
    await server.close()
    assert got == [1, 2, 3, 4, 5]
    assert seen == ["", "2", "4"]
