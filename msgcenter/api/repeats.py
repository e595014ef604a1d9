"""Repeats in the log: of refusals, and of slow answers, the first few of one kind are lines of their own, the rest of the window is one
line that counts them.

A refusal costs half as much without its line, and whoever repeats what is refused decides how many there are; in an overload every
answer is slow. Nothing is lost: the metrics count each one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

WINDOW_S = 10.0
FEW = 5
"""Of one kind in a window, each with its trace id: what a caller's developer and an operator look at together."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What repeats have in common. `caller` is empty while no key is known, `code` unless it is a problem."""

    caller: str
    method: str
    route: str
    status: int
    code: str


class Repeats:
    """One per process; it knows no more kinds than there are callers, routes and codes."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._counts: dict[Kind, int] = {}

    def worth_a_line(self, kind: Kind) -> bool:
        """Count one; whether it is among the first of its window."""
        count = self._counts.get(kind, 0) + 1
        self._counts[kind] = count
        if count == 1:
            asyncio.get_running_loop().call_later(WINDOW_S, self._end, kind)
        return count <= FEW

    def _end(self, kind: Kind) -> None:
        more = self._counts.pop(kind) - FEW
        if more > 0:
            self._log.info(
                "request repeated",
                caller=kind.caller,
                method=kind.method,
                route=kind.route,
                status=kind.status,
                code=kind.code,
                count=more,
                seconds=WINDOW_S,
            )
