"""Quotas: how many messages a caller may send a second, an hour and a day, counted over all processes by State and fetched
in small advances, so that a request seldom asks.

A process holds what it fetched in a purse for each limit. An advance is a tenth of a second of the rate, or a hundredth of what
is left of an hour or a day; what is not used of it lapses with a second limit after 2 s, with the others at the end of
their window. So several processes together never pass a limit, and may refuse at most their advances too early.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgcenter.api.problems import Problem
from msgcenter.clock import Clock
from msgcenter.config import CallerConfig
from msgcenter.config.rules import Quota
from msgcenter.state import Grant, State

ADVANCE_S = 0.1
LAPSE_S = 2.0
PART_OF_LEFT = 100
DRY_S = 0.05
"""A rate that is used up is asked for again so often at most, however many requests come."""
TRIES = 4

LimitName = Literal["burst", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit as it stands: `quota` in a window of `window_s`, about `remaining` of it, more after `reset_s`."""

    name: LimitName
    quota: int
    window_s: int
    remaining: int
    reset_s: int


@dataclass(slots=True)
class _Purse:
    """What this process holds of one limit. `left`: what State held after the last fetch. `dry_until`: monotonic; no use in
    asking before."""

    name: LimitName
    bucket: str
    tokens: int = 0
    left: int = -1
    fetched: float = 0.0
    dry_until: float = 0.0
    wanted: int = 0
    window: int = -1
    ends_ms: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quotas:
    """One per process."""

    def __init__(self, state: State, clock: Clock, zone: Callable[[], str]) -> None:
        """`zone`: the time zone whose days count."""
        self._state = state
        self._clock = clock
        self._zone = zone
        self._purses: dict[tuple[str, LimitName], _Purse] = {}

    # -- use ------------------------------------------------------------------------------------

    def refuse_if_dry(self, name: str, caller: CallerConfig) -> None:
        """A cheap no, before anything is read of the request: this process knows that not one message has room. Raises
        Problem quota_exceeded."""
        quota = caller.quota
        if quota is None:
            return
        now = self._clock.monotonic()
        for purse in self._of(name, quota):
            self._roll(purse, now)
            if purse.tokens < 1 and now < purse.dry_until:
                raise self._exceeded(purse, quota, 1)

    async def take(self, name: str, caller: CallerConfig, count: int) -> None:
        """Use up `count` messages of every limit of a caller, or of none. Raises Problem quota_exceeded or batch_over_quota,
        StateError."""
        quota = caller.quota
        if quota is None or not count:
            return
        purses = self._of(name, quota)
        for purse in purses:
            if count > _size(purse.name, quota):
                raise Problem("batch_over_quota", count=count, limit=_size(purse.name, quota))
        for _ in range(TRIES):
            now = self._clock.monotonic()
            for purse in purses:
                self._roll(purse, now)
            short = [purse for purse in purses if purse.tokens < count]
            if not short:
                for purse in purses:
                    purse.tokens -= count
                return
            for purse in short:
                await self._fill(purse, quota, count)
        raise self._exceeded(short[0], quota, count)

    def give_back(self, name: str, caller: CallerConfig, count: int) -> None:
        """What was taken and not used after all: a repeat of an earlier request, a bus that took nothing."""
        if caller.quota is None:
            return
        now = self._clock.monotonic()
        for purse in self._of(name, caller.quota):
            self._roll(purse, now)
            purse.tokens = min(purse.tokens + count, _size(purse.name, caller.quota))

    # -- tell -----------------------------------------------------------------------------------

    def standings(self, name: str, caller: CallerConfig) -> list[Standing]:
        """Every limit as far as this process knows."""
        quota = caller.quota
        if quota is None:
            return []
        out = []
        now = self._clock.monotonic()
        for purse in self._of(name, quota):
            self._roll(purse, now)
            size = _size(purse.name, quota)
            known = size if purse.left < 0 else min(size, purse.left + purse.tokens)
            if purse.name == "burst" and quota.rate is not None and purse.left >= 0:
                # what the rate has added since State was asked
                known = min(size, known + int((now - purse.fetched) * quota.rate))
            out.append(
                Standing(
                    purse.name,
                    size,
                    _window_s(purse.name, quota),
                    known,
                    self._reset_s(purse, quota, size - known),
                )
            )
        return out

    async def look(self, name: str, caller: CallerConfig) -> list[Standing]:
        """Every limit, asked of State. Raises StateError."""
        if caller.quota is not None:
            now = self._clock.monotonic()
            for purse in self._of(name, caller.quota):
                self._roll(purse, now)
                grant = await self._ask(purse, caller.quota, 0)
                purse.left, purse.fetched = grant.left, self._clock.monotonic()
        return self.standings(name, caller)

    # -- pieces ---------------------------------------------------------------------------------

    def _of(self, name: str, quota: Quota) -> list[_Purse]:
        limits: tuple[tuple[LimitName, object], ...] = (
            ("burst", quota.rate),
            ("hour", quota.per_hour),
            ("day", quota.per_day),
        )
        out = []
        for limit, given in limits:
            if given is not None:
                purse = self._purses.get((name, limit))
                if purse is None:
                    purse = self._purses[name, limit] = _Purse(limit, f"quota:{name}")
                out.append(purse)
        return out

    def _roll(self, purse: _Purse, now: float) -> None:
        """Let lapse what is over."""
        if purse.name == "burst":
            if now - purse.fetched > LAPSE_S:
                purse.tokens = 0
            return
        now_ms = self._clock.now_ms()
        if purse.window >= 0 and now_ms < purse.ends_ms:
            return
        if purse.name == "hour":
            purse.window = now_ms // 3_600_000
            purse.ends_ms = (purse.window + 1) * 3_600_000
        else:
            at = datetime.fromtimestamp(now_ms / 1000, ZoneInfo(self._zone()))
            midnight = at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
            purse.window = midnight.toordinal()
            purse.ends_ms = round((midnight + timedelta(days=1)).timestamp() * 1000)
        purse.tokens, purse.left, purse.dry_until = 0, -1, 0.0

    async def _fill(self, purse: _Purse, quota: Quota, count: int) -> None:
        """Fetch enough for everybody who waits here, unless it is known that there is nothing. Raises Problem."""
        purse.wanted += count
        try:
            async with purse.lock:
                now = self._clock.monotonic()
                if purse.tokens >= count:
                    return
                if now < purse.dry_until:
                    raise self._exceeded(purse, quota, count)
                want = max(purse.wanted - purse.tokens, self._advance(purse, quota))
                grant = await self._ask(purse, quota, want)
                purse.tokens += grant.granted
                purse.left, purse.fetched = grant.left, self._clock.monotonic()
                if grant.granted < want:
                    wait = max(DRY_S, grant.wait_s) if purse.name == "burst" else grant.wait_s
                    purse.dry_until = purse.fetched + wait
                if purse.tokens < count:
                    raise self._exceeded(purse, quota, count)
        finally:
            purse.wanted -= count

    async def _ask(self, purse: _Purse, quota: Quota, want: int) -> Grant:
        size = _size(purse.name, quota)
        if purse.name == "burst":
            assert quota.rate is not None
            return await self._state.tokens(purse.bucket, want=want, rate=quota.rate, burst=size)
        # a bucket for each window, kept until it is over and clocks that differ are past it
        lasts = max(1.0, (purse.ends_ms - self._clock.now_ms()) / 1000 + 60)
        bucket = f"{purse.bucket}:{purse.name}:{purse.window}"
        return await self._state.tokens(bucket, want=want, rate=0.0, burst=size, lasts_s=lasts)

    def _advance(self, purse: _Purse, quota: Quota) -> int:
        if purse.name == "burst":
            assert quota.rate is not None
            return min(round(quota.rate * ADVANCE_S), quota.burst)
        left = _size(purse.name, quota) if purse.left < 0 else purse.left
        return max(1, left // PART_OF_LEFT)

    def _reset_s(self, purse: _Purse, quota: Quota, missing: int) -> int:
        if purse.name == "burst":
            assert quota.rate is not None
            return math.ceil(max(0, missing) / quota.rate)
        return max(0, math.ceil((purse.ends_ms - self._clock.now_ms()) / 1000))

    def _exceeded(self, purse: _Purse, quota: Quota, count: int) -> Problem:
        size = _size(purse.name, quota)
        if purse.name == "burst":
            assert quota.rate is not None
            wait = max(1.0, (count - purse.tokens) / quota.rate)
            limit = f"{quota.rate:g} messages a second, {quota.burst} at once"
            limit_zh = f"每秒 {quota.rate:g} 条，突发 {quota.burst} 条"
        else:
            wait = float(max(1, self._reset_s(purse, quota, 0)))
            limit = f"{size} messages in one {purse.name}"
            limit_zh = f"每{'小时' if purse.name == 'hour' else '天'} {size} 条"
        return Problem("quota_exceeded", retry_after=wait, limit=limit, limit_zh=limit_zh)


def headers_of(standings: Sequence[Standing]) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): one item for each limit; units are
    messages. Empty without limits."""
    if not standings:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{s.name}";q={s.quota};w={s.window_s}' for s in standings),
        "RateLimit": ", ".join(f'"{s.name}";r={s.remaining};t={s.reset_s}' for s in standings),
    }


def _size(name: LimitName, quota: Quota) -> int:
    sizes = {"burst": quota.burst, "hour": quota.per_hour or 0, "day": quota.per_day or 0}
    return sizes[name]


def _window_s(name: LimitName, quota: Quota) -> int:
    if name == "burst":
        assert quota.rate is not None
        return max(1, math.ceil(quota.burst / quota.rate))
    return 3600 if name == "hour" else 86_400
