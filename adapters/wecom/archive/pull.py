"""The archive read from where we stopped: pages fetched, opened, made durable in order, and only then the cursor moved on.

One process reads at a time. An item that cannot be decrypted because its key is not here (or has opened nothing yet) holds the
cursor, an alarm raised: what is before it was emitted, and what is after it waits. Nothing is skipped: once `patience` is over
it is relayed as `Happening("wecom_archive_unreadable")`, its sealed text included, so that it can still be opened when the key is
found. An item that a proven key does not open is damaged, and relayed so at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adapters.wecom.archive.relay import Relay
from adapters.wecom.archive.settings import WeComArchiveSettings
from adapters.wecom.archive.source import Keys, Means, Source, SourceError
from msgcenter.adapter import Malformed, Port
from protocols.wecom.archive import Encrypted, Message, Page, read
from protocols.wecom.limits import RATES, WINDOWS_S

CURSOR = "archive"
SLICE = 50
"""Items made durable at once, and the cursor after them."""
TURN_S = 20.0
AGAIN = 3
"""Tries of a decryption that may succeed when repeated."""
MOST_LEFT_OUT = 3
"""Items too large even alone that are left out in one reading: more of them is a fault of another kind."""
NOTE_S = 3600
"""How often a cursor that did not move is written again, for the time of the last look at the archive."""
_RATE = RATES["archive.minute"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """`seq`: everything up to it is durable. `looked_at`: when all there was had been read (epoch ms). `held`: since when items
    of a key version have held the cursor (epoch ms)."""

    seq: int = 0
    looked_at: int = 0
    held: Mapping[int, int] = field(default_factory=dict)

    def text(self) -> str:
        held = {str(version): since for version, since in self.held.items()}
        return json.dumps({"seq": self.seq, "looked_at": self.looked_at, "held": held})

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises Malformed for what `text` did not write."""
        try:
            tree = json.loads(text)
            held = {int(version): int(since) for version, since in tree["held"].items()}
            return cls(int(tree["seq"]), int(tree["looked_at"]), held)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Malformed(
                f"checkpoint {CURSOR}: {text[:80]!r} is no cursor of the archive; remove it to read the last five days again"
            ) from None


class Puller:
    """`pull()` reads all there is. `told(state, detail)`: `down` while an item holds everything, `up` when it goes on."""

    def __init__(
        self,
        settings: WeComArchiveSettings,
        port: Port,
        source: Source,
        keys: Keys,
        relay: Relay,
        told: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._port = port
        self._source = source
        self._keys = keys
        self._relay = relay
        self._told = told
        self._limit = settings.limit
        self._holding = 0
        self._left_out = 0
        self._away_since = 0
        self.cursor = Cursor()
        self.gaps = 0
        """Times that items were, or may have been, lost to us: first start, five days without reading, a page too large."""

    async def pull(self) -> None:
        """Read until there is nothing more, or an item holds. Raises SourceError, and what the Port raises."""
        async with self._port.turn(CURSOR, wait_s=TURN_S) as mine:
            if not mine:
                return
            text = await self._port.checkpoint(CURSOR)
            found = Cursor.parse(text) if text else Cursor()
            # A look that found nothing new moved no cursor.
            self.cursor = replace(found, looked_at=max(found.looked_at, self.cursor.looked_at))
            self._limit, self._left_out = self._settings.limit, 0
            self._look_back()
            while await self._page():
                pass

    @property
    def is_held(self) -> bool:
        """Whether an item that cannot be read holds all after it."""
        return self._holding != 0

    def lag_s(self) -> float:
        """Seconds since everything there was had been read; 0 before the first look."""
        looked_at = self.cursor.looked_at
        return max(0.0, (self._port.clock.now_ms() - looked_at) / 1000) if looked_at else 0.0

    def _look_back(self) -> None:
        looked_at, history = self.cursor.looked_at, WINDOWS_S["archive.history"]
        if not looked_at:
            self._gap("first start", "only the last five days are there")
            # Noted with the first cursor that is saved.
            self.cursor = replace(self.cursor, looked_at=self._port.clock.now_ms())
        elif (away := self.lag_s()) > history and looked_at != self._away_since:
            self._away_since = looked_at
            self._gap("not read", f"for {away / 86400:.1f} days; only the last five are there")

    def _gap(self, what: str, detail: str) -> None:
        self.gaps += 1
        self._port.log.error(
            "archive_gap", alarm=True, what=what, detail=detail, seq=self.cursor.seq
        )

    async def _save(self, cursor: Cursor) -> None:
        await self._port.save_checkpoint(CURSOR, cursor.text())
        self.cursor = cursor

    # -- pages ---------------------------------------------------------------------------------------------------------

    async def _page(self) -> bool:
        """One page; False when there is no more to do now."""
        page = await self._fetch(self.cursor.seq)
        if page is None:
            return True
        items = sorted((one for one in page.items if one.seq > self.cursor.seq), key=_seq_of)
        if odd := [one.msgid for one in page.items if one.seq <= 0]:
            self._port.log.error("archive_items_without_seq", alarm=True, msgids=odd[:10])
        for start in range(0, len(items), SLICE):
            if not await self._slice(items[start : start + SLICE]):
                return False
            self._port.gauge("source_lag", self.lag_s())
        if not items:
            await self._caught_up()
        return bool(items)

    async def _caught_up(self) -> None:
        now = self._port.clock.now_ms()
        cursor = replace(self.cursor, looked_at=now)
        if now - self.cursor.looked_at > NOTE_S * 1000 or not await self._port.checkpoint(CURSOR):
            await self._save(cursor)
        self.cursor = cursor

    async def _fetch(self, seq: int) -> Page | None:
        """Items after `seq`; None = ask again, something was changed for it. Raises SourceError."""
        await self._allowed()
        try:
            return await self._source.fetch(seq, self._limit)
        except SourceError as error:
            if error.means is Means.SMALLER and self._limit > 1:
                self._limit = max(1, self._limit // 4)
                return None
            if error.means is Means.SMALLER and self._left_out < MOST_LEFT_OUT:
                self._left_out += 1
                self._gap("item too large", f"{error}; seq {seq + 1} is left out")
                await self._save(replace(self.cursor, seq=seq + 1))
                return None
            if error.means is not Means.GAP or seq == 0:
                raise
        # What was asked for is too old: begin with the oldest there is. What we have already is left out.
        self._gap("expired", f"nothing after seq {seq} can be had; reading what there is")
        await self._allowed()
        return await self._source.fetch(0, self._limit)

    async def _allowed(self) -> None:
        """Wait until WeCom would not refuse another call."""
        limits = [(_RATE.count, float(_RATE.seconds))]
        while left := (await self._port.allow(["archive.minute"], limits))[0]:
            await self._port.clock.sleep(left)

    # -- items ---------------------------------------------------------------------------------------------------------

    async def _slice(self, items: Sequence[Encrypted]) -> bool:
        """Make these durable, then move the cursor. False: one of them holds, and what is before it is durable."""
        opened: list[tuple[Encrypted, Message | SourceError]] = []
        held, was_held = dict(self.cursor.held), bool(self.cursor.held)
        stopped: tuple[Encrypted, SourceError] | None = None
        for item in items:
            result = await self._open(item)
            if isinstance(result, SourceError) and self._holds(item, result, held):
                stopped = (item, result)
                break
            if isinstance(result, Message):
                held.pop(item.key_version, None)
            opened.append((item, result))
        await self._relay(opened)
        cursor = replace(
            self.cursor, held=held, seq=opened[-1][0].seq if opened else self.cursor.seq
        )
        if cursor != self.cursor:
            await self._save(cursor)
        if stopped is None:
            if opened and (self._holding or (was_held and not held)):
                self._holding = 0
                self._told("up", "")
            return True
        item, error = stopped
        if self._holding != item.seq:
            self._holding = item.seq
            told = {"seq": item.seq, "version": item.key_version, "detail": str(error)}
            self._port.log.error("archive_held", alarm=True, **told)
            self._told("down", f"seq {item.seq} holds the archive: {error}")
        return False

    async def _open(self, item: Encrypted) -> Message | SourceError:
        """The message, or why it cannot be read."""
        for left in reversed(range(AGAIN)):
            try:
                message = read(await self._source.decrypt(item))
            except Malformed as error:
                # A wrong key does not always fail: it may open to nothing that makes sense.
                return SourceError(10006, str(error))
            except SourceError as error:
                if error.means is not Means.AGAIN or not left:
                    return error
                await self._port.clock.sleep(0.2)
            else:
                self._keys.proved.add(item.key_version)
                return message
        raise AssertionError("unreachable: the last try returns")

    def _holds(self, item: Encrypted, error: SourceError, held: dict[int, int]) -> bool:
        """Whether an item that cannot be read holds what comes after it. Notes in `held` since when."""
        may_pass = error.means in (Means.KEY, Means.AGAIN)
        if not may_pass and item.key_version in self._keys.proved:
            return False
        now = self._port.clock.now_ms()
        since = held.setdefault(item.key_version, now)
        return now - since < self._settings.patience * 1000


def _seq_of(item: Encrypted) -> int:
    return item.seq
