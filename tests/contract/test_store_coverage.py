"""The Store's contract for reconciliation: what archives read, what they did not, on SQLite and PostgreSQL; and the lines made of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path

import pytest

from msgcenter.adapter import unread_key
from msgcenter.clock import ManualClock
from msgcenter.reconcile import YOUNG_MS, Ask, Line, bounds, reconcile
from msgcenter.store import Alone, Coverage, Missing, Sighting
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.outcome import Routed, Sent
from protocols.payload import Pull, Text
from tests.migrated import placed

DAY = date(2026, 11, 20)
FROM, TO = bounds(DAY)
WM1, WM2 = Address("wecom", "ww1/wm1"), Address("wecom", "ww1/wm2")


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = placed(tmp_path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store_url")
    store = Store(url, ManualClock(FROM))
    await store.open()
    yield store
    await store.close()


class Day:
    """Messages and sightings of one day, as the stages write them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.count = 0

    async def told(
        self,
        *channels: str,
        account: str = "zhang",
        person: Address = WM1,
        at: int = FROM + 1000,
        kept: bool = True,
    ) -> None:
        """A customer's message that these channels read, in this order; `kept`: it reached the message store."""
        self.count += 1
        first = f"msg_{self.count:03d}"
        for channel in channels:
            one = first if channel == channels[0] else f"{first}_{channel}"
            sighting = Sighting(
                one, f"p{self.count}", at, channel, one, account=account, person=str(person),
                remote_id=f"{channel}-{self.count}",
            )  # fmt: skip
            await self.store.unite([sighting])
        if kept:
            await self._message(first, account, person, at, inbound=True)

    async def sent(
        self, *, copied: bool, status: str = "sent", at: int = FROM + 1000, account: str = "zhang"
    ) -> None:
        """One of ours by a channel that is read along."""
        self.count += 1
        one, place = f"msg_{self.count:03d}", f"p{self.count}"
        own = Sighting(
            f"own_{one}", place, at, "hosted", one, own=True, until=at + 60_000, account=account,
            person=str(WM1),
        )  # fmt: skip
        await self.store.announce([own])
        if copied:
            copy = Sighting(f"{one}_copy", place, at, "archive", f"{one}_copy", account=account)
            await self.store.unite([copy])
        await self._message(one, account, WM1, at, inbound=False, status=status)

    async def _message(
        self,
        message: str,
        account: str,
        person: Address,
        at: int,
        *,
        inbound: bool,
        status: str = "received",
    ) -> None:
        envelope = Envelope(
            message,
            "scrm",
            Address("caller", "scrm") if inbound else person,
            "inbound" if inbound else "reply",
            1,
            Text("好"),
            at,
            sender=person if inbound else None,
            inbound=inbound,
            account=account,
            channel="hosted",
        )
        record = Record(
            f"rec_{message}",
            at,
            "inbound" if inbound else "channel",
            envelope,
            Routed(("scrm",)) if inbound else Sent(),
            status=status,
            final=True,
        )
        await self.store.write_records([record], lambda _: "full")


async def test_what_archives_read(store: Store) -> None:
    day = Day(store)
    await day.told("hosted", "archive")
    await day.told("archive", "hosted")
    await day.told("archive")
    await day.told("archive", kept=False)
    await day.told("hosted")
    await day.told("hosted", "archive", account="li")
    await day.told("hosted", "archive", at=TO)
    await day.told("hosted", "archive", at=FROM - 1)
    await day.sent(copied=True)
    assert await store.coverage(["archive"], FROM, TO) == [
        Coverage("li", read=1, relayed=1, first=0, copies=0),
        Coverage("zhang", read=5, relayed=4, first=1, copies=1),
    ]


async def test_what_was_not_relayed_is_named(store: Store) -> None:
    day = Day(store)
    await day.told("hosted", "archive")
    await day.told("hosted", kept=False)
    await day.told("archive", kept=False, at=FROM + 2000)
    await day.told("hosted", "archive", kept=False, person=WM2)
    await day.told("archive", kept=False, at=TO)
    await day.told("archive", kept=False, account="li")
    await day.sent(copied=True)
    assert await store.missing(["archive"], FROM, TO) == [
        Missing("li", str(WM1), "archive-6", FROM + 1000),
        Missing("zhang", str(WM2), "archive-4", FROM + 1000),
        Missing("zhang", str(WM1), "archive-3", FROM + 2000),
    ]


async def test_what_no_archive_read(store: Store) -> None:
    day = Day(store)
    await day.told("hosted")
    await day.told("hosted", person=WM2)
    await day.told("hosted", person=WM2, at=FROM + 5000)
    await day.told("hosted", "archive", person=WM2)
    await day.told("archive")
    await day.sent(copied=False)
    await day.sent(copied=False, status="rejected")
    await day.sent(copied=True)
    assert await store.alone(["archive"], FROM, TO) == [
        Alone("zhang", str(WM1), 2, FROM + 1000),
        Alone("zhang", str(WM2), 2, FROM + 5000),
    ]


async def test_what_was_relayed(store: Store) -> None:
    day = Day(store)
    await day.told("hosted")
    await day.told("hosted", at=TO)
    await day.sent(copied=False)
    await day.sent(copied=False, status="rejected")
    assert await store.relayed(FROM, TO) == {"zhang": {"in": 1, "out": 1}}


class Archive:
    """An archive channel that is asked: `reasons` by (userid, person), and nothing for what is not in there."""

    def __init__(self, reasons: dict[tuple[str, str], str]) -> None:
        self.reasons = reasons
        self.asked: list[tuple[str, str]] = []

    async def ring(self, channel: str, pull: Pull) -> None:
        assert channel == "archive"
        assert pull.source.startswith("unread:")
        self.asked += [(account, person) for account, person in json.loads(pull.token)]

    async def answers(self, channel: str, keys: Sequence[str]) -> list[bytes | None]:
        known = {unread_key(*pair): self.reasons[pair].encode() for pair in self.asked}
        return [known.get(key) for key in keys]


async def lines(store: Store, archive: Archive, now: int = TO + YOUNG_MS) -> list[Line]:
    return await reconcile(
        DAY,
        store,
        archives={"archive": "hosted"},
        far_names={"zhang": "zhangsan", "li": "lisi"},
        homes={"zhang": "hosted", "li": "hosted", "hall": "sms"},
        ask=Ask(archive.ring, archive.answers),
        clock=ManualClock(now),
    )


async def test_a_day_that_adds_up(store: Store) -> None:
    day = Day(store)
    await day.told("hosted", "archive")
    await day.told("archive")
    await day.sent(copied=True)
    await day.told("hosted", account="li", person=WM2)
    await day.told("sms", account="hall")
    archive = Archive({("lisi", str(WM2)): "no_consent"})
    hall, li, zhang = await lines(store, archive)
    assert (hall.archived, dict(hall.relayed), hall.balanced) == (None, {"in": 1}, True)
    assert (zhang.archived, zhang.missing, zhang.filled, zhang.own) == (3, 0, 1, 1)
    assert dict(zhang.relayed) == {"in": 2, "out": 1}
    assert (li.archived, dict(li.exceptions)) == (0, {"no_consent": 1})
    assert all(line.balanced for line in (hall, li, zhang))
    assert archive.asked == [("lisi", str(WM2))]


async def test_a_day_that_does_not(store: Store) -> None:
    day = Day(store)
    await day.told("archive", kept=False)
    await day.told("hosted", account="li", person=WM2)
    li, zhang = await lines(store, Archive({("lisi", str(WM2)): ""}))
    assert (zhang.missing, zhang.balanced) == (1, False)
    assert [(one.person, one.remote_id) for one in zhang.not_relayed] == [(str(WM1), "archive-1")]
    assert li.unexplained == [(str(WM2), 1)]
    assert not li.balanced


async def test_what_is_young_may_still_come(store: Store) -> None:
    await Day(store).told("hosted", person=WM2, at=TO - 1)
    archive = Archive({("zhangsan", str(WM2)): ""})
    (zhang,) = await lines(store, archive, now=TO)
    assert dict(zhang.exceptions) == {"too_young": 1}
    assert zhang.balanced
