"""Where a far end connects to us to deliver, as SGIP gateways do: one listener for a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, cast

from adapters.sms.connection import Connection
from adapters.sms.dialects import Called, Use
from adapters.sms.settings import ListenSettings
from adapters.sms.supplier import Supplier
from msgcenter.adapter import Port
from msgcenter.clock import Clock
from protocols.sms.link import Link

MAX_CONNECTIONS = 32
_AGAIN_S = 5.0


class Listener:
    """`run` listens until cancelled; a connection belongs to a supplier once it has logged in."""

    def __init__(
        self,
        settings: ListenSettings,
        suppliers: Sequence[tuple[Supplier, Called]],
        port: Port,
        count: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._suppliers = suppliers
        self._port = port
        self._count = count
        self.connections: set[Connection] = set()
        self.bound = 0
        """The port it listens on; 0 = not yet."""

    async def run(self) -> None:
        """A port that is taken is tried again: what used it before may yet be ending."""
        clock, settings = self._port.clock, self._settings
        loop = asyncio.get_running_loop()
        while True:
            try:
                server = await loop.create_server(self._made, settings.host, settings.port)
                break
            except OSError as error:
                self._port.log.error("sms_cannot_listen", port=settings.port, why=error.strerror)
                await clock.sleep(_AGAIN_S if settings.port else 0.1)
        self.bound = server.sockets[0].getsockname()[1]
        try:
            await clock.sleep(float("inf"))
        finally:
            self.bound = 0
            server.close()

    def admit(self, connection: Connection, sequence: int, login: object) -> bool:
        """Answer a login: the first supplier that knows it takes the connection."""
        for supplier, dialect in self._suppliers:
            if dialect.knows(login):
                connection.owner = supplier
                return dialect.admit(connection.link, sequence, login)
        return self._suppliers[0][1].admit(connection.link, sequence, login)

    def tick(self) -> None:
        for connection in list(self.connections):
            connection.tick()

    def abort(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            connection.abort()

    def _made(self) -> asyncio.Protocol:
        supplier, _ = self._suppliers[0]
        clock = self._port.clock
        link = supplier.dialect.link("listen", clock.monotonic())
        return _Called(self, supplier, link, "listen", clock=clock, log=self._port.log)

    def welcome(self, connection: Connection, peer: str) -> bool:
        """Whether this peer may stay connected."""
        allow = self._settings.allow
        if allow and not any(ip_address(peer) in network for network in allow):
            self._count("listen_refused")
            self._port.log.warning("sms_caller_not_allowed", peer=peer)
            return False
        if len(self.connections) >= MAX_CONNECTIONS:
            self._count("listen_full")
            return False
        self.connections.add(connection)
        return True


class _Called(Connection):
    """A connection that the far end made."""

    def __init__(
        self, listener: Listener, owner: Supplier, link: Link, use: Use, *, clock: Clock, log: Any
    ) -> None:
        super().__init__(owner, link, use, clock=clock, log=log)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = cast("tuple[str, int]", transport.get_extra_info("peername"))
        if not self._listener.welcome(self, peer[0]):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.connections.discard(self)
        super().connection_lost(exc)
