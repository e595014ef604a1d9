"""Backup under load, kill -9, restore of the older backup: nothing is sent twice, and what is missing is named, message by message;
on embedded parts, and on production parts whose PostgreSQL, or PostgreSQL and Redis, are lost."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from msgcenter.status import PENDING
from tests.fault.kills import final_statuses, post_all, request
from tests.flow.deployment import ALL, ROOT, SPLIT, Deployment, Servers, deployed, eventually
from tests.servers import PostgresServer, RedisServer

#: An unknown is not tried again, however slow this machine is: whatever arrives twice, a restore has sent twice.
POLICY = "categories: {transactional: {on_unknown: never}}\n"


def urgent(number: int) -> dict[str, Any]:
    """A message that neither quiet hours nor consent stop, at whatever hour this runs."""
    return {**request(number), "category": "transactional"}


def kind(number: int) -> dict[str, Any]:
    return {**request(number), "category": "care"}


async def cli(it: Deployment, *args: str) -> Any:
    """A command of `msgcenter`, beside the running server; what it prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "msgcenter", *args, "--json",
        "--config", str(it.folder / "config"), "--data", str(it.data(ALL[0])),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "SMSC_SECRET": "sandbox", "BUS_URL": it.servers.rabbit},
    )  # fmt: skip
    out, errors = await process.communicate()
    assert process.returncode == 0, (out + errors).decode()
    return json.loads(out)


async def delivered(it: Deployment, messages: Iterable[str]) -> set[str]:
    """Those of which the API says so now."""
    found: set[str] = set()
    async with it.session() as http:

        async def ask(message: str) -> None:
            async with http.get(f"/v1/messages/{message}") as answer:
                if answer.status == 200 and (await answer.json())["status"] == "delivered":
                    found.add(message)

        for some in batched(sorted(messages), 50):
            await asyncio.gather(*(ask(message) for message in some))
    return found


def batched(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(values), size):
        yield values[at : at + size]


@pytest.mark.timeout(120)
async def test_an_older_backup_restored_under_load_sends_nothing_twice(tmp_path: Path) -> None:
    # The far end answers slowly until the backup is made, so that it finds a backlog in every hop.
    async with deployed(tmp_path, Servers(), policy=POLICY, sim={"response_delay": 2.0}) as it:
        file = tmp_path / "night.tar.gz"
        loading = asyncio.create_task(post_all(it, range(400), 200, urgent))
        await eventually(lambda: len(it.smsc.submits) > 20)
        made = await cli(it, "backup", str(file))
        accepted = await loading
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [p["name"] for p in made["parts"] if p["name"].endswith(".db")] == [
            "data/bus.db", "data/state.db", "data/store.db",
        ]  # fmt: skip
        accepted |= await post_all(it, range(1000, 1030), 200, urgent)
        it.smsc.faults.response_delay = 0.0
        at_least = min(len(it.smsc.submits) + 100, 420)
        await eventually(lambda: len(it.smsc.submits) > at_least)
        told = await delivered(it, accepted)  # what callers have been told before it died
        assert told
        it.kill9(ALL[0])
        before = Counter(submit[0] for submit in it.smsc.submits)

        done = await cli(it, "restore", str(file), "--replace")
        gaps = [json.loads(line) for line in Path(done["report"]).read_text().splitlines()]
        assert stat.S_IMODE(Path(done["report"]).stat().st_mode) == 0o600
        assert Path(done["old_data"], "bus.db").exists()
        assert {"marketing", "care", "migration"} <= set(done["paused"])
        kinds = Counter(gap["gap"] for gap in gaps)
        assert done["gaps"] == {**dict.fromkeys(done["gaps"], 0), **kinds}
        assert kinds["missing"] and kinds["pending"] + kinds["settled"] == done["ended_as_unknown"]

        it.start(ALL[0])
        await it.ready()
        later = await post_all(it, range(2000, 2020), 200, urgent)
        waits = await post_all(it, range(3000, 3005), 200, kind)  # P4: paused
        missing = {gap["message"] for gap in gaps if gap["gap"] == "missing"}
        pending = {gap["message"] for gap in gaps if gap["gap"] in ("pending", "settled")}
        # Exactly what was accepted is there with its last word, or is named as missing.
        assert missing | pending <= set(accepted)
        there = sorted(set(accepted) - missing)
        views = await final_statuses(it, [*there, *later], 60)
        # A claim that the backup holds is an unknown of its own, which a late receipt may still clear up.
        cleared = {m for m in pending if views[m]["status"] == "delivered"}
        assert {f"139{accepted[m]:08d}" for m in cleared} <= set(before)
        assert {views[m]["status"] for m in pending - cleared} == {"unknown"}
        assert Counter(views[m]["code"] for m in pending).most_common(1)[0][0] == "restored"
        async with it.session() as http:
            for message in sorted(missing)[:20]:
                async with http.get(f"/v1/messages/{message}") as answer:
                    assert answer.status == 404
            for message in waits:
                async with http.get(f"/v1/messages/{message}") as answer:
                    view = await answer.json()
                    assert view["status"] in PENDING, view
        arrived = Counter(submit[0] for submit in it.smsc.submits)
        new = Counter(f"139{number:08d}" for number in later.values())
        assert arrived == before + new  # of what was there before nothing left again
        assert max(before.values()) == 1, before.most_common(3)
        # What the old data knew of a message's end is in the report.
        known = {gap["message"]: gap["status"] for gap in gaps if gap["gap"] == "settled"}
        sent = {m for m in pending if f"139{accepted[m]:08d}" in before}
        assert {m for m, word in known.items() if word in ("sent", "delivered")} <= sent
        assert dict.fromkeys(told & pending, "delivered").items() <= known.items()


@cache
def scheduled(number: int) -> dict[str, Any]:
    """A third leaves at once, a third waits in the backup and leaves before the restore, a third waits for an hour."""
    wait_s = (0, 15, 3600)[number % 3]
    body = urgent(number)
    if wait_s:
        body["send_at"] = (datetime.now(UTC) + timedelta(seconds=wait_s)).isoformat()
    return body


@pytest.mark.timeout(600)
@pytest.mark.parametrize("lost", ["postgres", "postgres and redis"])
async def test_production_parts_restored_under_load_send_nothing_twice(
    tmp_path: Path,
    rabbit_url: str,
    own_redis: RedisServer,
    postgres: PostgresServer,
    prefix: str,
    lost: str,
) -> None:
    urls = [postgres.create_database() for _ in range(2)]
    servers = Servers(rabbit_url, own_redis.url, urls[0], prefix.strip("_"))
    async with deployed(tmp_path, servers, policy=POLICY) as it:
        file = tmp_path / "night.tar.gz"
        accepted = await post_all(it, range(150), 50, scheduled)
        made = await cli(it, "backup", str(file))
        assert "tables/due.ndjson" in {part["name"] for part in made["parts"]}
        loading = asyncio.create_task(post_all(it, range(1000, 1090), 15, scheduled))
        # Those that waited for a moment in the backup leave now.
        soon = [f"139{n:08d}" for n in range(150) if n % 3 == 1]
        await eventually(lambda: set(soon) <= {one[0] for one in it.smsc.submits}, 90)
        accepted |= await loading
        told = await delivered(it, accepted)
        for roles in SPLIT:
            it.kill9(roles)
        before = Counter(submit[0] for submit in it.smsc.submits)
        if lost == "postgres and redis":
            await asyncio.to_thread(own_redis.kill9)
            for path in (own_redis.directory / "appendonlydir").iterdir():
                path.unlink()
            await asyncio.to_thread(own_redis.start)

        yaml = it.folder / "config" / "msgcenter.yaml"
        yaml.write_text(yaml.read_text().replace(urls[0], urls[1]))
        archive = it.data(SPLIT[-1]) / "archive"
        done = await cli(it, "restore", str(file), "--archive", str(archive))
        gaps = [json.loads(line) for line in Path(done["report"]).read_text().splitlines()]
        assert {"marketing", "care", "migration"} <= set(done["paused"])
        for roles in SPLIT:
            it.start(roles)
        await it.ready()
        later = await post_all(it, range(2000, 2020), 50, urgent)
        views = await final_statuses(it, list(later), 90)
        assert {view["status"] for view in views.values()} == {"delivered"}
        # What waits for its time goes on waiting; nothing of what left, leaves again.
        waiting = [m for m, number in accepted.items() if number < 150 and number % 3 == 2]
        servers.postgres = urls[1]
        store = it.store()
        await store.open()
        due = {(row.message, row.rule) for row in (await store.list_due(limit=1000)).items}
        await store.close()
        assert due == {(message, "send_at") for message in waiting}
        arrived = Counter(submit[0] for submit in it.smsc.submits)
        assert max(arrived.values()) == 1, arrived.most_common(3)
        assert before <= arrived
        # What the new database does not have is named, and each line says what is so.
        numbers = {gap["message"]: f"139{accepted[gap['message']]:08d}" for gap in gaps}
        newer = {m for m, number in accepted.items() if number >= 1000}
        missing = {gap["message"] for gap in gaps if gap["gap"] == "missing"}
        assert missing <= newer
        # What the archive had not heard of is in a queue still, and comes into the new database.
        rest = told & newer - missing

        async def all_there() -> bool:
            return await delivered(it, rest) == rest

        await eventually(all_there, 60, 1.0)
        for gap in gaps:
            if gap["status"] in ("sent", "delivered"):
                assert before[numbers[gap["message"]]] == 1, gap
