"""A channel kind from a separate package: found by entry point, in the contract suite, without a
change to the core.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ADAPTER = '''
"""Acme bulletin boards over HTTP: one POST a message, the token as its key."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict

from msgcenter.adapter import Adapter, Dispatch, Rejected, Retry, Sent, Spec, Text, Unknown
from msgcenter.rig import kept
from protocols.address import Address
from protocols.envelope import Envelope


class AcmeSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str


class Acme(Adapter):
    spec = Spec(kind="acme", title="Acme boards", schemes=frozenset({"staff"}), max_batch=10,
                in_flight=2, idempotent=True)
    Settings = AcmeSettings

    async def deliver(self, batch):
        return list(await asyncio.gather(*[self.post(item) for item in batch]))

    async def post(self, item):
        data = {"key": item.token, "to": item.envelope.to.value, "id": item.envelope.id,
                "text": item.envelope.payload.text}
        try:
            async with self.port.http().post(self.settings.url, json=data) as answer:
                if answer.status == 200:
                    return Sent(((await answer.json())["id"],))
                if answer.status == 404:
                    return Rejected("recipient", "no such board", "unknown_board")
                return Unknown(f"HTTP {answer.status}")
        except aiohttp.ClientConnectorError:
            return Retry("channel", "no connection", code="unreachable")
        except (aiohttp.ClientError, TimeoutError) as error:
            return Unknown(type(error).__name__)


class Running:
    def __init__(self):
        self.taken, self.keys, self.port, self.lose, self.runner = [], set(), 0, False, None

    async def take(self, request):
        data = await request.json()
        if data["to"].startswith("none"):
            return web.Response(status=404)
        if data["key"] not in self.keys:
            self.keys.add(data["key"])
            self.taken.append(data["id"])
        if self.lose:
            self.lose = False
            request.transport.abort()
        return web.json_response({"id": data["key"]})

    def make(self, number, to):
        envelope = Envelope(f"msg_{number}", "x", Address("staff", f"{to}{number}"), "care", 4,
                            Text("hello"), 0)
        return Dispatch(envelope, envelope.token())

    def dispatch(self, number):
        return self.make(number, "board")

    def refused(self, number):
        return self.make(number, "none")

    def received(self):
        return self.taken

    async def unplug(self):
        await self.runner.cleanup()

    async def plug(self):
        app = web.Application()
        app.router.add_post("/", self.take)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]

    async def lose_answer(self):
        self.lose = True

    async def say(self, text):
        raise RuntimeError("boards do not talk")


class Rig:
    kind = "acme"

    def settings(self):
        return {"url": "http://127.0.0.1:1/"}

    @asynccontextmanager
    async def run(self, port):
        far = Running()
        await far.plug()
        far.adapter = Acme(AcmeSettings(url=f"http://127.0.0.1:{far.port}/"), port)
        try:
            async with kept(far.adapter):
                yield far
        finally:
            await far.unplug()
'''
WITH_RIG = """
[msgcenter.adapters]
acme = acme_boards:Acme

[msgcenter.rigs]
acme = acme_boards:Rig
"""
WITHOUT_RIG = """
[msgcenter.adapters]
acme = acme_boards:Acme
"""


def install(folder: Path, points: str, source: str = ADAPTER) -> None:
    """Lay the package out as an installer would."""
    info = folder / "acme_boards-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "acme_boards.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-boards\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def run_suite(folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(ROOT)])
    # fmt: off
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "acme",
               "tests/contract/test_adapter.py"]
    # fmt: on
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_separate_package_passes_the_suite(tmp_path: Path) -> None:
    install(tmp_path, WITH_RIG)
    done = run_suite(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 8


def test_an_adapter_without_a_rig_fails_it(tmp_path: Path) -> None:
    install(tmp_path, WITHOUT_RIG)
    done = run_suite(tmp_path)
    assert done.returncode == 1
    assert "adapter acme has no rig" in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "test"),
    [
        ('return Unknown(type(error).__name__)', 'return Sent()', "a_lost_answer_is_unknown"),
        ('idempotent=True', 'resolves=True', "spec_is_truthful"),
        ('"unknown_board")', '"")', "refused_recipient"),
        ('for item in batch]))', 'for item in batch[1:]]))', "one_outcome_each"),
        ('"key": item.token', '"key": str(id(data_of))', "repeat_has_one_effect"),
    ],
)  # fmt: skip
def test_the_suite_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str, test: str) -> None:
    source = ADAPTER.replace(right, wrong).replace(
        "str(id(data_of))", "str(asyncio.current_task())"
    )
    assert source != ADAPTER
    install(tmp_path, WITH_RIG, source)
    done = run_suite(tmp_path)
    assert done.returncode == 1, done.stdout[-2000:]
    assert re.search(rf"FAILED .*{test}", done.stdout), done.stdout[-2000:]
