"""Capped: what State's answer about caps comes to: which rule is the strictest, what follows, and when there is room again.

Pure, as `caps.py` is: `judge` reads a denial of `State.reserve`, `allowance` an answer of `State.peek`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgcenter.policy.caps import Asked, CapRule, CapWindow, Downgrade, Drop, Hold, Merge, OnCap
from msgcenter.state.units import NEVER, Denied, Usage, Use


@dataclass(frozen=True, slots=True)
class Full:
    """A rule's window without room. `next_ms`: when it has some, 0 = no waiting helps. `history`: not full, but not known."""

    rule: CapRule
    window: CapWindow
    used: int
    limit: int
    next_ms: int
    history: bool


@dataclass(frozen=True, slots=True)
class Capped:
    """`rule`: the strictest: one that drops, else the one that holds longest. `action`: what follows. `next_ms`: when all
    rules have room (0 = no waiting helps), if nothing else is sent meanwhile. `full`: all of them, strictest first."""

    rule: CapRule
    used: int
    limit: int
    next_ms: int
    action: OnCap
    full: tuple[Full, ...]


def judge(asked: Asked, denied: Iterable[Denied], now_ms: int) -> Capped:
    """What a denial comes to. A rule that would hold past its `max_wait_s`, or for ever, drops. A window whose history State
    does not know holds, whatever its rule does when it is full: nothing is lost by a gap in memory, unless time is."""
    full = []
    for one in denied:
        rule, window = asked.origins[one.take][one.window]
        use = one.use
        full.append(Full(rule, window, use.used, use.limit, use.next_ms, use.why == "history"))
    until = max((one.next_ms or _FOREVER for one in full), default=0)
    full.sort(key=lambda one: _strictness(one, until, now_ms))
    first = full[0]
    next_ms = NEVER if until == _FOREVER else until
    return Capped(
        first.rule, first.used, first.limit, next_ms, _action(first, until, now_ms), tuple(full)
    )


_FOREVER = 1 << 62
_HISTORY = Hold(float(1 << 40))


def _action(one: Full, until: int, now_ms: int) -> OnCap:
    action = _HISTORY if one.history else one.rule.on_cap
    if isinstance(action, Hold) and until - now_ms > action.max_wait_s * 1000:
        return Drop()
    return action


def _strictness(one: Full, until: int, now_ms: int) -> tuple[int, int, str]:
    rank = {Drop: 0, Hold: 1, Merge: 2, Downgrade: 3}[type(_action(one, until, now_ms))]
    return (rank, -(one.next_ms or _FOREVER), one.rule.name)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one rule's window leaves. `left` units now; `next_ms`: when one more may be sent (0 = no waiting helps). Not
    `known`: there may have been sends before `since_ms` that State does not know of."""

    rule: CapRule
    window: CapWindow
    used: int
    open: int
    limit: int
    left: int
    next_ms: int
    known: bool
    since_ms: int


def allowance(asked: Asked, usages: Sequence[Usage]) -> list[Allowance]:
    """What `State.peek(asked.takes)` says, by rule; the strictest (latest `next_ms`) first."""
    rows = [
        _allowance(rule, window, use, usage.since_ms)
        for origins, usage in zip(asked.origins, usages, strict=True)
        for (rule, window), use in zip(origins, usage.uses, strict=True)
    ]
    return sorted(rows, key=lambda row: -(row.next_ms or _FOREVER))


def _allowance(rule: CapRule, window: CapWindow, use: Use, since_ms: int) -> Allowance:
    left = max(0, use.limit - use.used)
    known = use.why != "history"
    return Allowance(
        rule, window, use.used, use.open, use.limit, left, use.next_ms, known, since_ms
    )
