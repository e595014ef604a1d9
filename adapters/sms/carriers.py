"""Whose network a Chinese number is in: by the table of ranges, `phonenumbers` for those it does not
have, and by what was learned of numbers that have moved.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgcenter.adapter import Port
from protocols.numbers import range_of

_NAMES = {
    "China Mobile": "mobile", "China Unicom": "unicom", "China Telecom": "telecom",
    "China Broadnet": "broadnet",
}  # fmt: skip
_KEPT = 50_000
_ASKED_AGAIN_S = 300.0


@lru_cache(maxsize=8192)
def _planned(prefix: str) -> str:
    """By the first seven digits, which decide it."""
    import phonenumbers
    from phonenumbers import carrier

    number = phonenumbers.PhoneNumber(country_code=86, national_number=int(prefix.ljust(11, "0")))
    return _NAMES.get(carrier.name_for_number(number, "en"), "")


def carrier_of(number: str, ranges: Mapping[str, str] | None = None) -> str:
    """`mobile`, `unicom`, `telecom`, `broadnet`, or "" when nobody knows; `number` is 13… without
    86. `ranges` come first, then the shipped ones, each by the longest beginning.
    """
    if ranges:
        for size in range(min(len(number), 13), 0, -1):
            if number[:size] in ranges:
                return ranges[number[:size]]
    if found := range_of(number):
        return found.carrier
    if len(number) != 11 or not number.isdecimal() or number[0] != "1":
        return ""
    return _planned(number[:7])


class Ported:
    """Numbers known to have moved, shared by all processes of the channel, each for `ttl_s`; what
    was asked is kept here for a while, so that a batch costs few questions.
    """

    def __init__(self, port: Port, ttl_s: float) -> None:
        self._port = port
        self._ttl_s = ttl_s
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def lookup(self, numbers: Iterable[str]) -> dict[str, str]:
        """Number -> where it is now (`unicom`, `!mobile`), for those that have moved."""
        now = self._port.clock.monotonic()
        found: dict[str, str] = {}
        ask = []
        for number in dict.fromkeys(numbers):
            known = self._known.get(number)
            if known is None or known[1] <= now:
                ask.append(number)
            elif known[0]:
                found[number] = known[0]
        answers = await asyncio.gather(*[self._port.memo(f"ported:{number}") for number in ask])
        for number, answer in zip(ask, answers, strict=True):
            carrier = (answer or b"").decode()
            self._keep(number, carrier, now + _ASKED_AGAIN_S)
            if carrier:
                found[number] = carrier
        return found

    async def learn(self, number: str, carrier: str) -> None:
        """`number` is in the network of `carrier` now."""
        self._keep(number, carrier, self._port.clock.monotonic() + _ASKED_AGAIN_S)
        await self._port.remember(f"ported:{number}", carrier.encode(), self._ttl_s)

    def _keep(self, number: str, carrier: str, until: float) -> None:
        self._known[number] = (carrier, until)
        self._known.move_to_end(number)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
