"""Caps: what it costs to ask, reserve and admit one message on Redis: in batches against one call each, with ten rules against one.

Both sides of a comparison do the same to the same messages through the product's own code (rules by `when`, counters, the Lua
scripts of State); only how many share a call, or how many rules there are, differs. The side that calls for each message keeps
a whole batch of calls in flight, as a worker with many tasks would, so that it is not made slow by waiting alone.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.report import Run
from bench.stand import cpu_of
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.policy.capbook import CapBook, CapEntry
from msgcenter.policy.caps import Calendar, CapRule, Facts, Gap, Rolling
from msgcenter.policy.when import EVERYTHING, Matcher
from msgcenter.policy.when import Facts as Known
from msgcenter.state import Admit
from msgcenter.state.redis import RedisState
from msgcenter.state.units import Reserve
from protocols.envelope import Key
from tests.servers import RedisServer

FULL, QUICK = 20_000, 3_000
BATCH = 100
H, D = 3600.0, 86_400.0
MANY = 1_000_000
_WHEN = Matcher(categories=frozenset({"marketing"}))

ONE = (CapEntry(EVERYTHING, CapRule("day", "person", (Rolling(D, MANY),))),)
TEN = (
    *ONE,
    CapEntry(EVERYTHING, CapRule("week", "person", (Calendar("week", MANY),))),
    CapEntry(EVERYTHING, CapRule("month", "person", (Rolling(30 * D, MANY),))),
    CapEntry(_WHEN, CapRule("pause", "person_category", (Gap(0.001),))),
    CapEntry(_WHEN, CapRule("kind", "person_category", (Rolling(7 * D, MANY),))),
    CapEntry(EVERYTHING, CapRule("texts", "person_channel", (Rolling(D, MANY),))),
    CapEntry(EVERYTHING, CapRule("texts_month", "person_channel", (Calendar("month", MANY),))),
    CapEntry(EVERYTHING, CapRule("account", "account", (Calendar("day", MANY),))),
    CapEntry(EVERYTHING, CapRule("caller", "caller", (Calendar("day", MANY),))),
    CapEntry(EVERYTHING, CapRule("city", "organisation", (Calendar("day", MANY),), level=2)),
)
SIDES: dict[str, tuple[tuple[str, int, Sequence[CapEntry]], ...]] = {
    "caps_batched": (("product", BATCH, ONE), ("naive", 1, ONE)),
    "caps_ten_rules": (("product", BATCH, TEN), ("naive", BATCH, ONE)),
}
"""Scenario -> its two sides: name, messages in one call, rules."""


def run(rounds: int, count: int, step: Callable[[str, int], None]) -> list[Run]:
    """All runs, sides in turns, on one Redis of their own. Raises ServerError when it does not start."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        for number in range(rounds):
            for scenario, sides in SIDES.items():
                for name, size, rules in sides if number % 2 else sides[::-1]:
                    step(f"{scenario}: {name}", rounds * len(SIDES) * 2)
                    prefix = f"b{len(runs)}"
                    work = _side(redis.url, prefix, CapBook(rules), count, size)
                    before = cpu_of(redis.pid)
                    seconds, cpu = asyncio.run(work)
                    after = cpu_of(redis.pid)
                    server = sum(after.values()) - sum(before.values())
                    runs.append(
                        Run(
                            scenario,
                            name,
                            count,
                            seconds,
                            count / seconds,
                            cpu={"client": cpu / count * 1e6, "redis": server / count * 1e6},
                        )
                    )
    return runs


async def _side(url: str, prefix: str, book: CapBook, count: int, size: int) -> tuple[float, float]:
    """(seconds, CPU seconds of this process). Raises RuntimeError when a message is not let go: then it was cheaper than it is."""
    state = RedisState(url, prefix=prefix)
    ids = IdFactory(SystemClock(), system_random())
    try:
        numbers = range(count)
        batches = [numbers[start : start + BATCH] for start in range(0, count, BATCH)]
        began, cpu = time.monotonic(), time.process_time()
        for batch in batches:
            calls = [batch[start : start + size] for start in range(0, len(batch), size)]
            await asyncio.gather(*(_pass(state, book, ids, call) for call in calls))
        return time.monotonic() - began, time.process_time() - cpu
    finally:
        await state.close()


async def _pass(state: RedisState, book: CapBook, ids: IdFactory, numbers: Sequence[int]) -> None:
    """Decide, reserve and admit these messages: one call of each verb."""
    now = SystemClock().now_ms()
    asked = []
    for number in numbers:
        person = f"tel:+86138{number // 3:08d}"
        picked = book.pick(Known(category="marketing", channel="sms", person=person))
        facts = Facts(
            now_ms=now,
            category="marketing",
            tier=5,
            zone="Asia/Shanghai",
            person=person,
            channel="sms",
            account="hotline",
            caller="crm",
            organisation=("广东", "广州"),
            tags=picked.tags,
        )
        asked.append(Reserve(ids.message(person), 0, 0, picked.caps.ask(facts).takes))
    reserved = await state.reserve(asked)
    admitted = await state.admit(
        [
            Admit(Key(one.id, 0, 0, "channel"), ("campaign:spring",), "bench", 30.0, got.ticket)
            for one, got in zip(asked, reserved, strict=True)
        ]
    )
    if any(one.verdict != "go" for one in admitted):
        raise RuntimeError(
            f"not let go: {[one.verdict for one in admitted if one.verdict != 'go'][:3]}"
        )
