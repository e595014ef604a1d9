"""The stages that ask the rules, over a State in memory and a scripted far end: what their tests share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgcenter.clock import ManualClock
from msgcenter.customers import Consent, Holding, Person
from msgcenter.pipeline import Item
from msgcenter.stages.policy import Policy
from msgcenter.stages.reserve import Reserve
from msgcenter.stages.resolve import Recipients
from protocols.envelope import Envelope
from protocols.outcome import Routed
from tests.unit.rig import Directory, Rig, message, metrics, rules

CHINA = ZoneInfo("Asia/Shanghai")


def at(text: str) -> int:
    """`06-15 21:00` of 2026 in China, epoch milliseconds; a Monday, no holiday."""
    return round(datetime.fromisoformat(f"2026-{text}").replace(tzinfo=CHINA).timestamp() * 1000)


NOON, EVENING, MORNING = at("06-15 12:00"), at("06-15 21:00"), at("06-16 08:00")
TEL = "tel:+8613800138000"
YES = Consent("c1", "*", "marketing", "granted", NOON - 1000, proof="p")


def person(**more: Any) -> Person:
    values: dict[str, Any] = {
        "holdings": (Holding(TEL), Holding("wecom:ww1/app/wm1")),
        "consents": (YES,),
    }
    return Person("c-7", "c-7", **{**values, **more})


def marketing(id_: str = "msg_1", **more: Any) -> Envelope:
    values: dict[str, Any] = {"category": "marketing", "tier": 5, "channel": ""}
    return message(id_, **{**values, **more})


class Gate:
    """resolve, policy and reserve of one configuration over one State."""

    def __init__(self, policy: str, *people: Person, rebuilding: bool = False) -> None:
        self.clock = ManualClock(NOON)
        self.rig = Rig(clock=self.clock)
        self.state = self.rig.state
        book = rules(policy)
        policy_stage = Policy(book, self.clock, metrics())
        self.stages = (
            Recipients(Directory(*people), book, self.clock),
            policy_stage,
            Reserve(self.state, policy_stage, book, self.clock, lambda: rebuilding),
        )

    async def __call__(self, *envelopes: Envelope) -> list[Item]:
        return await self.run([Item(envelope) for envelope in envelopes])

    async def run(self, items: list[Item]) -> list[Item]:
        for stage in self.stages:
            rest = [item for item in items if item.undecided]
            if rest:
                await stage(rest)
        for item in items:
            if item.undecided:
                item.decide(Routed(("east",)))
        return items

    async def settle(self, items: Sequence[Item], pipeline: str = "submit") -> list[Envelope]:
        """Settled; what was passed on."""
        settle = self.rig.settle(pipeline)
        await settle.conclude(items)
        return [envelope for _, envelope, _ in settle.follow(items).envelopes]

    async def send(self, items: Sequence[Item]) -> list[Item]:
        passed = [Item(envelope) for envelope in await self.settle(items)]
        if passed:
            await self.rig.deliver(self.rig.settle())(passed)
        return passed


def many(count: int, first: int = 0, **more: Any) -> list[Envelope]:
    return [message(f"msg_{n}", channel="", **more) for n in range(first, first + count)]
