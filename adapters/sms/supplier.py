"""One supplier of an SMS channel: its connections kept alive, its pace, its health."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from adapters.sms.codes import FamilyCodes
from adapters.sms.connection import Connection, stamp_of
from adapters.sms.dialects import Dialect, Use, dialect_of
from adapters.sms.pacing import Pace
from adapters.sms.routing import Breaker, Health, Option
from adapters.sms.settings import MAIN, Endpoint
from msgcenter.adapter import Port, Sent, Unknown
from protocols.outcome import Outcome
from protocols.sms.content import Fitted


class Channel(Protocol):
    """What suppliers tell the adapter."""

    def changed(self) -> None: ...

    def heard(self, connection: Connection, sequence: int, pdu: object) -> None: ...

    def admit(self, connection: Connection, sequence: int, login: object) -> bool: ...

    def count(self, what: str) -> None: ...


class Supplier:
    """One account at one gateway. `run` keeps its connections until cancelled."""

    def __init__(
        self, name: str, terms: Endpoint, province: FamilyCodes, *, port: Port, channel: Channel
    ) -> None:
        self.name = name
        self._own = "" if name == MAIN else f"{name}:"
        self.terms = terms
        self.codes = _merged(terms, province)
        self._port = port
        self._channel = channel
        clock = port.clock
        self.dialect: Dialect = dialect_of(terms, lambda: stamp_of(clock.now_ms()))
        own = terms.country_prefix
        self.country_prefix = self.dialect.country_prefix if own is None else own
        """Whether it wants Chinese numbers with 86."""
        self.abroad = self.dialect.abroad
        """What it wants before the numbers of other countries."""
        self.pace = Pace(terms.rate, recover_s=terms.recover_s, hold_s=terms.throttle_s)
        self.breaker = Breaker(terms.breaker_failures, terms.breaker_s)
        self.connections: set[Connection] = set()
        self.fitted: dict[tuple[str, bool], Fitted] = {}
        """What recent texts became by the channel's rules, by text and whether it is marketing."""
        self.draining = False

    def adopt(self, terms: Endpoint, province: FamilyCodes) -> None:
        """Go on by changed terms of which only the live ones differ."""
        self.terms = terms
        self.codes = _merged(terms, province)
        self.pace.bound(terms.rate)

    # --- for the adapter ---

    @property
    def option(self) -> Option:
        """What routing knows of it."""
        terms = self.terms
        return Option(self.name, terms.weight, terms.backup, frozenset(terms.carriers))

    @property
    def links_up(self) -> int:
        return sum(connection.usable for connection in self.connections)

    def own(self, remote_id: str) -> str:
        """An id of this gateway's as the channel knows it: other suppliers' gateways count by themselves, and may give the same."""
        return self._own + remote_id

    def named(self, outcome: Outcome | None) -> Outcome | None:
        """The same outcome, its remote ids as the channel knows them."""
        if self._own and isinstance(outcome, Sent | Unknown) and outcome.remote_ids:
            return replace(outcome, remote_ids=tuple(map(self.own, outcome.remote_ids)))
        return outcome

    def health(self, *, answering: bool = False) -> Health:
        """`answering`: a connection that has left requests unanswered is as good as none."""
        usable = [one for one in self.connections if one.usable]
        if not usable or (answering and not any(one.answers for one in usable)):
            return Health.DOWN
        return self.breaker.health(self._port.clock.monotonic())

    def pick(self) -> Connection | None:
        """The connection with the least before it."""
        usable = [one for one in self.connections if one.usable]
        return min(usable, key=lambda one: one.load) if usable else None

    # --- its connections ---

    async def run(self) -> None:
        """Keep every connection, each by itself."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.terms.connections):
                for use in self.dialect.uses:
                    group.create_task(self._keep(use))

    async def _keep(self, use: Use) -> None:
        """One connection, again and again, with growing and jittered pauses; a refused login
        waits long.
        """
        terms, clock, log = self.terms, self._port.clock, self._port.log
        delay = terms.reconnect_min_s
        while not self.draining:
            connection = await self._connect(use)
            if connection is not None:
                try:
                    await asyncio.shield(connection.closed)
                finally:
                    self.connections.discard(connection)
                    connection.abort()
                status = connection.login_status
                if status:
                    log.error("sms_login_refused", supplier=self.name, status=status)
                else:
                    log.warning("sms_link_down", supplier=self.name, why=connection.why)
                if connection.was_open:
                    delay = terms.reconnect_min_s
                again = self.dialect.again(status) if status else "soon"
                if again == "now":
                    continue
                if again == "late":
                    await clock.sleep(terms.login_retry_s)
                    continue
            await clock.sleep(delay * self._port.random.uniform(0.5, 1.0))
            delay = min(delay * 2, terms.reconnect_max_s)

    async def _connect(self, use: Use) -> Connection | None:
        clock, terms = self._port.clock, self.terms
        made: list[Connection] = []

        def make() -> Connection:
            link = self.dialect.link(use, clock.monotonic())
            one = Connection(self, link, use, clock=clock, log=self._port.log)
            self.connections.add(one)  # before it can tell us that it is logged in
            made.append(one)
            return one

        try:
            async with asyncio.timeout(terms.connect_timeout_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(make, *terms.at)
        except (OSError, TimeoutError) as error:
            name = type(error).__name__
            self._port.log.warning("sms_connect_failed", supplier=self.name, error=name)
            for one in made:  # uvloop makes it before it knows whether there is anybody
                self.connections.discard(one)
                one.abort()
            return None
        return connection

    # --- what connections tell (connection.Owner) ---

    def changed(self) -> None:
        self._channel.changed()

    def heard(self, connection: Connection, sequence: int, pdu: object) -> None:
        self._channel.heard(connection, sequence, pdu)

    def admit(self, connection: Connection, sequence: int, login: object) -> bool:
        return self._channel.admit(connection, sequence, login)

    def troubled(self) -> None:
        if self.breaker.failed(self._port.clock.monotonic()):
            self._channel.count("breaker_opened")
            self._port.log.warning("sms_supplier_in_trouble", supplier=self.name)

    def count(self, what: str) -> None:
        self._channel.count(what)


def _merged(terms: Endpoint, province: FamilyCodes) -> FamilyCodes:
    """The province's rows with the supplier's own results over them."""
    if not terms.results:
        return province
    return province.model_copy(update={"results": {**province.results, **terms.results}})
