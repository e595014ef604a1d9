"""A Port for tests of adapters: it keeps what was emitted, or refuses to make it durable."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from random import Random

import aiohttp
import structlog

from msgcenter.adapter import Account, MediaFile, Received, Report, Subscriber, Unavailable
from msgcenter.clock import Clock, SystemClock
from msgcenter.port import COUNTS
from msgcenter.state.memory import MemoryState
from msgcenter.turns import Turns
from protocols.errors import Malformed
from protocols.payload import Pull

GAUGES = frozenset({"window_in_use", "links_up", "source_lag"})


class FakePort:
    """`refuse` > 0: so many calls of `emit` fail (after the attempt was counted in `tries`).

    Ports with the same `state` are those of several processes of one channel.
    """

    def __init__(
        self, channel: str = "test", clock: Clock | None = None, state: MemoryState | None = None
    ) -> None:
        self.channel = channel
        self.clock: Clock = clock or SystemClock()
        self.random = Random(7)
        self.log = structlog.get_logger("test").bind(channel=channel)
        self.emitted: list[Received | Report] = []
        self.tries = 0
        self.refuse = 0
        self.never: Callable[[Received | Report], bool] = lambda item: False
        """What `emit` can never make durable."""
        self.aside: list[tuple[Received | Report, str]] = []
        self.subscribers: dict[str, Subscriber] = {}
        self.gauges: dict[str, float] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.gate = asyncio.Event()
        """Cleared: `emit` waits before it does anything durable."""
        self.gate.set()
        self.state = state or MemoryState(self.clock, rng=Random(8))
        self.known_accounts: list[Account] = []
        self.account_states: list[tuple[str, str, str]] = []
        self.files: dict[str, MediaFile] = {}
        self.unwanted: frozenset[str] = frozenset()
        """MIME types that `keep_media` refuses."""
        self.checkpoints: dict[str, str] = {}
        self.rung: list[tuple[Pull, float]] = []
        """Of this channel; `rung_elsewhere` those of others: channel -> pulls."""
        self.rung_elsewhere: dict[str, list[Pull]] = {}
        self.other_channels: set[str] = set()
        """Channels that are configured beside this one."""
        self._turns = Turns(self.state, f"port-{id(self)}", self.clock, Random(9))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._http: aiohttp.ClientSession | None = None
        self._changed = asyncio.Event()

    async def emit(self, items: Sequence[Received | Report]) -> None:
        self.tries += 1
        self._changed.set()
        await self.gate.wait()
        if self.refuse > 0:
            self.refuse -= 1
            raise Unavailable("the bus is down")
        if any(self.never(item) for item in items):
            raise ValueError("one of these cannot be made durable")
        self.emitted.extend(items)
        self._changed.set()

    async def set_aside(self, items: Sequence[Received | Report], why: str) -> None:
        if self.refuse > 0:
            self.refuse -= 1
            raise Unavailable("the bus is down")
        self.aside += [(item, why) for item in items]
        self._changed.set()

    def http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=2.0),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._http

    async def subscriber(self, caller: str) -> Subscriber | None:
        return self.subscribers.get(caller)

    def gauge(self, name: str, value: float) -> None:
        if name not in GAUGES:
            raise ValueError(f"unknown gauge {name!r}")
        self.gauges[name] = value

    def count(self, name: str, result: str) -> None:
        if result not in COUNTS.get(name, ()):
            raise ValueError(f"unknown count {name!r} {result!r}")
        self.counts[name, result] += 1

    def accounts(self) -> Sequence[Account]:
        return self.known_accounts

    def account_state(self, account: str, state: str, detail: str = "") -> None:
        self.account_states.append((account, state, detail))

    async def media(self, media: str) -> MediaFile:
        if media not in self.files:
            raise Malformed(f"no such file: {media}")
        return self.files[media]

    async def keep_media(self, data: bytes | AsyncIterator[bytes], *, mime: str, name: str) -> str:
        if mime in self.unwanted:
            raise Malformed(f"files of type {mime} are not kept")
        octets = data if isinstance(data, bytes) else b"".join([part async for part in data])
        return self.put_media(octets, mime, name).id

    def put_media(self, data: bytes, mime: str, name: str) -> MediaFile:
        """A file in the media store, by its content."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
        key = hashlib.sha256(data).hexdigest()[:26]
        path = Path(self._folder.name) / key
        path.write_bytes(data)
        file = MediaFile(f"med_{key}", path, mime, name, len(data))
        self.files[file.id] = file
        return file

    async def memo(self, key: str) -> bytes | None:
        return (await self.state.memo([f"{self.channel}|{key}"]))[0]

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        await self.state.remember(f"{self.channel}|{key}", value, ttl_s)

    def turn(self, name: str, *, wait_s: float = 10.0) -> AbstractAsyncContextManager[bool]:
        return self._turns.turn(f"{self.channel}|{name}", wait_s=wait_s)

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        return await self.state.allow([f"{self.channel}|{key}" for key in keys], limits)

    async def checkpoint(self, name: str) -> str:
        return self.checkpoints.get(name, "")

    async def save_checkpoint(self, name: str, value: str) -> None:
        self.checkpoints[name] = value

    async def ring(self, pull: Pull, *, delay_s: float = 0.0, channel: str = "") -> None:
        if channel and channel not in {*self.other_channels, self.channel}:
            raise LookupError(f"no channel {channel}")
        await self.gate.wait()
        if self.refuse > 0:
            self.refuse -= 1
            raise Unavailable("the bus is down")
        if channel and channel != self.channel:
            self.rung_elsewhere.setdefault(channel, []).append(pull)
        else:
            self.rung.append((pull, delay_s))

    @property
    def reports(self) -> list[Report]:
        return [item for item in self.emitted if isinstance(item, Report)]

    @property
    def received(self) -> list[Received]:
        return [item for item in self.emitted if isinstance(item, Received)]

    async def until(self, done: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait until `done` says so, looking again at every emit. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not done():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._changed.wait()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
        if self._folder is not None:
            self._folder.cleanup()
