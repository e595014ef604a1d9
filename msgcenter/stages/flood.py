"""flood: who is on the block list is kept from the desk, and who writes too fast is slowed, then muted; the archive has all of it.

A message over the pace waits, and with it the conversation, in order. When too many wait, the person goes on the block list at
level mute for a while: there everybody sees it, and can lift it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgcenter.clock import Clock
from msgcenter.config.flood import FloodTerms
from msgcenter.customers import Block, Person
from msgcenter.customers.person import BLOCKED
from msgcenter.customers.sheet import Refused
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item
from msgcenter.state import State
from protocols.envelope import Decision, hashed
from protocols.outcome import Retry, Suppressed
from protocols.payload import DeliveryReport, Happening, Notice

MUTED = "muted"
SLOWED = "flood_limit"
LOOK_S = 5.0
"""What waits is looked at this often: by then so many may wait that the person is muted."""


class Flood:
    name = "flood"

    def __init__(
        self,
        terms: Callable[[], FloodTerms],
        customers: CustomerWrites,
        state: State,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._terms = terms
        self._customers = customers
        self._state = state
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StateError, StoreError."""
        wrote = [
            item
            for item in items
            if item.envelope.sender is not None
            and not item.envelope.typed_by_us
            and not isinstance(item.envelope.payload, DeliveryReport | Happening | Notice)
        ]
        if not wrote:
            return
        now = self._clock.now_ms()
        known = await self._customers.lookup.many(
            (str(item.envelope.sender) for item in wrote), now
        )
        paces: dict[bool, list[tuple[Item, Person]]] = {}
        for item in wrote:
            person = known[str(item.envelope.sender)]
            level = person.block_level(now)
            if level in ("block", "mute"):
                self._keep(item, person, BLOCKED if level == "block" else MUTED)
            elif not item.envelope.chat:  # in a group everybody would wait
                paces.setdefault(level == "slow", []).append((item, person))
        for slow, some in paces.items():
            await self._pace(some, slow=slow)

    def _keep(self, item: Item, person: Person, rule: str) -> None:
        """For the archive alone."""
        now = self._clock.now_ms()
        holding = [block for block in person.blocks if block.holds(now) and block.level != "slow"]
        until = 0 if any(not block.until for block in holding) else max(b.until for b in holding)
        block = holding[-1]
        facts = (("customer", person.id), ("block", block.id), ("level", block.level))
        item.decide(
            Suppressed(rule, block.reason),
            Decision(self.name, rule, "suppressed", "archived, not passed on", until, facts),
        )
        self._metrics.flood_total.labels(item.envelope.channel, rule).inc()

    async def _pace(self, some: Sequence[tuple[Item, Person]], *, slow: bool) -> None:
        terms = self._terms()
        rate = terms.listed if slow else terms.slow
        keys = [hashed("flood", person.key) for _, person in some]
        waits = await self._state.allow(keys, [(rate.messages, rate.within)])
        for (item, person), wait in zip(some, waits, strict=True):
            if not wait:
                continue
            if item.behind + 1 >= terms.mute_at and await self._mute(item, terms):
                continue
            facts = (("messages", str(rate.messages)), ("within_s", f"{rate.within:g}"))
            detail = f"more than {rate.messages} messages in {rate.within:g} s"
            item.decide(
                Retry("message", detail, min(wait, LOOK_S), SLOWED),
                Decision(
                    self.name,
                    "listed" if slow else "slow",
                    "retry",
                    detail,
                    self._clock.now_ms() + round(wait * 1000),
                    (*facts, ("person", person.key), ("waiting", str(item.behind + 1))),
                ),
            )
            self._metrics.flood_total.labels(item.envelope.channel, "slowed").inc()

    async def _mute(self, item: Item, terms: FloodTerms) -> bool:
        """False when the person has been muted so often that the list is full: then it is slowed only."""
        now = self._clock.now_ms()
        block = Block(
            id=f"blk_{hashed('flood', item.envelope.id)}",
            level="mute",
            until=now + round(terms.mute_for * 1000),
            reason=f"flood: {terms.mute_at} messages waited",
            at=now,
            by=self.name,
        )
        by = By(self.name, item.envelope.channel)
        try:
            person = await self._customers.block_of(str(item.envelope.sender), now, block, by)
        except Refused:
            return False
        self._keep(item, person, MUTED)
        return True
