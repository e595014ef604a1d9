"""Link: one AMQP connection kept alive by its own supervisor, and a deadline for every call on it.

Built on aiormq, the protocol layer of aio-pika: the object layer above it restores channels by
itself and hides what it could not restore. A library future that ends because its connection went
away may raise CancelledError; `call` keeps that apart from a cancellation of the caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import pamqp.exceptions
from aiormq import Connection
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPChannelError, AMQPError
from yarl import URL

from msgcenter.bus import BusError
from msgcenter.clock import Clock, Random
from msgcenter.log import said

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds that one call to the broker, and the whole of a connect, may take.
CALL = 10.0
CLOSE = 3.0
HEARTBEAT = 15
#: Back-off between attempts in seconds: full jitter below a ceiling that doubles.
FIRST, LAST = 0.1, 5.0

FAILURES = (AMQPError, ConnectionError, OSError, RuntimeError, pamqp.exceptions.PAMQPException)
"""What the library raises when a connection or channel is gone, or the broker refuses."""


async def call(awaitable: Awaitable[T], seconds: float = CALL) -> T:
    """Await one library call for at most `seconds`.

    Raises BusError when there was no answer or the connection is gone, and aiormq's
    AMQPChannelError as it is (404, 406: the broker refused). The channel of a call that got no
    answer is closed by the library: take a new one.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait((task,), timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        raise BusError(f"the broker did not answer in {seconds:g} s")
    if task.cancelled():
        raise BusError("the connection to the broker was lost")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, AMQPChannelError):
        raise error
    if isinstance(error, (*FAILURES, asyncio.CancelledError, TimeoutError)):
        raise BusError(f"the connection to the broker failed: {error!r}") from error
    raise error


async def close_channel(channel: AbstractChannel) -> None:
    """Close a channel, however it is; what was not settled on it goes back.

    One that takes longer than CLOSE seconds (a broker under load) goes on closing by itself: the library repeats a close that
    is cancelled, and the broker answers the second by closing the connection, with all that others read over it.
    """
    task = asyncio.ensure_future(channel.close())
    _closing.add(task)  # the loop alone would not keep it
    task.add_done_callback(_closed)
    await asyncio.wait((task,), timeout=CLOSE)


_closing: set[asyncio.Future[None]] = set()


def _closed(task: asyncio.Future[None]) -> None:
    """A channel whose close was refused, or whose connection is gone, is closed: nothing is left to do."""
    _closing.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, (*FAILURES, TimeoutError)):
        log.error("a channel could not be closed: %r", error)


class _Transport(TransportFactory):
    """Remembers the socket, so that a connection whose peer is silent can be let go of at once."""

    def __init__(self, inner: TransportFactory) -> None:
        self._inner = inner
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._inner.create(url, **kwargs)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class Link:
    """One connection, from `start()` to `close()`; `opened` runs on each new one before it is up.

    `error` says why it is down ("" = up).
    """

    def __init__(
        self,
        url: str,
        name: str,
        clock: Clock,
        random: Random,
        opened: Callable[[AbstractConnection], Awaitable[None]] | None = None,
    ) -> None:
        self._url = URL(url).update_query(heartbeat=str(HEARTBEAT), name=name)
        self._name = name
        self._clock = clock
        self._random = random
        self._opened = opened
        self._up = asyncio.Event()
        self._torn = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.connection: AbstractConnection | None = None
        self.error = "not connected yet"

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"amqp {self._name}")

    async def wait_up(self, seconds: float | None) -> AbstractConnection:
        """The open connection, waiting for it. Raises BusError after `seconds` (None: never)."""
        if self.connection is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self.connection is None:
                        await self._up.wait()
        if self.connection is None:
            raise BusError(f"the broker is away: {self.error}")
        return self.connection

    def tear(self, reason: str) -> None:
        """Give this connection up and build a new one."""
        log.warning("%s connection given up: %s", self._name, reason)
        self.error = reason
        self._torn.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        pause = FIRST
        while True:
            try:
                await self._hold()
                pause = FIRST
            except (BusError, AMQPChannelError) as error:
                self.error = said(error)
                log.warning("%s connection: %s", self._name, self.error)
            await self._clock.sleep(self._random.uniform(0, pause))
            pause = min(pause * 2, LAST)

    async def _hold(self) -> None:
        """Connect, and return when a connection that was up is lost. Raises if it never was up."""
        secure = self._url.scheme == "amqps"
        transport = _Transport(TLSTransportFactory() if secure else TCPTransportFactory())
        connection = Connection(self._url, transport_factory=transport)
        try:
            await call(connection.connect())
            self._torn.clear()
            if self._opened is not None:
                await self._opened(connection)
            self.connection = connection
            self.error = ""
            self._up.set()
            torn = asyncio.ensure_future(self._torn.wait())
            closing = connection.closing
            try:
                await asyncio.wait((closing, torn), return_when=asyncio.FIRST_COMPLETED)
            finally:
                torn.cancel()
            if closing.done() and not self.error:
                self.error = _reason(closing)
                log.warning("%s connection lost: %s", self._name, self.error)
        finally:
            self._up.clear()
            self.connection = None
            self.error = self.error or "closed"
            try:
                with suppress(BusError, AMQPChannelError):
                    await call(connection.close(), CLOSE)
            finally:
                transport.abort()


def _reason(closing: asyncio.Future[Any]) -> str:
    if closing.cancelled():
        return "connection closed"
    error = closing.exception()
    return "connection closed" if error is None else f"connection closed: {error!r}"
