"""Which supplier of a channel carries a message: by carrier, health, weight and one throw of dice.

`choose` is pure; `Breaker` counts what health is made of. A breaker diverts: it never closes the
last way out, for then the one connection that does not answer is asked one message at a time
anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """Of one supplier, now."""

    UP = "up"
    PROBE = "probe"  #: it failed a while ago; one message may try
    OPEN = "open"  #: it fails: only when nobody else can
    DOWN = "down"  #: no connection, nothing can be written


@dataclass(frozen=True, slots=True)
class Option:
    """What routing knows of a supplier. `carriers` empty = all networks."""

    name: str
    weight: float = 1.0
    backup: bool = False
    carriers: frozenset[str] = frozenset()

    def reaches(self, carrier: str) -> bool:
        """`carrier` "" = nobody knows; `!mobile` = any but that."""
        if not carrier or not self.carriers:
            return True
        if carrier.startswith("!"):
            return self.carriers != {carrier[1:]}
        return carrier in self.carriers


def choose(
    suppliers: Sequence[Option], carrier: str, health: Mapping[str, Health], dice: float
) -> str | None:
    """The supplier for a number of `carrier`; `dice` is 0 <= x < 1, the same throw gives the same
    answer. None = nobody can carry it now.

    Those that reach the carrier; if no one is contracted for it, all. Of them, in this order: well
    ones by weight, well backups, then whatever has a connection at all.
    """
    fit = [one for one in suppliers if one.reaches(carrier)] or list(suppliers)
    linked = [one for one in fit if health.get(one.name, Health.DOWN) is not Health.DOWN]
    well = [one for one in linked if health[one.name] in (Health.UP, Health.PROBE)]
    for tier in (
        [one for one in well if not one.backup and one.weight > 0],
        [one for one in well if one.backup],
        [one for one in linked if one.backup or one.weight > 0],
    ):
        if tier:
            return _drawn(tier, dice)
    return None


def _drawn(tier: Sequence[Option], dice: float) -> str:
    total = sum(one.weight for one in tier)
    if not total:
        return tier[int(dice * len(tier))].name
    point = dice * total
    for one in tier:
        point -= one.weight
        if point < 0:
            return one.name
    return next(one.name for one in reversed(tier) if one.weight)


class Breaker:
    """Opens after `failures` in a row, lets one message through after `open_s`, closes when that is
    answered. Time is seconds that do not go back.
    """

    def __init__(self, failures: int, open_s: float) -> None:
        self._limit = failures
        self._open_s = open_s
        self._failed = 0
        self._until = 0.0

    def health(self, now: float) -> Health:
        if self._failed < self._limit:
            return Health.UP
        return Health.PROBE if now >= self._until else Health.OPEN

    def chosen(self, now: float) -> None:
        """A message is on its way: the probe, if it waits for one; nobody follows it meanwhile."""
        if self._failed >= self._limit:
            self._until = max(self._until, now + self._open_s)

    def answered(self) -> None:
        self._failed = 0

    def failed(self, now: float) -> bool:
        """A timeout or a fault of the gateway; True when this opened it."""
        self._failed += 1
        if self._failed >= self._limit:
            self._until = now + self._open_s
        return self._failed == self._limit
