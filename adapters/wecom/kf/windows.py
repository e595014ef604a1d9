"""When a kf account may write to a customer: five messages after each of his, within 48 h of it; asked before WeCom is.

What the customer wrote last is remembered for all processes as soon as it is read, and what was sent is counted under that
message, so that his next one starts the count anew. Only where it cannot be known (our shared memory was lost) does WeCom decide.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from msgcenter.adapter import Port, Rejected
from protocols.wecom.limits import RATES, WINDOWS_S

_SESSION = RATES["kf.session"]
_SPAN_MS = WINDOWS_S["kf.session"] * 1000
_HISTORY_MS = WINDOWS_S["kf.history"] * 1000
_MARK_S = 30 * 86_400.0
KEPT = 20_000
CLOSED, USED = "kf_window_closed", "kf_window_used"


@dataclass(frozen=True, slots=True)
class Taken:
    """A place under a customer's message; given back when nothing was sent after all."""

    key: str


class Windows:
    """`opened` when customers wrote, `take` before a message leaves, `give_back` when it certainly did not."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._last: OrderedDict[str, int] = OrderedDict()

    async def opened(self, latest: Mapping[str, tuple[int, str]]) -> None:
        """`latest`: conversation (`open_kfid/external_userid`) -> the newest message he wrote: (epoch ms, msgid)."""
        now = self._port.clock.now_ms()
        fresh = {
            talk: (at, msgid)
            for talk, (at, msgid) in latest.items()
            if at + _SPAN_MS > now and self._last.get(talk, 0) <= at
        }
        slots = asyncio.Semaphore(256)

        async def remember(talk: str, at: int, msgid: str) -> None:
            async with slots:
                ttl = (at + _SPAN_MS - now) / 1000
                await self._port.remember(f"talk:{talk}", f"{at}|{msgid}".encode(), ttl)

        await asyncio.gather(*[remember(talk, *what) for talk, what in fresh.items()])
        for talk, (at, _) in fresh.items():
            self._last[talk] = at
            self._last.move_to_end(talk)
        while len(self._last) > KEPT:
            self._last.popitem(last=False)

    async def read_up(self, open_kfid: str, from_the_start: bool) -> None:
        """All that the account's customers wrote is known: from now on, or for as long as WeCom keeps it."""
        now = self._port.clock.now_ms()
        since = await self._known_since(open_kfid)
        if since is None:
            since = now - _HISTORY_MS if from_the_start else now
        await self._port.remember(f"known:{open_kfid}", str(since).encode(), _MARK_S)

    async def _known_since(self, open_kfid: str) -> int | None:
        found = await self._port.memo(f"known:{open_kfid}")
        return int(found) if found else None

    async def take(self, open_kfid: str, external_userid: str) -> Taken | Rejected | None:
        """None: WeCom has to decide. A refusal of the recipient lets a message go on to its next channel."""
        talk, now = f"{open_kfid}/{external_userid}", self._port.clock.now_ms()
        found = await self._port.memo(f"talk:{talk}")
        if not found:
            since = await self._known_since(open_kfid)
            if since is None or since > now - _SPAN_MS:
                return None
            return Rejected("recipient", "the customer did not write within 48 h", CLOSED)
        at, _, msgid = found.decode().partition("|")
        if int(at) + _SPAN_MS <= now:
            return Rejected("recipient", "the customer wrote more than 48 h ago", CLOSED)
        key = f"sent:{talk}:{msgid}"
        if await self._count(key, 0) > 0:
            back = int(await self._port.memo(f"back:{key}") or b"0")
            if not back or await self._count(key, back) > 0:
                told = f"{_SESSION.count} messages were sent since the customer's last one"
                return Rejected("recipient", told, USED)
        return Taken(key)

    async def _count(self, key: str, back: int) -> float:
        return (await self._port.allow([key], [(_SESSION.count + back, float(_SESSION.seconds))]))[
            0
        ]

    async def give_back(self, taken: Taken) -> None:
        """What was taken was not used. Two at once may lose one of them, which only makes us more careful."""
        name = f"back:{taken.key}"
        back = int(await self._port.memo(name) or b"0")
        await self._port.remember(name, str(back + 1).encode(), float(_SESSION.seconds))
