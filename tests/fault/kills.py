"""The kill run: messages are posted while processes (or the broker) are killed -9 at random moments; then everything is counted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.flow.deployment import Deployment, eventually
from tests.process import Process


@dataclass
class Counted:
    """What a kill run came to."""

    accepted: int
    arrived: int
    twice: int
    marked: int
    unknown: int
    statuses: Counter[str]


def request(number: int) -> dict[str, Any]:
    category = ("marketing", "transactional")[number % 2]
    return {
        "to": f"tel:+86139{number:08d}",
        "category": category,
        "channels": ["sms"],
        "content": {"type": "text", "text": f"message {number}"},
        "reference": str(number),
    }


async def post_all(
    it: Deployment,
    numbers: Sequence[int],
    rate: float,
    body: Callable[[int], dict[str, Any]] = request,
) -> dict[str, int]:
    """Post `rate` messages a second, each under its own Idempotency-Key until it is accepted: message id -> number."""
    accepted: dict[str, int] = {}
    gate = asyncio.Semaphore(50)

    async def one(http: aiohttp.ClientSession, number: int) -> None:
        async with gate:
            while True:
                try:
                    async with http.post(
                        "/v1/messages",
                        json=body(number),
                        headers={"Idempotency-Key": f"kill-{number}"},
                        timeout=aiohttp.ClientTimeout(total=15),
                    ) as answer:
                        if answer.status == 202:
                            accepted[(await answer.json())["id"]] = number
                            return
                        assert answer.status in (409, 429, 503), await answer.text() + it.errors()
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.1)

    async with it.session() as http:
        tasks = []
        for number in numbers:
            tasks.append(asyncio.create_task(one(http, number)))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*tasks)
    return accepted


async def killing(
    kill: Sequence[Callable[[], Awaitable[None]]], rng: random.Random, pause: tuple[float, float]
) -> None:
    for one in kill:
        await asyncio.sleep(rng.uniform(*pause))
        await one()


def process_killer(it: Deployment, roles: str, rng: random.Random) -> Callable[[], Awaitable[None]]:
    async def kill() -> None:
        await asyncio.to_thread(it.kill9, roles)
        await asyncio.sleep(rng.uniform(0.0, 0.3))
        it.start(roles)

    return kill


def server_killer(server: Process) -> Callable[[], Awaitable[None]]:
    """Kills a server of the test's own and starts it again on the same data."""

    async def kill() -> None:
        await asyncio.to_thread(server.kill9)
        await asyncio.to_thread(server.start)

    return kill


async def final_statuses(
    it: Deployment, ids: Sequence[str], seconds: float
) -> dict[str, dict[str, Any]]:
    """Every message's last word. Fails with what is still pending after `seconds`."""
    found: dict[str, dict[str, Any]] = {}
    async with it.session() as http:

        async def one(message: str) -> None:
            try:
                async with http.get(f"/v1/messages/{message}") as answer:
                    if answer.status == 200:
                        view = await answer.json(content_type=None)
                        if view["final"]:
                            found[message] = view
            except aiohttp.ClientError:
                return  # the API is being started again

        async def all_final() -> bool:
            rest = [message for message in ids if message not in found]
            for start in range(0, len(rest), 50):
                await asyncio.gather(*(one(message) for message in rest[start : start + 50]))
            return len(found) == len(ids)

        try:
            await eventually(all_final, seconds, 0.5)
        except AssertionError:
            pending: Counter[str] = Counter()
            sample = ""
            for message in [m for m in ids if m not in found][:200]:
                async with http.get(f"/v1/messages/{message}") as answer:
                    text = await answer.text()
                    pending[f"{answer.status}"] += 1
                    sample = text[-1500:]
            raise AssertionError(
                f"{len(ids) - len(found)} not final: {pending}; the last: {sample}"
            ) from None
    return found


async def run(
    it: Deployment,
    count: int,
    kills: Sequence[Callable[[], Awaitable[None]]],
    rng: random.Random,
    *,
    pause: tuple[float, float] = (0.2, 1.0),
    seconds: float = 90.0,
) -> Counted:
    """Post, kill, wait, count. Asserts what must hold: nothing lost, nothing twice that is not marked."""
    # spread over the kills, so that each of them meets messages at every hop
    lasting = len(kills) * (pause[0] + pause[1]) / 2 + 1
    posting = asyncio.create_task(post_all(it, range(count), count / lasting))
    await killing(kills, rng, pause)
    accepted = await posting
    assert len(accepted) == len(set(accepted.values())) == count
    return await counted(it, accepted, seconds)


async def counted(it: Deployment, accepted: dict[str, int], seconds: float) -> Counted:
    """Wait for the last word on each, and count. Asserts what must hold: nothing lost, nothing twice that is not marked."""
    views = await final_statuses(it, list(accepted), seconds)
    arrived = Counter(submit[0] for submit in it.smsc.submits)
    twice = {recipient: n for recipient, n in arrived.items() if n > 1}
    statuses: Counter[str] = Counter(view["status"] for view in views.values())
    marked = 0
    for message, number in accepted.items():
        view, recipient = views[message], f"139{number:08d}"
        possibly = len(view["deliveries"]) > 1
        marked += possibly
        if arrived[recipient] > 1:
            assert request(number)["category"] == "transactional", f"{recipient} twice, {view}"
            assert possibly, f"{recipient} twice and not marked: {view}"
            assert arrived[recipient] == 2
        if arrived[recipient] == 0:
            assert view["status"] == "unknown", f"{recipient} never arrived: {view}"
        assert view["status"] in ("delivered", "unknown"), view
    return Counted(len(accepted), len(arrived), len(twice), marked, statuses["unknown"], statuses)
