"""Lookup: who is behind addresses, for the hot path: one statement for a micro-batch, remembered until somebody changes it.

Every process follows the log of changes (`run`, twice a second) and forgets what was changed; what it has not heard of for long,
because the Store is away, it no longer believes. An answer read while its subject was being changed is given, but not kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, TypeVar

from msgcenter.clock import Clock
from msgcenter.customers import Person
from msgcenter.customers.person import implicit_key, nobody
from msgcenter.store import StoreError
from msgcenter.store.customers import EVERYTHING, Changes, Found

V = TypeVar("V")
Holdings: TypeAlias = Mapping[str, tuple[tuple[int, int, str], ...]]
"""Address -> (valid_from, valid_to, customer)."""

POLL_S = 0.5
BELIEVED_S = 30.0
"""How long memory is believed without news of the log. Nobody can write a refusal while the Store is away, and whoever is
blocked is stopped by State."""
KEPT = 20_000
"""Addresses, and people, remembered; about 2 KB for an address with its person."""
CUSTOMER = "customer:"


class CustomerSource(Protocol):
    """The part of the Store that is needed here."""

    async def find_customers(self, addresses: Sequence[str], ids: Sequence[str]) -> Found: ...

    async def customer_changes(self, after: int) -> Changes: ...


class CustomerLookup:
    """One per process; `run` is a task of it. Without `run` every call asks the Store."""

    def __init__(
        self, store: CustomerSource, clock: Clock, *, log: Any = None, kept: int = KEPT
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._kept = kept
        self._holdings: OrderedDict[str, tuple[tuple[int, int, str], ...]] = OrderedDict()
        self._people: OrderedDict[str, Person] = OrderedDict()
        self._position = -1
        self._heard = float("-inf")
        self._spoiled: list[set[str]] = []
        self._turn = asyncio.Lock()

    async def many(self, asked: Iterable[str], at: int) -> dict[str, Person]:
        """Person of each address (`tel:+86…`) and of each customer (`customer:<id>` or the id itself) at a time; a customer that
        does not exist is not in it, an address always is. Raises StoreError."""
        keys = list(dict.fromkeys(asked))
        believed = self._clock.monotonic() - self._heard < BELIEVED_S
        known = [key for key in keys if believed and self._knows(key)]
        out = self._answers(known, at, self._holdings, self._people)
        if len(known) == len(keys):
            return out
        missing = [key for key in keys if key not in out]
        addresses = [key for key in missing if _is_address(key)]
        ids = [key.removeprefix(CUSTOMER) for key in missing if not _is_address(key)]
        with self._watching() as spoiled:
            found = await self._store.find_customers(addresses, ids)
        holdings = {address: found.holdings.get(address, ()) for address in addresses}
        out |= self._answers(missing, at, holdings, found.people)
        if EVERYTHING not in spoiled:
            self._remember(holdings, found, spoiled)
        return out

    async def one(self, key: str, at: int) -> Person | None:
        """`many` for one. Raises StoreError."""
        return (await self.many([key], at)).get(key)

    async def catch_up(self) -> None:
        """Forget what was changed since the last look: after a change of this process's own, and by `run`. Raises StoreError."""
        async with self._turn:
            begun = self._clock.monotonic()
            changes = await self._store.customer_changes(self._position)
            if changes.keys is None or EVERYTHING in changes.keys or self._position < 0:
                self._forget_all()
            else:
                for spoiled in self._spoiled:
                    spoiled.update(changes.keys)
                for key in changes.keys:
                    self._holdings.pop(key, None)
                    self._people.pop(key, None)
            self._position = changes.position
            self._heard = begun

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the log of changes until `stop`."""
        while not stop.is_set():
            try:
                await self.catch_up()
            except StoreError as error:
                if self._log is not None:
                    self._log.info("customer_changes_wait", error=error)
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                continue

    def _knows(self, key: str) -> bool:
        """Whether memory has the whole answer."""
        if not _is_address(key):
            return key.removeprefix(CUSTOMER) in self._people
        held = self._holdings.get(key)
        return held is not None and all(customer in self._people for _, _, customer in held)

    @staticmethod
    def _answers(
        keys: Iterable[str], at: int, holdings: Holdings, people: Mapping[str, Person]
    ) -> dict[str, Person]:
        out: dict[str, Person] = {}
        for key in keys:
            if _is_address(key):
                out[key] = _holder(key, at, holdings[key], people)
            elif (person := people.get(key.removeprefix(CUSTOMER))) is not None:
                out[key] = person
        return out

    @contextmanager
    def _watching(self) -> Iterator[set[str]]:
        spoiled: set[str] = set()
        self._spoiled.append(spoiled)
        try:
            yield spoiled
        finally:
            self._spoiled = [one for one in self._spoiled if one is not spoiled]

    def _remember(self, holdings: Holdings, found: Found, spoiled: set[str]) -> None:
        if self._position < 0:
            return  # nobody follows the log
        for address, held in holdings.items():
            if address not in spoiled:
                _keep(self._holdings, address, held, self._kept)
        for customer, person in found.people.items():
            if customer not in spoiled:
                _keep(self._people, customer, person, self._kept)

    def _forget_all(self) -> None:
        self._holdings.clear()
        self._people.clear()
        for spoiled in self._spoiled:
            spoiled.add(EVERYTHING)


def _is_address(key: str) -> bool:
    return ":" in key and not key.startswith(CUSTOMER)


def _holder(
    address: str, at: int, held: Sequence[tuple[int, int, str]], people: Mapping[str, Person]
) -> Person:
    since = 0
    for valid_from, valid_to, customer in held:
        if valid_from <= at and (not valid_to or at < valid_to):
            person = people[customer]
            if person.erased_at:
                # Only a hash of the address is kept: what was counted under the address itself counts on.
                own = implicit_key(address, valid_from)
                return replace(person, aliases=person.aliases | {own})
            return person
        if 0 < valid_to <= at:
            since = max(since, valid_to)
    return nobody(address, since)


def _keep(memory: OrderedDict[str, V], key: str, value: V, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
