"""Callers that want too much, over a whole process, at a fiftieth of the size of `python -m bench callers`: what each of them is answered,
and that everything accepted is sent. How long it takes is measured there: a small sample on a busy machine does not tell."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.devnull import DevNull
from msgcenter.adapter import Dispatch
from msgcenter.api.app import API
from msgcenter.api.auth import pepper_of
from msgcenter.api.keys import create_key
from msgcenter.serve import Process
from protocols.outcome import Outcome

QUOTA = 5
"""Of the noisy caller: a second, and at once."""
BACKLOG = 60
"""Messages that may wait for the bus, instead of 10,000."""
CALLERS = ("quiet", "noisy", "crowd1", "crowd2")


@dataclass
class Service:
    """The process, and what its channel was given."""

    process: Process
    keys: dict[str, str]
    client: aiohttp.ClientSession
    sent: set[str] = field(default_factory=set)

    async def post(self, caller: str, number: int) -> tuple[int, dict[str, Any], str]:
        """(status, body, Retry-After) of one message."""
        async with self.client.post(
            f"http://127.0.0.1:{self.process.port}/v1/messages",
            json={
                "to": f"tel:+86138{number:08d}",
                "category": "transactional",
                "channels": ["devnull"],
                "content": {"type": "text", "text": "您的业务已受理"},
            },
            headers={"Authorization": f"Bearer {self.keys[caller]}"},
        ) as answer:
            body = await answer.json(content_type=None)
            return answer.status, body, answer.headers.get("Retry-After", "")

    async def until_sent(self, ids: set[str]) -> None:
        async with asyncio.timeout(60):
            while not ids <= self.sent:
                await asyncio.sleep(0.05)
        assert self.sent == ids, "what was refused was sent"


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Service]:
    config = folder / "config"
    config.mkdir()
    (config / "msgcenter.yaml").write_text(f"data: {folder / 'data'}\napi: {{port: 0}}\n")
    (config / "channels.yaml").write_text("main: {kind: devnull}\n")
    terms = "scopes: [send], categories: [transactional]"
    quota = f", quota: {{rate: {QUOTA}, burst: {QUOTA}}}"
    (config / "callers.yaml").write_text(
        "".join(f"{n}: {{{terms}{quota if n == 'noisy' else ''}}}\n" for n in CALLERS)
    )
    sent: set[str] = set()

    class Noted(DevNull):
        async def deliver(self, batch: Any) -> list[Outcome]:
            items: list[Dispatch] = list(batch)
            sent.update(item.envelope.id for item in items)
            return await super().deliver(batch)

    process = Process(config, env={}, adapters={"devnull": Noted})
    await process.start()
    try:
        assert process.parts is not None
        keys = {}
        for caller in CALLERS:
            _, keys[caller] = await create_key(
                process.parts.store,
                process.config,
                caller=caller,
                pepper=pepper_of(process.config),
                now_ms=process.clock.now_ms(),
                who="test",
            )
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as client:
            yield Service(process, keys, client, sent)
    finally:
        await process.stop()


def accepted(answers: list[tuple[int, dict[str, Any], str]]) -> set[str]:
    """The ids of what was accepted; every other answer is a refusal that says when to come back."""
    for status, body, retry_after in answers:
        if status != 202:
            assert status in (429, 503), body
            assert int(retry_after) >= 1
            assert body["retry_after"] == int(retry_after)
    return {body["id"] for status, body, _ in answers if status == 202}


@pytest.mark.timeout(180)
async def test_a_caller_over_its_quota_is_refused_alone(tmp_path: Path) -> None:
    async with service(tmp_path) as it:
        began = it.process.clock.monotonic()
        noisy = [asyncio.create_task(it.post("noisy", n)) for n in range(60)]
        quiet = [await it.post("quiet", 1000 + n) for n in range(20)]
        noise = await asyncio.gather(*noisy)
        took = it.process.clock.monotonic() - began
        assert [status for status, _, _ in quiet] == [202] * 20
        ids = accepted(noise)
        assert {body["code"] for status, body, _ in noise if status != 202} == {"quota_exceeded"}
        assert QUOTA <= len(ids) <= QUOTA * (1 + took)
        async with asyncio.timeout(30):  # its next second's share is there for it
            while (last := await it.post("noisy", 99))[0] != 202:
                await asyncio.sleep(float(last[2]) / 10)
        await it.until_sent(ids | accepted(quiet) | accepted([last]))


@pytest.mark.timeout(180)
async def test_when_the_bus_stands_still_all_are_told_to_come_back_and_then_it_goes_on(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as it:
        assert it.process.parts is not None
        bus = it.process.parts.bus
        publish, go = bus.publish, asyncio.Event()

        async def held(frames: Any) -> None:
            if any(frame.topic == "submit" for frame in frames):
                await go.wait()
            await publish(frames)

        bus.publish = held  # type: ignore[method-assign]
        assert it.process._runner is not None
        api = it.process._runner.app[API]
        api.bundler._backlog, api.bundler._timeout_s = BACKLOG, 60.0
        crowd = [asyncio.create_task(it.post(f"crowd{1 + n % 2}", n)) for n in range(300)]
        async with asyncio.timeout(60):
            while sum(task.done() for task in crowd) + api.bundler.waiting < 60:
                await asyncio.sleep(0.02)
            while not any(task.done() for task in crowd):
                await asyncio.sleep(0.02)
        late = asyncio.create_task(it.post("quiet", 1000))  # below its share: it gets in
        async with asyncio.timeout(60):
            while "quiet" not in api.bundler._lines:
                await asyncio.sleep(0.02)
        assert api.bundler.waiting <= 2 * BACKLOG
        go.set()
        answers = await asyncio.gather(*crowd)
        told = Counter(body.get("code", "accepted") for _, body, _ in answers)
        assert told.keys() <= {"accepted", "caller_overloaded", "overloaded"}
        assert told["accepted"]
        assert told["caller_overloaded"] + told["overloaded"]
        assert (await late)[0] == 202
        after = [
            await it.post("crowd1", 2000 + n) for n in range(20)
        ]  # at once, without being asked twice
        assert [status for status, _, _ in after] == [202] * 20
        assert api.bundler.waiting == 0
        assert api.fair.waiting == 0
        await it.until_sent(accepted(answers) | accepted(after) | accepted([await late]))
