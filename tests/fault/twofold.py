"""The whole product in this process, its accounts read by a hosted gateway and by the archive, with a caller's way to it."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from adapters.sim.hosted.rigs import CORP
from adapters.sim.hosted.rigs import simulated as hosted_far
from adapters.sim.jumps import JumpClock
from adapters.sim.wecom.archive_rig import archive_settings
from adapters.sim.wecom.rigs import simulated as wecom_far
from msgcenter.api.auth import pepper_of
from msgcenter.api.keys import create_key
from msgcenter.clock import SystemClock
from msgcenter.reconcile import ZONE
from msgcenter.serve import Process
from tests.fault.talks import (
    ACCOUNTS,
    CUSTOMERS,
    DISAGREED,
    LOST,
    PICTURE,
    REPEATED,
    UNLICENSED,
    Talk,
    World,
)
from tests.flow.deployment import ROOT
from tests.servers import free_port

CHANNELS = """
hosted:
  kind: wecom-hosted
  settings:
    gateway: {gateway}
    corp: {corp}
    command_secrets: ["${{env:HOSTED_SECRET}}"]
    event_secrets: ["${{env:HOSTED_EVENTS}}"]
    public_url: {url}
    media_hosts: ["{files}"]
    messages_per_minute: 100000
    status_every: 1h
archive:
  kind: wecom-archive
  accounts_of: hosted
  settings:
    simulator: {wecom}
    base_url: {wecom}/cgi-bin/
    corp: {corp}
    secret: "${{env:ARCHIVE_SECRET}}"
    keys: {{1: "${{env:ARCHIVE_KEY}}"}}
    poll: 300ms
"""
POLICY = """
categories:
  reply: {receipt_wait: 2s}
  transactional: {receipt_wait: 1s, retry: {max_attempts: 2, max_age: 1h}}
"""
CALLERS = "crm: {scopes: [send, read, 'read:all'], categories: ['*']}\n"


class Core:
    """The whole product in this process, and a caller's way to it."""

    def __init__(self, process: Process, http: aiohttp.ClientSession, world: World) -> None:
        self.process = process
        self.http = http
        self.world = world
        self.key = ""
        self._sends = 0
        self.day = datetime.fromtimestamp(process.clock.now_ms() / 1000, ZONE).date().isoformat()

    async def get(self, path: str) -> Any:
        async with self.http.get(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json(content_type=None)

    async def send(self, talk: Talk, content: dict[str, Any], category: str = "reply") -> str:
        body = {
            "to": f"wecom:{CORP}/{talk.customer}",
            "from": f"desk{int(talk.account[-4:])}",
            "category": category,
            "content": content,
        }
        self._sends += 1
        once = {"Idempotency-Key": f"send-{self._sends}"}
        while True:
            async with self.http.post("/v1/messages", json=body, headers=once) as answer:
                if answer.status == 202:
                    return str((await answer.json())["id"])
                # A busy disk: said so, and tried again under the same key.
                assert answer.status in (409, 429, 503), await answer.text()
            await asyncio.sleep(0.1)

    async def picture(self) -> str:
        async with self.http.post(
            "/v1/media?name=p.jpg", data=PICTURE, headers={"Content-Type": "image/jpeg"}
        ) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())["id"])

    async def messages(self) -> list[dict[str, Any]]:
        """All of them, as they are listed."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.get(f"/v1/messages?limit=1000&cursor={cursor}")
            found += page["items"]
            cursor = page.get("next_cursor") or ""
            if not cursor:
                return found

    async def whole(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each with its sources."""
        slots = asyncio.Semaphore(16)

        async def one(view: dict[str, Any]) -> dict[str, Any]:
            async with slots:
                return dict(await self.get(f"/v1/messages/{view['id']}"))

        return list(await asyncio.gather(*map(one, found)))

    async def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while page := await self.get(f"/v1/events?limit=1000&cursor={cursor}"):
            if not page["items"]:
                break
            found += page["items"]
            cursor = page["cursor"]
        return found

    async def reconcile(self, *more: str) -> tuple[int, str]:
        """`msgcenter reconcile` of this day: exit code and what it prints."""
        url = f"http://127.0.0.1:{self.process.port}"
        command = ("-m", "msgcenter", "reconcile", "--day", self.day, "--url", url, *more)
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=ROOT,
            env={"MSGCENTER_KEY": self.key, "PATH": "", "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await child.communicate()
        return child.returncode or 0, out.decode()


def _noon() -> JumpClock:
    """A clock at the next noon of the business day, so that no run crosses midnight."""
    clock = JumpClock(SystemClock())
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).astimezone(ZONE)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0)
    clock.jump(((noon if noon > now else noon + timedelta(days=1)) - now).total_seconds())
    return clock


@asynccontextmanager
async def _file_host() -> AsyncIterator[str]:
    """host:port of where the gateway keeps what customers send."""

    async def give(_: web.Request) -> web.Response:
        return web.Response(body=PICTURE, content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/picture", give)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def core(folder: Path, rng: random.Random) -> AsyncIterator[Core]:
    """Far ends and product, up."""
    clock = _noon()
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(
            hosted_far(
                clock,
                accounts=ACCOUNTS,
                customers=CUSTOMERS,
                seed=rng.randrange(1 << 30),
                tries=100,  # what is lost is lost by LOST alone, however late a busy disk answers
                pause=0.3,
                timeout=20.0,
            )
        )
        wecom = await stack.enter_async_context(wecom_far(clock=clock))
        files = await stack.enter_async_context(_file_host())
        far.faults.change({"lose_events": LOST, "repeat_events": REPEATED, "unknown": 0.03})
        far.faults.change({"per_minute": 0})
        members = [f"staff{n:04d}" for n in range(1, ACCOUNTS + 1)]
        wecom.archive.archive_permit(userids=[one for one in members if one != UNLICENSED])
        wecom.archive.archive_consent(
            userid=DISAGREED[0], external_userid=DISAGREED[1], status="Disagree"
        )
        known = archive_settings(wecom)
        config, port = folder / "config", free_port()
        config.mkdir(parents=True)
        where = {"gateway": far.url, "wecom": wecom.url, "files": files, "corp": CORP}
        url = f"http://127.0.0.1:{port}"
        accounts = [
            f"desk{n}: {{kind: wecom-hosted, channel: hosted, address: staff{n:04d}, caller: crm}}\n"
            for n in range(1, ACCOUNTS + 1)
        ]
        for name, text in {
            "msgcenter": f"data: {folder / 'data'}\ndrain: 3s\napi: {{port: {port}}}\n",
            "channels": CHANNELS.format(**where, url=url),
            "policy": POLICY,
            "callers": CALLERS,
            "accounts": "".join(accounts),
        }.items():
            (config / f"{name}.yaml").write_text(text)
        env = {
            "HOSTED_SECRET": far.secrets[0],
            "HOSTED_EVENTS": far.event_secrets[0],
            "ARCHIVE_SECRET": known["secret"].reveal(),
            "ARCHIVE_KEY": known["keys"][1].reveal(),
        }
        process = Process(config, env=env, clock=clock)
        stack.push_async_callback(process.stop)
        await process.start()
        assert process.parts is not None
        _, key = await create_key(
            process.parts.store,
            process.config,
            caller="crm",
            pepper=pepper_of(process.config),
            now_ms=clock.now_ms(),
            who="test",
        )
        http = await stack.enter_async_context(
            aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"})
        )
        far.outbox.url = f"{url}/hooks/hosted/events"
        it = Core(process, http, World(far, wecom, files, rng))
        it.key = key
        yield it
        far.outbox.url = ""
