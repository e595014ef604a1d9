"""Quotas: exact over processes, cheap within one, told in standard headers; and whose turn it is in the bundler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from msgcenter.api.problems import Problem
from msgcenter.api.quota import Quotas, headers_of
from msgcenter.archive.events_sink import event_of
from msgcenter.callers import Watch
from msgcenter.clock import ManualClock
from msgcenter.config import CallerConfig
from msgcenter.pipeline import Item
from msgcenter.stages.tell import Tell
from msgcenter.state.memory import MemoryState
from msgcenter.store import Fate
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.outcome import Held, Sent, Suppressed
from protocols.payload import Text
from tests.unit.api.parts import FILES, BusError, MemoryBus, Parts, message

NOON = 1_790_000_000_000 - 1_790_000_000_000 % 86_400_000 + 4 * 3_600_000
"""A noon in Shanghai."""


class Counting(MemoryState):
    """State that counts how often tokens are asked for."""

    asked = 0

    async def tokens(self, *args: Any, **named: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0)  # as any shared State, it takes its time
        return await super().tokens(*args, **named)


def caller(**quota: Any) -> CallerConfig:
    return CallerConfig.model_validate({"scopes": ["send"], "categories": ["*"], "quota": quota})


def processes(clock: ManualClock, count: int = 1) -> tuple[Counting, list[Quotas]]:
    state = Counting(clock)
    return state, [Quotas(state, clock, lambda: "Asia/Shanghai") for _ in range(count)]


async def taken(quotas: Quotas, terms: CallerConfig, tries: int) -> int:
    """How many of `tries` single messages had room."""
    good = 0
    for _ in range(tries):
        try:
            await quotas.take("crm", terms, 1)
        except Problem as problem:
            assert problem.code == "quota_exceeded"
        else:
            good += 1
    return good


async def test_a_day_is_exact_over_processes_and_begins_anew_at_midnight() -> None:
    clock = ManualClock(NOON)
    _, all_of_them = processes(clock, 3)
    terms = caller(per_day=300)
    first = [await taken(quotas, terms, 90) for quotas in all_of_them]
    rest = [await taken(quotas, terms, 90) for quotas in all_of_them]
    assert sum(first) + sum(rest) <= 300, "never over"
    assert sum(first) + sum(rest) >= 300 - 3 * 3, "at most an advance of each process unused"
    with pytest.raises(Problem) as no:
        await all_of_them[0].take("crm", terms, 4)
    assert no.value.retry_after == 12 * 3600
    await clock.advance(12 * 3600 + 1)
    assert await taken(all_of_them[0], terms, 90) == 90


async def test_an_hour_and_a_rate_hold_together_and_nothing_is_used_up_by_a_refusal() -> None:
    clock = ManualClock(NOON)
    _, [quotas] = processes(clock)
    terms = caller(rate=10, burst=20, per_hour=50)
    assert await taken(quotas, terms, 30) == 20
    await clock.advance(10)
    assert await taken(quotas, terms, 30) == 20, "never more than the burst"
    await clock.advance(10)
    assert await taken(quotas, terms, 30) == 10, "the hour is used up"
    assert {s.name: s.remaining for s in quotas.standings("crm", terms)}["hour"] == 0
    await clock.advance(3600)
    assert await taken(quotas, terms, 30) == 20


async def test_a_larger_quota_counts_at_once_and_what_was_used_stays_used() -> None:
    clock = ManualClock(NOON)
    _, [quotas] = processes(clock)
    assert await taken(quotas, caller(per_day=100), 150) == 100
    other = Quotas(quotas._state, clock, lambda: "Asia/Shanghai")
    assert await taken(other, caller(per_day=150), 150) == 50


async def test_state_is_seldom_asked_and_hardly_ever_once_nothing_is_left() -> None:
    clock = ManualClock(NOON)
    state, [quotas] = processes(clock)
    terms = caller(rate=1000, burst=1000)
    assert await taken(quotas, terms, 1000) == 1000
    assert state.asked == 10, "a tenth of a second ahead"
    assert await taken(quotas, terms, 500) == 0
    assert state.asked == 11, "a purse that is known to be dry is not asked about"
    with pytest.raises(Problem):
        quotas.refuse_if_dry("crm", terms)
    await clock.advance(0.06)
    quotas.refuse_if_dry("crm", terms)
    assert await taken(quotas, terms, 100) == 60


async def test_requests_at_once_share_one_fetch() -> None:
    clock = ManualClock(NOON)
    state, [quotas] = processes(clock)
    terms = caller(rate=1, burst=200)
    results = await asyncio.gather(
        *(quotas.take("crm", terms, 1) for _ in range(300)), return_exceptions=True
    )
    assert sum(result is None for result in results) == 200
    assert state.asked <= 3


async def test_what_was_not_used_comes_back() -> None:
    clock = ManualClock(NOON)
    _, [quotas] = processes(clock)
    terms = caller(rate=1, burst=5, per_day=100)
    await quotas.take("crm", terms, 5)
    quotas.give_back("crm", terms, 3)
    assert await taken(quotas, terms, 9) == 3


async def test_a_batch_that_never_fits_is_told_so() -> None:
    _, [quotas] = processes(ManualClock(NOON))
    with pytest.raises(Problem) as no:
        await quotas.take("crm", caller(rate=1, burst=5), 6)
    assert (no.value.code, no.value.status) == ("batch_over_quota", 422)


async def test_headers_name_every_limit() -> None:
    clock = ManualClock(NOON + 1000)
    _, [quotas] = processes(clock)
    terms = caller(rate=10, burst=50, per_hour=1000, per_day=5000)
    await quotas.take("crm", terms, 20)
    headers = headers_of(quotas.standings("crm", terms))
    assert headers == {
        "RateLimit-Policy": '"burst";q=50;w=5, "hour";q=1000;w=3600, "day";q=5000;w=86400',
        "RateLimit": '"burst";r=30;t=2, "hour";r=980;t=3599, "day";r=4980;t=43199',
    }
    assert headers_of(quotas.standings("crm", caller(per_day=1))[:0]) == {}


# -- through the API ----------------------------------------------------------------------------


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    quotas = """
noisy:
  scopes: [send, read]
  categories: ['*']
  defaults: {account: hotline}
  quota: {rate: 0.001, burst: 20, per_day: 1000}
"""
    await parts.start({"callers.yaml": FILES["callers.yaml"] + quotas})
    try:
        yield parts
    finally:
        await parts.close()


async def test_every_answer_to_a_send_tells_what_is_left(api: Parts) -> None:
    status, _, headers = await api.post("/v1/messages", message(), caller="noisy")
    assert status == 202
    assert headers["RateLimit-Policy"] == '"burst";q=20;w=20000, "day";q=1000;w=86400'
    assert headers["RateLimit"].startswith('"burst";r=19;t=1000, "day";r=999;t=')
    status, _, headers = await api.post("/v1/messages", message(to="x"), caller="noisy")
    assert (status, headers["RateLimit"].partition(";t")[0]) == (422, '"burst";r=19')
    status, _, headers = await api.post("/v1/messages", message())
    assert (status, "RateLimit" in headers) == (202, False), "crm has no quota"


async def test_repeats_and_a_dead_bus_cost_nothing(api: Parts) -> None:
    key = {"Idempotency-Key": "one"}
    for _ in range(5):
        status, _, headers = await api.post("/v1/messages", message(), caller="noisy", headers=key)
        assert (status, headers["RateLimit"].partition(";t")[0]) == (202, '"burst";r=19')
    api.bus.down = BusError("gone")
    status, _, headers = await api.post("/v1/messages", message(), caller="noisy")
    assert (status, headers["RateLimit"].partition(";t")[0]) == (503, '"burst";r=19')


async def test_a_noisy_caller_is_refused_alone_and_before_its_body_is_read(api: Parts) -> None:
    answers = [await api.post("/v1/messages", message(), caller="noisy") for _ in range(25)]
    assert [status for status, _, _ in answers] == [202] * 20 + [429] * 5
    status, body, headers = await api.post("/v1/messages", {"nonsense": 1}, caller="noisy")
    assert (status, body["code"]) == (429, "quota_exceeded"), "not even looked at"
    assert int(headers["Retry-After"]) >= 1
    assert headers["RateLimit"].startswith('"burst";r=0;')
    assert (await api.post("/v1/messages", message()))[0] == 202


async def test_one_callers_backlog_takes_nobodys_place(api: Parts) -> None:
    """A thousand of one caller wait; whoever comes then is in the very next flush."""
    api.bus.gate = asyncio.Event()
    await api.key()
    await api.key("limited")
    batch = {"messages": [message(reference=f"n{n}") for n in range(1000)]}
    noisy = [asyncio.create_task(api.post("/v1/messages:batch", batch)) for _ in range(3)]
    async with asyncio.timeout(30):
        while api.api.bundler.waiting < 2500:
            await asyncio.sleep(0.01)
    quiet = asyncio.create_task(api.post("/v1/messages", message(), caller="limited"))
    async with asyncio.timeout(30):
        while "limited" not in api.api.bundler._lines:
            await asyncio.sleep(0.01)
    api.bus.gate.set()
    status, body, _ = await quiet
    assert status == 202
    ids = [envelope.id for envelope in api.bus.envelopes]
    assert ids.index(body["id"]) <= 2 * 200 + 200, "two flushes were under way, it is in the next"
    assert [status for status, _, _ in await asyncio.gather(*noisy)] == [202] * 3
    assert len(api.bus.envelopes) == 3001


# -- callers/me ---------------------------------------------------------------------------------


async def archive(api: Parts, caller: str, outcome: Any, status: str, count: int) -> None:
    records = []
    for number in range(count):
        envelope = Envelope(
            f"msg_{status}{number}{caller}",
            caller,
            Address("tel", "+8613800138000"),
            "care",
            4,
            Text("x"),
            api.clock.now_ms(),
        )
        records.append(
            Record(
                f"rec_{status}{number}{caller}",
                api.clock.now_ms(),
                "submit",
                envelope,
                outcome,
                status=status,
            )
        )
    await api.store.write_records(records, lambda _: "full")


async def test_me_shows_limits_and_what_became_of_the_last_hour(api: Parts) -> None:
    await archive(api, "noisy", Sent(("1",)), "sent", 6)
    await archive(api, "noisy", Suppressed("cap:week"), "suppressed", 3)
    await archive(api, "noisy", Held(api.clock.now_ms() + 9, "quiet_night"), "held", 1)
    await archive(api, "crm", Sent(("1",)), "sent", 2)
    await api.post("/v1/messages", message(), caller="noisy")
    status, body, _ = await api.get("/v1/callers/me", caller="noisy")
    assert status == 200
    assert body["name"] == "noisy"
    assert body["scopes"] == ["send", "read"]
    assert [(one["name"], one["quota"], one["remaining"]) for one in body["limits"]] == [
        ("burst", 20, 19),
        ("day", 1000, 999),
    ]
    hour = body["last_hour"]
    assert (hour["total"], hour["sent"], hour["held"], hour["dropped"]) == (10, 6, 1, 3)
    assert hour["share"] == 0.4
    assert hour["rules"] == [
        {"what": "dropped", "code": "cap:week", "count": 3},
        {"what": "held", "code": "quiet_night", "count": 1},
    ]
    status, body, _ = await api.get("/v1/callers/me", caller="ops")
    assert (status, body["categories"], body["limits"]) == (200, [], [])


async def test_a_caller_is_told_once_a_window_that_much_does_not_arrive(api: Parts) -> None:
    clock = ManualClock(NOON)
    bus = MemoryBus()
    terms = CallerConfig.model_validate(
        {"scopes": ["read"], "tell": {"share": 0.3, "window": "1h", "least": 10}}
    )
    fates = [Fate("sent", "", 70), Fate("suppressed", "cap:week", 20), Fate("held", "quiet", 10)]

    class Shelf:
        async def fates(self, caller: str, from_ms: int, to_ms: int) -> list[Fate]:
            return fates if from_ms <= NOON < to_ms else []

    def watch() -> Watch:
        config = SimpleNamespace(callers={"crm": terms})
        return Watch(
            lambda: config,  # type: ignore[arg-type]
            bus=bus,
            store=Shelf(),
            clock=clock,
            partitions=4,
            log=None,
        )

    one, other = watch(), watch()
    assert await one.once() == 0, "three in ten is not more than 0.3"
    fates.append(Fate("rejected", "number_invalid", 1))
    assert [await one.once(), await one.once(), await other.once()] == [1, 0, 1]
    assert len({envelope.id for envelope in bus.envelopes}) == 1, "the pipeline knows a repeat"
    record = Record("rec_1", NOON, "submit", bus.envelopes[0], Sent(()), status="sent")
    await Tell()([item := Item(bus.envelopes[0])])
    assert item.outcome == Sent(())
    event = event_of(record)
    assert event is not None
    assert (event.caller, event.type) == ("crm", "msgcenter.caller.share_exceeded.v1")
    assert event.data["share"] == 0.3069
    assert event.data["rules"][0] == {"what": "dropped", "code": "cap:week", "count": 20}
    await clock.advance(3600)
    assert await one.once() == 0, "told of already"
