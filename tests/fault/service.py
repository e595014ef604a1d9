"""The kf run: customers write while callbacks are doubled, turned round and lost and processes killed in the middle of a page; the
archive must hold every message once, in the order of its conversation."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.sim.wecom import WeComSim
from adapters.sim.wecom.rigs import simulated
from msgcenter.archive.file_sink import unframe
from tests.flow.deployment import ALL, POLICY, SPLIT, Deployment, Servers, deployed

ACCOUNTS = tuple(f"wk{number:04d}" for number in range(1, 5))
CHANNELS = """
service:
  kind: wecom-kf
  send_timeout: 8s
  settings: {{{{base_url: "{url}/cgi-bin/", corp: {corp}, agent_id: {agent}, secret: "${{{{env:WECOM_SECRET}}}}",
    callback_token: "${{{{env:WECOM_TOKEN}}}}", callback_aes_key: "${{{{env:WECOM_KEY}}}}", poll: 10s, pull: 2s,
    slack_s: 1, total_s: 5, read_s: 4, bare_per_minute: 8}}}}
"""
#: What is read in one go after a break would be slowed as a flood, and muted as one.
UNHURRIED = "flood: {slow: {messages: 10000, within: 1s}}\n"
_TEXT = re.compile(r"第(\d+)句")


@dataclass
class Counted:
    """What a run came to."""

    messages: int
    seconds: float
    writing: float
    kills: int
    killed_mid_page: int
    pages: int
    faults: Counter[str]
    """Of the newest callbacks, what struck them."""


@asynccontextmanager
async def serving(folder: Path, servers: Servers) -> AsyncIterator[tuple[Deployment, WeComSim]]:
    """The product with one kf channel beside a simulated WeCom that sends it its callbacks."""
    async with simulated(
        members=3, customers=0, kf_empty_pages=0.1, kf_short_pages=0.2, callback_pause=0.1
    ) as far:
        for one in ACCOUNTS[1:]:
            far.kf.kf_account_add(open_kfid=one)
        options = far.options
        known = CHANNELS.format(url=far.url, corp=options.corp, agent=options.agent)
        accounts = "".join(
            f"desk-{one}: {{kind: wecom-kf, channel: service, address: {one}, caller: crm}}\n"
            for one in ACCOUNTS
        )
        env = {
            "WECOM_SECRET": options.secret,
            "WECOM_TOKEN": options.callback_token,
            "WECOM_KEY": options.aes_key,
        }
        async with deployed(
            folder, servers, channels=known, accounts=accounts, policy=POLICY + UNHURRIED, env=env
        ) as it:
            url = f"http://127.0.0.1:{it.port}/hooks/service/callback"
            await far.pusher.callback_set(agentid=options.agent, url=url)
            yield it, far


async def write(far: WeComSim, conversations: int, length: int, seconds: float) -> None:
    """Every conversation one message after the other, spread over about `seconds`."""
    for n in range(length):
        for talk in range(conversations):
            account, customer = ACCOUNTS[talk % len(ACCOUNTS)], f"wm{talk:04d}"
            far.kf.customer_writes(
                open_kfid=account, external_userid=customer, text=f"您好，第{n}句"
            )
            if talk % 50 == 49:
                await asyncio.sleep(0.002)
        await asyncio.sleep(seconds / length)


async def killing(
    it: Deployment, far: WeComSim, kills: Sequence[str], rng: random.Random, pause: float
) -> int:
    """Kill each in turn, right after a page was asked for (or without one, if none is for 20 s); how many met one."""
    met = 0
    for roles in kills:
        await asyncio.sleep(rng.uniform(0.3, 1.0) * pause)
        before = far.gate.calls["kf/sync_msg"]
        for _ in range(10_000):
            if far.gate.calls["kf/sync_msg"] > before:
                met += 1
                await asyncio.sleep(rng.uniform(0.0, 0.05))
                break
            await asyncio.sleep(0.002)
        await asyncio.to_thread(it.kill9, roles)
        await asyncio.sleep(rng.uniform(0.0, 0.3))
        it.start(roles)
        await it.ready(60)
    return met


class Archive:
    """The archive files of a deployment, read as they grow: who said what, in the order in which it was written down."""

    def __init__(self, it: Deployment) -> None:
        self._folder = it.data(ALL[0] if it.servers.embedded else SPLIT[3]) / "archive"
        self._places: dict[Path, int] = {}
        self.said: dict[str, list[int]] = {}
        self.total = 0

    def read(self) -> int:
        """Take in what is new; the number of customers' messages so far, repeats included."""
        for path in sorted(self._folder.rglob("records-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                for line in file:
                    value = unframe(line)
                    if value is None:
                        break  # not yet whole
                    self._places[path] = self._places.get(path, 0) + len(line)
                    self._take(value)
        return self.total

    def _take(self, value: dict[str, Any]) -> None:
        if value.get("pipeline") != "inbound" or not value.get("envelope"):
            return
        found = _TEXT.search(str(value["envelope"]["content"].get("text", "")))
        if found:
            self.said.setdefault(value["envelope"]["address"], []).append(int(found[1]))
            self.total += 1


async def run(
    it: Deployment,
    far: WeComSim,
    conversations: int,
    length: int,
    kills: Sequence[str],
    rng: random.Random,
    *,
    writing: float,
    pause: float,
    seconds: float,
    lost: float = 0.5,
) -> Counted:
    """Write and kill, wait until the archive has it all, then check each conversation."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for kind, share in (("duplicate", 0.2), ("reorder", 0.2), ("drop", lost)):
        far.faults.callback_fault(kind=kind, times=-1, share=share)
    writer = asyncio.create_task(write(far, conversations, length, writing))
    met = await killing(it, far, kills, rng, pause)
    await writer
    wrote = loop.time() - began
    archive, wanted = Archive(it), conversations * length
    until = loop.time() + seconds
    while await asyncio.to_thread(archive.read) < wanted and loop.time() < until:
        await asyncio.sleep(0.25)
    took = loop.time() - began
    assert archive.total >= wanted, f"{archive.total} of {wanted}: {it.errors()}"
    assert len(archive.said) == conversations
    for talk, said in archive.said.items():
        assert said == list(range(length)), f"{talk}: {said}"
    assert archive.total == wanted
    faults = Counter(kind for where, kind in far.faults.met if where == "callback")
    # What it is all about did happen.
    assert met > 0, "no process died in the middle of a page"
    assert {kind for kind, count in faults.items() if count} == {"duplicate", "reorder", "drop"}
    return Counted(wanted, took, wrote, len(kills), met, far.gate.calls["kf/sync_msg"], faults)
