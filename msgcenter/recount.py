"""Recount: past sends of the Store as counters of State: after State was lost, and for a cap that is new or looks further back.

Every process that decides watches; one at a time counts (a lock). Until a series is counted, messages of the lower tiers wait
for it (`must_know`), better ones pass and say so. A person's counters are written whole, with the sends under every name that
the person was known by; what many people share (account, caller, organisation, group) is summed up by quarters of an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgcenter.clock import Clock
from msgcenter.customers import Person
from msgcenter.policy.caps import EDGES_MS
from msgcenter.rulebook import People, Rulebook
from msgcenter.state import State, StateError
from msgcenter.state.units import Backfill, Counter, Take
from msgcenter.store import PastSend, StoreError
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed
from protocols.payload import Text

LOOK_S = 2.0
"""How often a process asks whether State still knows what it knew."""
LAG_S = 5.0
"""From when State counts a series until the Store is read: so long may a process go by the old rules, a record be on its way."""
HASTENS = 4
PAGE = 500
"""People whose sends are read together."""
LOCK, LOCK_S = "recount", 60.0
DONE_S = 400 * 86400.0
REBUILDING = "caps_rebuilding"
"""Why a message waits, or what it passed by: State does not know all past sends yet."""
WRITE = 500
"""Counters of one State call."""


class PastSends(Protocol):
    """The part of the Store that is needed here."""

    async def people_sent_to(self, since_ms: int, after: str, limit: int) -> list[str]: ...

    async def past_sends(self, people: Sequence[str], since_ms: int) -> list[PastSend]: ...

    async def hasten_due(self, at_ms: int, *, only: Sequence[str]) -> int: ...


@dataclass(slots=True)
class Recount:
    """One per process. `counts`: whether this process does the work, too."""

    state: State
    store: PastSends
    people: People
    book: Callable[[], Rulebook]
    owner: str
    clock: Clock
    log: Any
    counts: bool
    _rebuilding: bool = field(init=False, default=False)
    _hasten: int = field(init=False, default=0)

    def rebuilding(self) -> bool:
        """Whether State may not know all sends that a rule asks for."""
        return self._rebuilding

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look(stop)
            except (StateError, StoreError) as error:
                self.log.info("recount_waits", error=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stop.wait()

    async def look(self, stop: asyncio.Event | None = None) -> bool:
        """Look once, and count if it is needed and this process's turn; whether it counted. Raises StateError, StoreError."""
        book = self.book()
        unknown = await self._unknown(book)
        self._rebuilding = bool(unknown)
        if not unknown:
            await self._let_go()
        if not unknown or not self.counts:
            return False
        if await self.state.lock(LOCK, self.owner, LOCK_S) > 0:
            return False
        try:
            # From here on State counts these series itself; what lies before comes from the Store.
            await self.state.backfill([_beginning(name, keep) for name, keep in unknown.items()])
            await self._lag(stop)
            if stop is not None and stop.is_set():
                return False
            await self._count(book, unknown)
        finally:
            await self.state.lock(LOCK, self.owner, 0.0)
        self._rebuilding = bool(await self._unknown(self.book()))
        self._hasten = HASTENS
        await self._let_go()
        return True

    async def _let_go(self) -> None:
        """What waits for the count is asked again; a few times, for one may be held just now on what was known before."""
        if self._hasten:
            await self.store.hasten_due(self.clock.now_ms(), only=[REBUILDING])
            self._hasten -= 1

    async def _lag(self, stop: asyncio.Event | None) -> None:
        if stop is None:
            await self.clock.sleep(LAG_S)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAG_S):
                await stop.wait()

    async def _unknown(self, book: Rulebook) -> dict[str, int]:
        """Series -> how far back it is asked for, of those that are not counted so far under this memory of State's."""
        wanted = book.capbook.all.keeps
        names = list(wanted)
        epoch = ".".join(map(str, await self.state.policy_epoch()))
        known = await self.state.memo([_done(epoch, name) for name in names])
        return {
            name: wanted[name]
            for name, value in zip(names, known, strict=True)
            if value is None or int(value) < wanted[name]
        }

    async def _count(self, book: Rulebook, unknown: Mapping[str, int]) -> None:
        now = self.clock.now_ms()
        epoch = ".".join(map(str, await self.state.policy_epoch()))
        since = now - max(unknown.values())
        self.log.info("recount_begins", series=len(unknown), since_ms=since)
        shared: dict[Counter, dict[int, int]] = {}
        after, seen = "", 0
        while True:
            keys = await self.store.people_sent_to(since, after, PAGE)
            if not keys:
                break
            seen += len(keys)
            await self._page(book, keys, since, unknown, shared, now)
            after = keys[-1]
            await self.state.lock(LOCK, self.owner, LOCK_S)
        await self._write(
            Backfill(
                counter,
                now - unknown[counter.series],
                tuple((f"{counter.of}@{slot}", slot, units) for slot, units in slots.items()),
            )
            for counter, slots in shared.items()
        )
        for name, keep in unknown.items():
            await self.state.covered([name], now - keep)
            await self.state.remember(_done(epoch, name), b"%d" % keep, DONE_S)
        self.log.info("recount_done", series=len(unknown), people=seen)

    async def _page(
        self,
        book: Rulebook,
        keys: Sequence[str],
        since: int,
        unknown: Mapping[str, int],
        shared: dict[Counter, dict[int, int]],
        now: int,
    ) -> None:
        """The sends to these people under all their names. What is shared counts under the name that it was sent to."""
        known = await self.people.many([_asked(key) for key in keys if _asked(key)], now)
        names = dict.fromkeys(keys)
        for person in known.values():
            names.update(dict.fromkeys(person.aliases))
        own = set(keys)
        sends: dict[Counter, list[tuple[str, int, int]]] = {}
        for sent in await self.store.past_sends(list(names), since):
            who = await self._holder(sent)
            for take in _takes(book, sent, who):
                counter = take.counter
                if counter.series not in unknown or sent.at < now - unknown[counter.series]:
                    continue
                if counter.home:
                    sends.setdefault(counter, []).append((_id(sent, take), sent.at, take.units))
                elif sent.person in own:
                    slots = shared.setdefault(counter, {})
                    slot = (sent.at // EDGES_MS + 1) * EDGES_MS - 1
                    slots[slot] = slots.get(slot, 0) + take.units
        await self._write(
            Backfill(counter, now - unknown[counter.series], tuple(them))
            for counter, them in sends.items()
        )

    async def _holder(self, sent: PastSend) -> Person | None:
        """Who had the name when it was sent to: a number that was given to somebody else since is not theirs."""
        key = _asked(sent.person)
        return (await self.people.many([key], sent.at)).get(key) if key else None

    async def _write(self, items: Iterable[Backfill]) -> None:
        rest = list(items)
        for start in range(0, len(rest), WRITE):
            await self.state.backfill(rest[start : start + WRITE])


def _done(epoch: str, series: str) -> str:
    return f"recounted:{epoch}:{series}"


def _beginning(series: str, keep: int) -> Backfill:
    return Backfill(Counter(series, "", keep), 1, ())


def _asked(person: str) -> str:
    """What the directory is asked for a person key; empty = nothing: a group, staff."""
    scheme, colon, _ = person.partition(":")
    if not colon:
        return person
    return person.partition("#")[0] if scheme in ("tel", "wecom", "kf") else ""


def _id(sent: PastSend, take: Take) -> str:
    if take.per == "message":
        return sent.message
    step = f"{sent.message}/{sent.step}"
    return f"{step}/{sent.attempt}" if take.per == "attempt" else step


def _takes(book: Rulebook, sent: PastSend, who: Person | None) -> tuple[Take, ...]:
    """What the send pays by the rules of now, with the category that it had then."""
    channel = book.config.channels.get(sent.channel)
    try:
        to = Address.parse(sent.to)
    except Malformed:
        return ()
    envelope = Envelope(
        id=sent.message,
        caller=sent.caller,
        to=to,
        category=sent.category,
        tier=sent.tier,
        payload=Text(""),
        created_at=sent.at,
        person=who.key if who is not None else sent.person,
        account=sent.account,
        channels=(channel.kind if channel is not None else "",),
        campaign=sent.campaign,
        once_key=sent.once_key,
    )
    return book.counters(envelope, who, sent.at).takes
