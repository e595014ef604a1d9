"""Time, randomness and ids: the one place where the core touches the process's own clock and dice.

Everything else receives a `Clock`, a `Random` and an `IdFactory` through its constructor, so that a test can hold time
still, jump it, and reproduce every id. Wall time is integer milliseconds since the Unix epoch, UTC; durations and
monotonic instants are float seconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import zlib
from typing import Protocol

#: Crockford base32, lower case: sorts as the number does and has no look-alike letters.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]
SHARDS = 64

Random = random.Random


class Clock(Protocol):
    """What time it is. `now_ms` may jump (NTP, operator); `monotonic` never goes back."""

    def now_ms(self) -> int: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The process's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to: `advance(seconds)` wakes the sleepers whose time has come, in order."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms
        self._mono = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._n = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._mono

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        event = asyncio.Event()
        self._n += 1
        self._sleepers.append((self._mono + seconds, self._n, event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds`, stopping at every sleeper on the way so that chains of sleeps unfold."""
        target = self._mono + seconds
        while True:
            for _ in range(5):
                await asyncio.sleep(0)
            self._sleepers.sort()
            if not self._sleepers or self._sleepers[0][0] > target:
                break
            at, _, event = self._sleepers.pop(0)
            self._move(at)
            event.set()
        self._move(target)

    def _move(self, mono: float) -> None:
        self._now_ms += round((mono - self._mono) * 1000)
        self._mono = mono


def system_random() -> Random:
    """Jitter and sampling; secrets come from the `secrets` module where they are made."""
    return random.Random(os.urandom(16))  # noqa: S311 - jitter, not secrets


def base32(number: int, width: int) -> str:
    """`number` as exactly `width` Crockford base32 characters, most significant first (excess high bits dropped)."""
    if width % 2:
        return base32(number >> 5, width - 1) + ALPHABET[number & 31]
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * width - 10, -1, -10)])


def shard_of(key: str) -> int:
    """Shard 0..63 of a person or address: `crc32 % 64`, the same in every process and release."""
    return zlib.crc32(key.encode()) % SHARDS


def shard_of_id(message_id: str) -> int:
    """The shard a message id carries (characters 11-12 after the prefix, see `IdFactory.message`).

    Any other string (an id that another system made up) gets the shard of its hash, so that a lookup still has an
    answer: not found.
    """
    body = message_id.partition("_")[2]
    if len(body) == 26:
        high, low = ALPHABET.find(body[10]), ALPHABET.find(body[11])
        if high >= 0 and low >= 0 and (number := high * 32 + low) < SHARDS:
            return number
    return shard_of(message_id)


class IdFactory:
    """Prefixed, sortable ids: 10 characters of milliseconds, 2 of shard, 14 of chance (70 bits), all base32."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng

    def message(self, shard_key: str) -> str:
        """`msg_` + 26 characters; the shard is that of `shard_key` (the person, else the address)."""
        return self.new("msg", shard_key)

    def new(self, prefix: str, shard_key: str = "") -> str:
        shard = shard_of(shard_key) if shard_key else 0
        return f"{prefix}_{base32(self._clock.now_ms(), 10)}{base32(shard, 2)}{base32(self._rng.getrandbits(70), 14)}"
