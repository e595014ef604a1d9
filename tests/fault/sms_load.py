"""Many messages through the SMS channel over a carrier that delays, throttles and hangs up: what is
said of each is what became of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from adapters.sim.smsc import Options, Smsc
from adapters.sms import Sms, SmsSettings
from msgcenter.adapter import Dispatch, Rejected, Retry, Sent, Unknown, Unreachable
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from tests.port import FakePort
from tests.unit.adapters.test_sms import sms
from tests.unit.adapters.test_sms_family import free_port, terms

PROTOCOLS = ("cmpp2", "cmpp3", "smpp", "sgip", "smgp")
LONG = "尊敬的客户，您订购的套餐已生效，详情请登录网上营业厅查询。" * 6  # 3 parts
CALLS = 4
BATCH = 50


@dataclass
class Seen:
    """What the handsets and we ourselves saw, counted and not kept."""

    shown: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    outcomes: dict[int, str] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    retries: Counter[str] = field(default_factory=Counter)

    def took(self, entry: Mapping[str, Any]) -> None:
        number = int(str(entry["recipient"])[-8:])
        self.shown[number] += 1
        missing = entry.get("missing")
        if not missing and entry["text"] != words(number):
            self.wrong.append(entry["text"])


def words(number: int) -> str:
    return f"{number}：{LONG if number % 10 == 0 else '您好'}"


async def run(protocol: str, total: int, seconds: float) -> str:
    """Raises AssertionError when a message is lost, doubled or has no end; a line of figures."""
    given: dict[str, Any] = {
        "port": 0, "protocol": protocol, "keep_submits": 100, "report_delay": 0.01,
        "join_timeout": 2.0,
    }  # fmt: skip
    more: dict[str, Any] = {}
    if protocol == "sgip":
        given["sp_port"] = free_port()
        more["listen"] = {"port": given["sp_port"]}
    seen, journal = Seen(), Journal(keep=100)
    journal.watch(seen.took)
    far = Smsc(Options.model_validate(given), journal)
    await far.start()
    far.faults.response_jitter = 0.01
    far.faults.throttle_fraction = 0.05
    far.faults.unplug_every = 100
    settings = terms(
        protocol, far.port, window=16, connections=2, throttle_s=0.01, recover_s=0.2,
        response_timeout_s=5.0, reconnect_max_s=0.05, **more,
    )  # fmt: skip
    port = FakePort()
    adapter = Sms(SmsSettings.model_validate(settings), port)
    process, sizes = psutil.Process(), []
    numbers = iter(range(total))
    reports: set[str] = set()

    async def drop_emitted() -> None:
        """A bus that keeps nothing, so that what grows is the channel's own."""
        while True:
            reports.update(one.report.remote_id for one in port.reports)
            port.emitted.clear()
            await asyncio.sleep(0.05)

    async def caller() -> None:
        while batch := [number for _, number in zip(range(BATCH), numbers, strict=False)]:
            await _to_the_end(
                adapter, {number: sms(number, words(number)) for number in batch}, seen
            )
            if len(seen.outcomes) % 500 < BATCH:
                sizes.append(process.memory_info().rss)

    try:
        async with asyncio.timeout(seconds), kept(adapter):
            clearing = asyncio.create_task(drop_emitted())
            await asyncio.gather(*[caller() for _ in range(CALLS)])
            far.faults.unplug_every = 0
            await port.until(lambda: reports >= seen.accepted, 30)
            clearing.cancel()
    finally:
        await far.stop()
    _judge(seen, total)
    settled = sizes[len(sizes) // 3 :]
    growth = (max(settled) - settled[0]) >> 20 if settled else 0
    assert growth < 24, f"grew by {growth} MB"
    kinds = Counter(seen.outcomes.values())
    assert far.window_violations == 0
    return (
        f"{protocol}: {dict(kinds)}, given back or throttled {dict(seen.retries)}, cuts "
        f"{far.counters['unplugged']}, grew {growth} MB"
    )


async def _to_the_end(adapter: Sms, todo: dict[int, Dispatch], seen: Seen) -> None:
    """As the core: again what certainly did not leave, never what may have."""
    while todo:
        order = list(todo)
        try:
            outcomes = await adapter.deliver([todo[number] for number in order])
        except Unreachable:
            seen.retries["unreachable"] += 1
            await asyncio.sleep(0.02)
            continue
        waits = 0.0
        for number, outcome in zip(order, outcomes, strict=True):
            assert isinstance(outcome, Sent | Unknown | Retry | Rejected)
            if isinstance(outcome, Retry):
                seen.retries[outcome.code] += 1
                waits = max(waits, outcome.after)
                continue
            assert not isinstance(outcome, Rejected), outcome
            seen.outcomes[number] = type(outcome).__name__
            if isinstance(outcome, Sent):
                seen.accepted.update(outcome.remote_ids)
            del todo[number]
        await asyncio.sleep(waits)


def _judge(seen: Seen, total: int) -> None:
    assert len(seen.outcomes) == total, "every message has an end"
    assert not seen.wrong, "texts as written, parts in their order"
    sent = {number for number, kind in seen.outcomes.items() if kind == "Sent"}
    assert len(sent) > 0.6 * total
    assert all(seen.shown[number] == 1 for number in sent), "sent is shown, once"
    doubled = [number for number, times in seen.shown.items() if times > 1]
    assert not doubled, f"shown twice: {doubled}"
