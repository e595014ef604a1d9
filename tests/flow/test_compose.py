"""The compose file's sandbox without its containers: the commands, settings, configuration and secrets that it gives each service, run
as processes on this machine, send by SMS, WeCom and push, and the journals show what arrived."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import standardwebhooks
import yaml

from msgcenter import healthcheck
from tests.flow.deployment import ROOT, eventually
from tests.process import Process, free_port

SANDBOX = ROOT / "config/deploy/compose/sandbox"
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
#: Services that run here as they stand; the other roles share one process, to spare the machine.
APART = ("api", "channel")
TOGETHER = "submit,inbound,archive,schedule"


def env_file() -> dict[str, str]:
    lines = (ROOT / "config/deploy/compose/sandbox.env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name: value for name, _, value in pairs}


class Service(Process):
    """One service of the file. Up when its health check says so."""

    ready_seconds = 90.0

    def __init__(self, folder: Path, name: str, argv: list[str], env: Mapping[str, str], url: str):
        self.name = name
        super().__init__(folder / name)
        self._argv, self._env, self._url = argv, env, url

    def start(self) -> Service:
        python = [sys.executable, "-m"]
        check = [*python, "msgcenter.healthcheck", self._url]

        def healthy() -> bool:
            # Its program has the last word, and is not started over and over while nothing answers.
            return (
                not healthcheck.check(self._url)
                and not subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode
            )

        self._launch([*python, "msgcenter", *self._argv], healthy, self._env)
        return self


class Compose:
    """What `docker compose up` would do, with every address on this machine."""

    def __init__(self, folder: Path, rabbit: str, redis: str, postgres: str, prefix: str) -> None:
        self.folder = folder
        self.env = env_file() | {"BUS_URL": rabbit, "STATE_URL": redis, "STORE_URL": postgres}
        self.ports = {port: free_port() for port in (7890, 7891, 7892, 7893, *range(8080, 8085))}
        self.config = folder / "config"
        self.config.mkdir()
        self._servers = {
            r"amqp://\S+": "${env:BUS_URL}",
            r"redis://\S+": "${env:STATE_URL}",
            r"postgresql://\S+": "${env:STORE_URL}",
            r"partitions: 4": f"partitions: 4\n  prefix: {prefix}",
        }
        for path in SANDBOX.glob("*.yaml"):
            (self.config / path.name).write_text(self._here(path.read_text()))
        state = self.config / "msgcenter.yaml"
        state.write_text(
            state.read_text().replace("kind: redis", f"kind: redis\n  prefix: {prefix}")
        )

    def _here(self, text: str) -> str:
        for pattern, ours in self._servers.items():
            text = re.sub(pattern, lambda _, ours=ours: ours, text)
        text = text.replace("http://api:", "http://127.0.0.1:")
        return re.sub(
            r"\b(789[0-3]|808[0-4])\b", lambda found: str(self.ports[int(found[1])]), text
        )

    def service(self, name: str, command: list[str], health: int) -> Service:
        argv = [self._here(re.sub(r"\$\{(\w+):-\}", lambda f: self.env[f[1]], a)) for a in command]
        argv = ["127.0.0.1" if arg == "0.0.0.0" else arg for arg in argv]
        env = {
            **self.env,
            "PYTHONPATH": str(ROOT),
            "MSGCENTER_CONFIG": str(self.config),
            "MSGCENTER__DATA": str(self.folder / f"data-{name}"),
            "MSGCENTER__MEDIA__PATH": str(self.folder / "media"),
            "MSGCENTER__API__PORT": str(self.ports[8080]),
            "MSGCENTER__HEALTH__PORT": str(health),
        }
        simulator = command[0] == "sim"
        url = self._here(SERVICES[name]["healthcheck"]["test"][-1]) if simulator else ""
        return Service(self.folder, name, argv, env, url or f"http://127.0.0.1:{health}/readyz")

    @contextmanager
    def up(self) -> Iterator[None]:
        first = {name: self.service(name, SERVICES[name]["command"], free_port()) for name in APART}
        first["rest"] = self.service("rest", ["serve", "--roles", TOGETHER], free_port())
        then: dict[str, Service] = {}
        for name, service in SERVICES.items():
            if "sandbox" in service.get("profiles", ()):
                awaited = {
                    other
                    for other, how in service.get("depends_on", {}).items()
                    if how["condition"] == "service_healthy"
                }
                one = self.service(name, service["command"], 0)
                (then if awaited & first.keys() else first)[name] = one
        with ExitStack() as running, ThreadPoolExecutor(len(first)) as starting:
            for together in (first, then):  # side by side, as Compose starts them
                for one in together.values():
                    running.callback(one.close)
                list(starting.map(Service.start, together.values()))
            yield

    def run(self, *args: str) -> str:
        """`docker compose exec api msgcenter …`."""
        done = subprocess.run(
            [sys.executable, "-m", "msgcenter", *args],
            cwd=ROOT,
            env={**os.environ, **self.env, "MSGCENTER_CONFIG": str(self.config)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.timeout(300)
async def test_the_sandbox_of_the_compose_file_sends_by_every_channel(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    it = Compose(tmp_path, rabbit_url, redis_url, postgres_url, prefix.strip("_"))
    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, it.up())
        key = (await asyncio.to_thread(it.run, "keys", "create", "crm", "--quiet")).split()[-1]
        base = f"http://127.0.0.1:{it.ports[8080]}"
        async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {key}"}) as http:
            await register(http, it.env["DEVICES_SECRET"])

            async def send(to: str, kind: str, port: int, final: set[str]) -> None:
                body = {
                    "to": to,
                    "channels": [kind],
                    "content": {"type": "text", "text": f"您好 {to}"},
                }
                async with http.post("/v1/messages", json=body) as answer:
                    view = await answer.json()
                    assert answer.status == 202, view

                async def arrived() -> bool:
                    async with http.get(f"/v1/messages/{view['id']}") as answer:
                        return (await answer.json())["status"] in final

                await eventually(arrived, 60)
                async with aiohttp.ClientSession() as plain:
                    name = {8081: "smsc", 8083: "push", 8084: "wecom"}[port]
                    url = f"http://127.0.0.1:{it.ports[port]}/journal/{name}"
                    async with plain.get(url) as answer:
                        assert f"您好 {to}" in json.dumps(await answer.json(), ensure_ascii=False)

            await send("13800138000", "sms", 8081, {"delivered"})
            await send("staff:staff0001", "wecom-app", 8084, {"sent"})
            await send("gridapp:zhangsan", "push", 8083, {"sent", "delivered", "read"})

            async def told() -> bool:
                url = f"http://127.0.0.1:{it.ports[8082]}/journal/platform"
                async with aiohttp.ClientSession() as plain, plain.get(url) as answer:
                    return "msgcenter.message.delivered" in await answer.text()

            await eventually(told, 60)


async def register(http: aiohttp.ClientSession, secret: str) -> None:
    """As the app's backend does: whose device it is."""
    device = {"address": "gridapp:zhangsan", "token": "phone-1", "platform": "android"}
    body = json.dumps({"devices": [device]})
    now = datetime.now(UTC)
    signature = standardwebhooks.Webhook(secret).sign("hook-1", now, body)
    headers = {
        "webhook-id": "hook-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
        "Content-Type": "application/json",
    }

    async def taken() -> bool:
        async with http.post("/hooks/grid/devices", data=body, headers=headers) as answer:
            return answer.status in (200, 204)

    await eventually(taken, 30)
