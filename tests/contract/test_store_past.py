"""The Store's contract for past sends: what left, by person, whatever it was afterwards; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.store import DueRow, PastSend
from msgcenter.store.store import Store
from protocols.envelope import Decision
from protocols.outcome import Held, Outcome, Rejected, Retry, Routed, Sent, Suppressed, Unknown
from tests.migrated import placed
from tests.records import T0, envelope, receipt, record

DAY = 86_400_000


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = placed(tmp_path)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_store_url")
    store = Store(url, ManualClock(T0))
    await store.open()
    yield store
    await store.close()


async def keep(
    store: Store,
    message: str,
    outcome: Outcome,
    *,
    person: str = "c-1",
    at: int = T0,
    attempt: int = 0,
    once: str = "",
) -> None:
    of = envelope(message, person=person, attempt=attempt, created_at=at, channel="sms-east")
    facts = (("once", once),) if once else ()
    decisions = (Decision("reserve", "caps", "pass", facts=facts),)
    await store.write_records(
        [
            record(Routed(("sms-east",)), of=of, pipeline="submit", at=at, decisions=decisions),
            record(outcome, of=of, at=at, status="sent"),
        ],
        lambda _: "full",
    )


async def test_what_left_or_may_have_left_is_told_and_nothing_else(store: Store) -> None:
    for number, outcome in enumerate(
        [
            Sent(("f",)),
            Unknown("lost"),
            Retry("message", "busy"),
            Rejected("message", "no", "no"),
            Suppressed("opt_out"),
            Held(T0, "quiet_hours"),
        ]
    ):
        await keep(store, f"m{number}", outcome)
    await store.write_records([receipt("delivered", message="m0")], lambda _: "full")
    sends = await store.past_sends(["c-1"], T0 - DAY)
    assert sorted((send.message, send.person, send.channel) for send in sends) == [
        ("m0", "c-1", "sms-east"),
        ("m1", "c-1", "sms-east"),
    ]
    assert sends[0] == PastSend(
        message=sends[0].message,
        step=0,
        attempt=0,
        at=T0,
        person="c-1",
        to="tel:+8613800138000",
        caller="crm",
        account="",
        category="transactional",
        tier=2,
        channel="sms-east",
        campaign="",
    )


async def test_people_come_in_pages_and_only_those_of_the_time(store: Store) -> None:
    for number in range(7):
        await keep(store, f"m{number}", Sent(("f",)), person=f"c-{number}")
    await keep(store, "old", Sent(("f",)), person="c-old", at=T0 - 80 * DAY)
    first = await store.people_sent_to(T0 - DAY, "", 4)
    rest = await store.people_sent_to(T0 - DAY, first[-1], 4)
    assert first + rest == [f"c-{number}" for number in range(7)]
    assert await store.past_sends(["c-old"], T0 - DAY) == []


async def test_a_coupon_is_known_by_what_it_paid(store: Store) -> None:
    await keep(store, "m1", Retry("message", "busy"), once="gift")
    await keep(store, "m1", Sent(("f",)), attempt=1, once="gift")
    (send,) = await store.past_sends(["c-1"], T0 - DAY)
    assert (send.once_key, send.attempt) == ("gift", 1)


async def test_rows_of_the_rules_are_hastened_and_others_wait_on(store: Store) -> None:
    rows = [
        DueRow(f"d{n}", T0 + 1000 * n, b"x", f"m{n}", "crm", rule, "bulk", "p")
        for n, rule in enumerate(["quiet_hours", "quiet_hours", "send_at", "three", "plan_wait"])
    ]
    await store.hold(rows)
    assert await store.hasten_due(T0, but=("send_at", "plan_wait")) == 2  # d0 is due already
    async with store.take_due(T0) as due:
        assert {row.id for row in due} == {"d0", "d1", "d3"}
    assert await store.hasten_due(T0, only=("plan_wait",)) == 1
    async with store.take_due(T0) as due:
        assert {row.id for row in due} == {"d4"}
