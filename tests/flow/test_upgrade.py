"""N-1 and N side by side under load, frames and tables: a rolling upgrade, a crash of N-1 in the middle, and the way back.

N-1 is this release, or with MSGCENTER_OLDER=<checkout of an older one> that one; N is then this release, else the next one as
tests/flow/next_release.py has it.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from tests.fault import kills
from tests.flow.deployment import THIS, Deployment, Release, Servers, deployed, eventually
from tests.flow.next_release import NOVELTY, REVISION

#: What one writes to the bus the other reads: api → submit → channel → inbound, record → archive.
HALVES = ("api,channel", "submit,inbound,archive,schedule")


@cache
def request(number: int) -> dict[str, Any]:
    """The same at each try. Every fifth waits as a due row, which one release writes and the other may take."""
    body = kills.request(number)
    if number % 5 == 0:
        body["send_at"] = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
    return body


def replaced(it: Deployment, roles: str, by: Release) -> Callable[[], Awaitable[None]]:
    """Drain the process, start the other release in its place, and wait until the two have brought 20 messages more."""

    async def step() -> None:
        assert await it.terminate(roles, 40) == 0
        it.releases[roles] = by
        it.start(roles)
        await working(it)

    return step


async def load(it: Deployment, over: asyncio.Event) -> dict[str, int]:
    """5 messages a second for as long as it takes, each posted until it is accepted: message id -> number."""
    accepted: dict[str, int] = {}
    for start in range(0, 10_000, 20):
        if over.is_set():
            return accepted
        accepted |= await kills.post_all(it, range(start, start + 20), 5, request)
    raise AssertionError("the steps took too long")


async def working(it: Deployment) -> None:
    async def is_ready() -> bool:
        try:
            async with it.session() as http, http.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await eventually(is_ready, 150)
    there = len(it.smsc.submits)
    await eventually(lambda: len(it.smsc.submits) >= there + 20, 90)


async def rows(it: Deployment, query: str) -> list[Any]:
    store = it.store()
    await store.open()
    try:
        async with store._read() as connection:
            return list((await connection.execute(text(query))).all())
    finally:
        await store.close()


@pytest.mark.timeout(900)
async def test_a_rolling_upgrade_and_back_loses_and_doubles_nothing(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    older = os.environ.get("MSGCENTER_OLDER")
    tells = tmp_path / "tells"
    env = {"NEXT_MIGRATIONS": str(tmp_path / "migrations"), "NEXT_TELLS": str(tells)}
    before = Release(folder=Path(older)) if older else THIS
    after = THIS if older else Release("tests.flow.next_release", env=env)
    servers = Servers(rabbit_url, redis_url, postgres_url, prefix.strip("_"))
    first, second = HALVES
    async with deployed(tmp_path, servers, roles=HALVES, release=before) as it:

        async def crash() -> None:
            """N-1 dies, and has to start on tables that N has migrated."""
            it.kill9(first)
            it.start(first)
            await working(it)

        steps = [
            replaced(it, second, after),  # N-1 → N → N-1
            crash,
            replaced(it, first, after),  # all N
            replaced(it, second, before),  # and back: N → N-1 → N
        ]
        over = asyncio.Event()
        loading = asyncio.create_task(load(it, over))
        try:
            for step in steps:
                await step()
        finally:
            over.set()
            accepted = await loading
        assert len(accepted) == len(set(accepted.values())) >= 80
        counted = await kills.counted(it, accepted, 240)
        assert counted.arrived + counted.unknown >= len(accepted)
        async with it.session() as http, http.get("/v1/dead-letters") as answer:
            assert (await answer.json())["items"] == []
        assert await rows(it, "SELECT queue, reason FROM invalid") == []
        if not older:
            assert await rows(it, "SELECT version_num FROM alembic_version") == [(REVISION,)]
            # Rows of both kinds, and frames of both kinds read by the newer one.
            written = await rows(it, f"SELECT DISTINCT {NOVELTY} FROM message")
            assert {one[0] for one in written} == {"none", NOVELTY}
            read = Counter(tells.read_text())
            assert min(read["n"], read["o"]) > 20, read
