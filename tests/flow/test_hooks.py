"""Web hooks over a whole process: durable before the answer, in order, within a second, whatever the broker does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest
from pydantic import BaseModel

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Outcome,
    Received,
    Request,
    Response,
    Sent,
    Spec,
)
from msgcenter.serve import Process
from protocols.address import Address
from protocols.payload import Pull, Text
from tests.flow.rigging import until
from tests.servers import RabbitNode

PULLED: list[str] = []


class DoorSettings(BaseModel):
    token: str = "t"
    broken: bool = False


class Door(Adapter):
    """A far end that calls: `POST words` with [[conversation, id, text], …], `POST ring`, `GET words` to verify."""

    spec: ClassVar[Spec] = Spec(
        kind="door",
        title="Door",
        payloads=frozenset({Text, Pull}),
        schemes=frozenset({"kf"}),
        receives=True,
    )
    Settings = DoorSettings
    settings: DoorSettings

    def __init__(self, settings: DoorSettings, port) -> None:
        super().__init__(settings, port)
        if settings.broken:
            raise ValueError("cannot be made")

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        for item in batch:
            assert isinstance(item.envelope.payload, Pull)
            PULLED.append(item.envelope.payload.token)
        return [Sent()] * len(batch)

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        return {"words": self._words, "ring": self._ring, "slow/path": self._slow}

    async def _words(self, request: Request) -> Response:
        if request.query.get("token") != self.settings.token:
            raise Malformed("signature")
        if request.method == "GET":
            return Response(body=request.query["echo"].encode())
        await self.port.emit(
            [
                Received(Address("kf", f"wk/{who}"), "wk", Text(text), remote, 0)
                for who, remote, text in json.loads(request.body)
            ]
        )
        return Response()

    async def _ring(self, request: Request) -> Response:
        await self.port.ring(Pull("wk", request.body.decode()))
        return Response()

    async def _slow(self, request: Request) -> Response:
        if request.method == "GET":
            raise ZeroDivisionError
        await asyncio.sleep(5)
        return Response()


@asynccontextmanager
async def serving(
    folder: Path, process: str = "", door: str = "", *, spool: str = "1MB", rabbit: str = ""
) -> AsyncIterator[tuple[Process, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "channels.yaml").write_text(f"door:\n  kind: door\n{door}")
    (folder / "callers.yaml").write_text("crm: {scopes: [read], categories: []}\n")
    # Callers talk faster than people: slowed and muted, they would say nothing of the spool.
    (folder / "policy.yaml").write_text("flood: {slow: {messages: 10000, within: 1s}}\n")
    (folder / "msgcenter.yaml").write_text(
        f"data: {folder / 'data'}\ndrain: 3s\napi: {{port: 0}}\nhooks: {{spool: {spool}}}\n{process}"
    )
    one = Process(folder, env={"BUS_URL": rabbit}, adapters={"door": Door})
    await one.start()
    try:
        yield one, f"http://127.0.0.1:{one.port}"
    finally:
        await one.stop()


async def texts(process: Process) -> dict[str, list[str]]:
    """Conversation -> what the event log says was received, in its order."""
    assert process.parts is not None
    out: dict[str, list[str]] = {}
    cursor: Mapping[int, int] = {}
    while True:
        page = await process.parts.store.read_events(None, cursor, limit=1000)
        if not page.items:
            return out
        cursor = page.cursor
        for logged in page.items:
            data = logged.event.data
            out.setdefault(data["from"], []).append(data["content"]["text"])


async def test_far_ends_call_and_are_answered(tmp_path: Path) -> None:
    PULLED.clear()
    async with serving(tmp_path) as (process, url), aiohttp.ClientSession(url) as http:
        for method, path, body, status, answer in (
            ("GET", "/hooks/door/words?token=t&echo=1%2B1", b"", 200, b"1+1"),
            ("POST", "/hooks/door/words?token=t", b'[["a","1","hello"]]', 200, b""),
            ("POST", "/hooks/door/words?token=t", b'[["a","1","hello"]]', 200, b""),
            ("POST", "/hooks/door/words?token=forged", b"[]", 400, b"refused"),
            ("POST", "/hooks/door/ring", b"token-1", 200, b""),
            ("GET", "/hooks/door/slow/path", b"", 500, b"failed"),
            ("POST", "/hooks/door/slow/path", b"", 503, b"try again"),
        ):
            async with http.request(method, path, data=body) as response:
                assert (response.status, await response.read()) == (status, answer), path
        for path in ("/hooks/door", "/hooks/door/", "/hooks/door/other", "/hooks/nobody/words"):
            async with http.post(path) as response:
                assert response.status == 404
        async with http.delete("/hooks/door/words") as response:
            assert response.status == 405
        big = b"x" * ((256 << 10) + 1)
        for data in (big, _pieces(big)):
            async with http.post("/hooks/door/words?token=t", data=data) as response:
                assert response.status == 413
        await until(lambda: PULLED == ["token-1"])
        async with asyncio.timeout(10):
            while not await texts(process):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert await texts(process) == {"kf:wk/a": ["hello"]}, "a repeat is absorbed"
        async with http.get("/metrics") as response:
            metrics = await response.text()
    assert 'msgcenter_hooks_total{channel="door",result="taken"} 4.0' in metrics
    assert 'msgcenter_hooks_total{channel="door",result="late"} 1.0' in metrics
    assert "msgcenter_spool_bytes 0.0" in metrics


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]


async def test_hooks_follow_the_configuration(tmp_path: Path) -> None:
    async with serving(tmp_path) as (process, url), aiohttp.ClientSession(url) as http:

        async def status(path: str) -> int:
            async with http.get(path) as response:
                return response.status

        async def configure(text: str) -> None:
            (tmp_path / "channels.yaml").write_text(text)
            (tmp_path / "routes.yaml").write_text("routes: [{kind: door, channel: next}]\n")
            assert process.live is not None
            assert (await process.live.reload()).result == "swapped"

        assert await status("/hooks/door/words?token=t&echo=x") == 200
        await configure("door: {kind: door, settings: {token: new}}\nnext: {kind: door}\n")
        assert await status("/hooks/door/words?token=t&echo=x") == 400
        assert await status("/hooks/door/words?token=new&echo=x") == 200
        assert await status("/hooks/next/words?token=t&echo=x") == 200
        await configure("door: {kind: door, enabled: false}\nnext: {kind: door}\n")
        assert await status("/hooks/door/words?token=new&echo=x") == 404


async def test_an_adapter_that_cannot_be_made_has_its_far_end_wait(tmp_path: Path) -> None:
    from msgcenter.hooks import Hooks

    async with serving(tmp_path) as (process, _):
        assert process.app is not None and process.live is not None
        config = process.live.current
        broken = dict(config.settings) | {"door": DoorSettings(broken=True)}
        hooks = Hooks(
            {"door": Door},
            lambda channel: process.app.port(channel, process._spool.publish),  # type: ignore[union-attr]
            clock=process.clock,
            metrics=process.metrics,
            log=process.log,
        )
        from dataclasses import replace

        hooks.mount(replace(config, settings=broken))
        answer = await hooks.call("door", "words", Request("GET", "/", {}, {}, b""))
        assert answer.status == 503


class Caller:
    """A far end with conversations: each word is repeated until it is taken, the next of its conversation comes after."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.times: list[float] = []
        self.refused = 0
        self.said: dict[str, list[str]] = {}

    async def converse(
        self, http: aiohttp.ClientSession, who: str, stop: asyncio.Event, size: int = 0
    ) -> None:
        loop = asyncio.get_running_loop()
        n = 0
        while not stop.is_set():
            text = f"{n}".ljust(size, ".")
            body = json.dumps([[who, f"{who}-{n}", text]])
            began = loop.time()
            async with http.post("/hooks/door/words?token=t", data=body) as response:
                status = response.status
            self.times.append(loop.time() - began)
            if status == 200:
                self.said.setdefault(f"kf:wk/{who}", []).append(text)
                n += 1
            else:
                assert status == 503
                self.refused += 1
            await asyncio.sleep(0.05)


def slowest(times: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(times)[int(len(times) * 0.99)]


async def stalled(tmp_path: Path, node: RabbitNode, prefix: str, seconds: float) -> None:
    bus = f'bus: {{kind: rabbit, url: "${{env:BUS_URL}}", prefix: {prefix}, partitions: 2}}\n'
    async with (
        serving(tmp_path, bus, spool="64MB", rabbit=node.url) as (process, url),
        aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        caller, stop = Caller(url), asyncio.Event()
        talks = [asyncio.create_task(caller.converse(http, f"c{n}", stop)) for n in range(20)]
        await asyncio.sleep(1.0)
        straight = len(caller.times)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
            assert process._spool is not None
            spooled = process._spool.count
        finally:
            os.kill(node.pid, signal.SIGCONT)
        during = caller.times[straight:]
        await asyncio.sleep(1.0)
        stop.set()
        await asyncio.gather(*talks)
        assert caller.refused == 0
        assert spooled > 0
        assert len(during) > 20 * seconds * 5
        assert slowest(during) < 1.0
        total = sum(len(words) for words in caller.said.values())
        found: dict[str, list[str]] = {}
        async with asyncio.timeout(60):
            while sum(len(words) for words in found.values()) < total:
                await asyncio.sleep(0.2)
                found = await texts(process)
        assert found == caller.said
        assert process._spool.count == 0
        print(
            f"p99 {slowest(during):.3f} s, max {max(during):.3f} s of {len(during)}, spooled {spooled}"
        )


async def test_a_stalled_broker_delays_no_answer_and_turns_nothing_round(
    tmp_path: Path, own_rabbit: RabbitNode, prefix: str
) -> None:
    await stalled(tmp_path, own_rabbit, prefix, 2.0)


@pytest.mark.fault
async def test_a_broker_stalled_for_ten_seconds(
    tmp_path: Path, own_rabbit: RabbitNode, prefix: str
) -> None:
    await stalled(tmp_path, own_rabbit, prefix, 10.0)


async def test_a_full_spool_refuses_and_what_was_taken_arrives(
    tmp_path: Path, own_rabbit: RabbitNode, prefix: str
) -> None:
    bus = f'bus: {{kind: rabbit, url: "${{env:BUS_URL}}", prefix: {prefix}, partitions: 2}}\n'
    async with (
        serving(tmp_path, bus, rabbit=own_rabbit.url) as (process, url),
        aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        caller, stop = Caller(url), asyncio.Event()
        os.kill(own_rabbit.pid, signal.SIGSTOP)
        try:
            talks = [
                asyncio.create_task(caller.converse(http, f"c{n}", stop, 20_000)) for n in range(10)
            ]
            await until(lambda: caller.refused > 20)
            assert process._spool is not None
            assert process._spool.bytes <= 1 << 20
            assert process._spool.bytes > 0.9 * (1 << 20)
        finally:
            os.kill(own_rabbit.pid, signal.SIGCONT)
        taken = sum(len(words) for words in caller.said.values())
        await until(lambda: sum(len(w) for w in caller.said.values()) > taken + 20)
        stop.set()
        await asyncio.gather(*talks)
        total = sum(len(words) for words in caller.said.values())
        found: dict[str, list[str]] = {}
        async with asyncio.timeout(60):
            while sum(len(words) for words in found.values()) < total:
                await asyncio.sleep(0.2)
                found = await texts(process)
        assert found == caller.said
