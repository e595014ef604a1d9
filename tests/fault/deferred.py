"""The deferred run: messages wait for the end of a customer's do-not-disturb while every part is killed -9 in turn; then all leave once,
after the end, spread."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from msgcenter.clock import SystemClock
from tests.flow.deployment import POLICY, Deployment, eventually

RULES = POLICY.replace("categories:", "spread: %s\ncategories:")


SCOPES = ("send", "read", "read:all", "admin", "customers")
CALLERS = f"crm: {{scopes: [{', '.join(map(repr, SCOPES))}], categories: ['*']}}\n"


def rules(spread: str) -> dict[str, Any]:
    """What `deployed` needs for it."""
    return {"policy": RULES % spread, "callers": CALLERS, "key_scopes": SCOPES}


async def run(
    it: Deployment,
    count: int,
    kills: Sequence[Callable[[], Awaitable[None]]],
    *,
    muted_s: float,
    patience: float,
) -> float:
    """Defer, kill, wait, count; over how many seconds they left. `muted_s`: from now on; all must be taken in and killed by then."""
    clock = SystemClock()
    shown: dict[str, list[int]] = {}
    it.smsc.journal.watch(
        lambda entry: shown.setdefault(str(entry["text"]), []).append(clock.now_ms())
    )
    ends = datetime.now(UTC) + timedelta(seconds=muted_s)
    async with it.session() as http:
        customer: dict[str, Any] = {"addresses": [{"address": "tel:+8613800000001"}]}
        await _put(http, "/v1/customers/c-1", customer)
        await _put(http, "/v1/customers/c-1/preferences", {"mutes": [{"until": ends.isoformat()}]})
        for start in range(0, count, 1000):
            await _send(http, range(start, min(start + 1000, count)))
        await eventually(lambda: _held(http, count), patience)
    for kill in kills:
        await kill()
    await it.ready()  # what starts after the end finds all of it due, and spreads nothing
    assert datetime.now(UTC) < ends, (
        "the do-not-disturb ended before all was killed: make it longer"
    )
    assert not shown
    await eventually(lambda: len(shown) == count, patience)
    await asyncio.sleep(1.0)
    assert Counter(map(len, shown.values())) == {1: count}
    first, last = min(map(min, shown.values())), max(map(max, shown.values()))
    assert first >= ends.timestamp() * 1000
    return (last - first) / 1000


async def _put(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    async with http.put(path, json=body) as answer:
        assert answer.status in (200, 201), await answer.text()


async def _send(http: aiohttp.ClientSession, numbers: Sequence[int]) -> None:
    body = {
        "messages": [
            {
                "to": "customer:c-1",
                "category": "marketing",
                "channels": ["sms"],
                "content": {"type": "text", "text": f"活动 {number}"},
            }
            for number in numbers
        ]
    }
    async with http.post("/v1/messages:batch", json=body) as answer:
        results = (await answer.json())["results"]
    assert [one["status"] for one in results] == ["accepted"] * len(numbers), results[:3]


async def _held(http: aiohttp.ClientSession, count: int) -> bool:
    async with http.get("/v1/status") as answer:
        return bool((await answer.json())["held"]["count"] == count)
