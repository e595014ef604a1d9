"""The State contract: caps are exact on every implementation, whoever asks at once, whatever fails, and give back what was not sent.

Long because every promise of the counters stands here, and each is asked of five implementations by the same fixtures.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from msgcenter.clock import ManualClock, SystemClock, shard_of
from msgcenter.state import Admit, Conclude, State
from msgcenter.state.memory import MemoryState
from msgcenter.state.units import (
    NEVER,
    Backfill,
    Counter,
    Per,
    Reserve,
    Reserved,
    Take,
    Unite,
    Unspent,
    Window,
)
from protocols.envelope import Key
from tests.contract.state_rig import KINDS, Rig, message, opened

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


@pytest.fixture
def state(rig: Rig) -> State:
    return rig.state


def now_of(rig: Rig) -> int:
    """The time of the rig's State. (The test's Redis runs on this machine.)"""
    return (ManualClock() if rig.kind in {"memory", "sqlite"} else SystemClock()).now_ms()


def rolling(limit: int, span_ms: int = DAY, **more: object) -> Window:
    return Window("rolling", limit, span_ms, **more)  # type: ignore[arg-type]


def take(
    of: str, *windows: Window, series: str = "person", per: Per = "step", **more: object
) -> Take:
    """Of a person's counter, or (by another series) of a wide one."""
    home = of.partition("\x1f")[0] if series.startswith("person") or series == "once" else ""
    keep = max(w.span_ms or w.edges[2] - w.edges[1] for w in windows)
    return Take(Counter(series, of, keep, home), windows, per=per, **more)  # type: ignore[arg-type]


def ask(id_: str, *takes: Take, step: int = 0, attempt: int = 0, open_s: float = 600.0) -> Reserve:
    return Reserve(id_, step, attempt, takes, open_s)


async def reserve(state: State, item: Reserve) -> Reserved:
    [found] = await state.reserve([item])
    return found


async def leave(state: State, one: Reserve, ticket: str) -> str:
    key = Key(one.id, one.step, one.attempt, "channel")
    [found] = await state.admit([Admit(key, (), "w", 30.0, ticket)])
    return found.verdict


async def end(state: State, one: Reserve, ticket: str, unspent: Unspent = "") -> None:
    key = Key(one.id, one.step, one.attempt, "channel")
    outcome = unspent.encode() or b"sent"
    await state.conclude([Conclude(key, outcome, reservation=ticket, unspent=unspent)])


async def send(state: State, one: Reserve, unspent: Unspent = "") -> bool:
    """The whole way of a pass; whether it was let go."""
    reserved = await reserve(state, one)
    if not reserved.ok:
        return False
    assert await leave(state, one, reserved.ticket) == "go"
    await end(state, one, reserved.ticket, unspent)
    return True


async def used(state: State, *takes: Take) -> list[tuple[int, int]]:
    """(used, open of it) of the first window of each take."""
    return [(one.uses[0].used, one.uses[0].open) for one in await state.peek(takes)]


# -- never over, never under ----------------------------------------------------------------------


async def test_fifty_workers_send_two_hundred_and_three_leave(rig: Rig) -> None:
    states = [rig.new() for _ in range(4)]
    cap = take("p", rolling(3))
    account = take("a", rolling(1000), series="account")
    sent: list[str] = []

    async def worker(number: int) -> None:
        for _ in range(4):
            one = ask(message("p"), cap, account)
            if await send(states[number % 4], one):
                sent.append(one.id)

    await asyncio.gather(*map(worker, range(50)))
    assert len(sent) == 3
    assert await used(states[0], cap, account) == [(3, 0), (3, 0)], "a denial took nothing anywhere"


async def test_a_batch_to_one_person_fills_the_cap_and_no_more(state: State) -> None:
    cap = take("p", rolling(3))
    items = [ask(message("p"), cap) for _ in range(7)]
    found = await state.reserve(items)
    assert [one.ok for one in found] == [True] * 3 + [False] * 4
    again = await state.reserve(items)
    assert again == [*found[:3], *again[3:]]
    assert [one.ok for one in again] == [True] * 3 + [False] * 4, "the same pass, the same answer"
    assert await used(state, cap) == [(3, 3)]
    assert await state.reserve([]) == []


async def test_all_scopes_hold_at_once_and_the_strictest_is_named(rig: Rig) -> None:
    state = rig.state
    takes = (
        take("p", rolling(5), rolling(2, HOUR)),
        take("p\x1fsms", rolling(4), series="person_channel", per="attempt"),
        take("a", rolling(100), series="account"),
        take("crm", rolling(3), series="caller"),
        take("sh/pd", rolling(100), series="organisation2"),
    )
    assert await send(state, ask(message("p"), *takes))
    assert await send(state, ask(message("p"), *takes))
    now = now_of(rig)
    third = await reserve(state, ask(message("p"), *takes))
    assert [(one.take, one.window, one.use.why) for one in third.denied] == [(0, 1, "limit")]
    [use] = [one.use for one in third.denied]
    assert (use.used, use.open, use.limit) == (2, 0, 2)
    assert now + HOUR - 60_000 < use.next_ms <= now + HOUR + 60_000
    wide = [take("q", rolling(5)), *takes[2:]]
    assert await send(state, ask(message("q"), *wide))
    fourth = await reserve(state, ask(message("q"), *wide))
    assert [one.take for one in fourth.denied] == [2], (
        "the caller's, an account and a person have room"
    )
    both = await reserve(state, ask(message("p"), *takes))
    assert [(one.take, one.window) for one in both.denied] == [(0, 1), (3, 0)]
    assert await used(state, *wide) == [(1, 0), (3, 0), (3, 0), (3, 0)]


async def test_counts_are_exact_beyond_a_hundred(state: State) -> None:
    cap = take("p", rolling(150), units=1)
    items = [ask(message("p"), cap) for _ in range(200)]
    found = await state.reserve(items)
    assert sum(one.ok for one in found) == 150
    admits = [
        Admit(Key(item.id, 0, 0, "channel"), (), "w", 30.0, one.ticket)
        for item, one in zip(items, found, strict=True)
        if one.ok
    ]
    assert {one.verdict for one in await state.admit(admits)} == {"go"}
    assert await used(state, cap) == [(150, 0)]


async def test_a_rolling_window_gives_room_as_soon_as_a_send_has_left_it(rig: Rig) -> None:
    state = rig.state
    cap = take("p", rolling(2, 3000))  # long enough for a loaded machine to be inside it
    assert await send(state, ask(message("p"), cap))
    await rig.later(1.5)
    assert await send(state, ask(message("p"), cap))
    one = ask(message("p"), cap)
    [full] = (await reserve(state, one)).denied
    assert full.use.next_ms
    await rig.later(1.75)
    assert await send(state, one), "the first has left the window"
    assert not (await reserve(state, ask(message("p"), cap))).ok, "the second has not"


async def test_two_sides_of_midnight(rig: Rig) -> None:
    """23:00 and 00:00: a calendar day allows both, a rolling day or a gap does not."""
    state = rig.state
    midnight = now_of(rig) + 2000
    day = Window(
        "calendar", 1, edges=(midnight - DAY, midnight, midnight + DAY, midnight + 2 * DAY)
    )
    before = replace(day, edges=(midnight - 2 * DAY, midnight - DAY, midnight, midnight + DAY))
    mixes = {
        "calendar": (before,),
        "rolling": (before, rolling(1)),
        "gap": (before, Window("gap", 1, HOUR)),
    }
    for name, windows in mixes.items():
        assert await send(state, ask(message(name), take(name, *windows)))
        [full, *_] = (await reserve(state, ask(message(name), take(name, *windows)))).denied
        assert (full.use.next_ms, full.use.used) == (midnight, 1)
    await rig.later(2.0)
    for windows_day in (before, day):  # an asker whose clock is behind, and one whose is not
        for name, (_, *rest) in mixes.items():
            one = ask(message(name), take(name, windows_day, *rest))
            found = await reserve(state, one)
            assert found.ok == (name == "calendar"), name
            if found.ok:
                await end(state, one, found.ticket, "refunded")
    ahead = replace(
        day, edges=(midnight + DAY, midnight + 2 * DAY, midnight + 3 * DAY, midnight + 4 * DAY)
    )
    assert await send(state, ask(message("x"), take("x", ahead)))
    assert not (await reserve(state, ask(message("x"), take("x", day)))).ok


async def test_what_is_open_counts_in_every_window_until_it_is_sent(rig: Rig) -> None:
    """Reserved before midnight and sent after it: it is in both days' way, and in the end in the second's."""
    state = rig.state
    midnight = now_of(rig) + 2000
    days = [
        Window("calendar", 1, edges=(start - DAY, start, start + DAY, start + 2 * DAY))
        for start in (midnight - DAY, midnight)
    ]
    one = ask(message("p"), take("p", days[0]))
    held = await reserve(state, one)
    assert not (await reserve(state, ask(message("p"), take("p", days[0])))).ok
    await rig.later(2.0)
    assert not (await reserve(state, ask(message("p"), take("p", days[1])))).ok
    assert await leave(state, one, held.ticket) == "go"
    assert not (await reserve(state, ask(message("p"), take("p", days[1])))).ok
    assert await used(state, take("p", days[1])) == [(1, 0)]


async def test_a_gap_and_a_limit_of_nothing(rig: Rig) -> None:
    state = rig.state
    gap = take("p", Window("gap", 1, 1500))
    pair = replace(gap, units=2)
    assert await send(state, ask(message("p"), pair)), "a gap asks for sends, not for units"
    assert not await send(state, ask(message("p"), gap))
    await rig.later(1.5)
    assert await send(state, ask(message("p"), gap))
    [never] = (await reserve(state, ask(message("q"), take("q", rolling(0))))).denied
    assert never.use.next_ms == NEVER
    [never] = (await reserve(state, ask(message("q"), take("q", rolling(3), units=4)))).denied
    assert never.use.next_ms == NEVER


async def test_a_group_and_a_category_that_is_counted_without_being_refused(state: State) -> None:
    group = take("chat", rolling(2), series="group")
    free = replace(group, counted_only=True)
    for _ in range(3):
        assert await send(state, ask(message("chat"), free))
    assert await used(state, group) == [(3, 0)]
    assert not await send(state, ask(message("chat"), group))


# -- given back -----------------------------------------------------------------------------------


async def test_ten_failures_leave_the_allowance_as_it_was(state: State) -> None:
    takes = (take("p", rolling(3)), take("a", rolling(5), series="account"))
    assert await send(state, ask(message("p"), *takes))
    before = await used(state, *takes)
    for _ in range(10):
        one = ask(message("p"), *takes)
        assert await send(state, one, "refunded")
        ticket = (await reserve(state, replace(one, attempt=1))).ticket
        await end(state, replace(one, attempt=1), ticket, "refunded")  # never admitted: a wait
    assert await used(state, *takes) == before == [(1, 0), (1, 0)]


async def test_an_unknown_keeps_its_unit_and_a_resend_pays_the_channel_again(state: State) -> None:
    person = take("p", rolling(5))
    channel = take("p\x1fsms", rolling(5), series="person_channel", per="attempt")
    one = ask(message("p"), person, channel)
    assert await send(state, one)  # Unknown: nothing is given back
    again = replace(one, attempt=1)
    assert await leave(state, again, one.id) == "unreserved", "the channel's unit is not paid"
    assert await used(state, person, channel) == [(1, 0), (1, 0)]
    assert await send(state, again)
    assert await used(state, person, channel) == [(1, 0), (2, 0)]
    plain = ask(message("q"), take("q", rolling(5)))
    assert await send(state, plain)
    resend = replace(plain, attempt=1)
    assert await leave(state, resend, plain.id) == "go", "nothing is paid per attempt: paid already"
    await end(state, resend, plain.id, "refunded")
    assert await used(state, *plain.takes) == [(1, 0)], "the first may have left"


async def test_a_step_costs_a_unit_unless_every_earlier_one_was_surely_not_sent(
    state: State,
) -> None:
    cap = take("p", rolling(2))
    refused = message("p")
    for step in range(3):
        assert await send(state, ask(refused, cap, step=step), "refunded")
    assert await used(state, cap) == [(0, 0)]
    assert await send(state, ask(refused, cap, step=3))
    assert await used(state, cap) == [(1, 0)]
    assert await send(state, ask(refused, cap, step=4)), "a second message that reaches the person"
    assert await used(state, cap) == [(2, 0)]
    assert not await send(state, ask(refused, cap, step=5))


async def test_unreachable_returns_the_reservation_to_open(rig: Rig) -> None:
    state = rig.state
    takes = (take("p", rolling(1)), take("a", rolling(9), series="account"))
    one = ask(message("p"), *takes)
    held = await reserve(state, one)
    key = Key(one.id, 0, 0, "channel")
    for _ in range(2):
        assert await leave(state, one, held.ticket) == "go"
        assert await used(state, *takes) == [(1, 0), (1, 0)]
        for _ in range(2):  # released twice
            await state.release([key], [held.ticket])
        assert await used(state, *takes) == [(1, 1), (1, 1)]
        assert not (await reserve(state, ask(message("p"), *takes))).ok
    assert await leave(state, one, held.ticket) == "go"
    await end(state, one, held.ticket)
    await state.release([key], [held.ticket])
    assert await used(state, *takes) == [(1, 0), (1, 0)], "what has an outcome is not released"
    with pytest.raises(ValueError, match="argument"):
        await state.release([key, key], [held.ticket])


async def test_what_was_kept_for_a_month_is_not_known_for_two(rig: Rig) -> None:
    now, month = now_of(rig), 30 * DAY
    short, long = (take("p", rolling(5, span, must_know=True)) for span in (month, 2 * month))
    await rig.state.backfill([Backfill(short.counter, now - 2 * month, ())])
    [known] = await rig.state.peek([short])
    assert known.uses[0].why == ""
    [unknown] = await rig.state.peek([long])
    assert unknown.uses[0].why == "history", "what is older than a month was not kept"
    assert unknown.since_ms == pytest.approx(now - month, abs=5000)


async def test_many_sends_that_are_told_twice_are_counted_once(rig: Rig) -> None:
    """So many are kept in slots of time; none of before State began to count moves to after it."""
    await rig.later(0.5)
    now, cap = now_of(rig), take("p", rolling(10_000))
    if rig.kind in {"memory", "sqlite"}:
        now += 510
    sends = tuple((f"m{n}", now - 1 - n, 1) for n in range(400))
    for _ in range(2):
        await rig.state.backfill([Backfill(cap.counter, now - DAY, sends)])
        assert await used(rig.state, cap) == [(400, 0)]
        await rig.later(1.2)


async def test_an_attempt_that_was_overtaken_is_not_let_go(state: State) -> None:
    cap = take("p", rolling(1))
    one = ask(message("p"), cap)
    late = await reserve(state, one)
    again = replace(one, attempt=1)
    held = await reserve(state, again)
    assert held.ok, "the same step, so the same unit"
    assert await leave(state, one, late.ticket) == "unreserved"
    assert await leave(state, again, held.ticket) == "go"
    assert await used(state, cap) == [(1, 0)]


@pytest.mark.parametrize("rig", ["memory", "sqlite", "redis"], indirect=True)
async def test_what_a_later_step_relies_on_stays_open_as_long_as_that_step(rig: Rig) -> None:
    state = rig.state
    coupon = take("p\x1fcoupon", rolling(1), series="once", per="message")
    first = ask(message("p"), coupon, open_s=2.0)
    assert (await reserve(state, first)).ok
    await rig.later(1.5)
    second = replace(first, step=1)
    held = await reserve(state, second)
    assert held.ok, "paid by the first step for all"
    await rig.later(1.5)
    assert await used(state, coupon) == [(1, 1)], "the first would be over by now"
    assert not (await reserve(state, ask(message("p"), coupon))).ok
    assert await leave(state, second, held.ticket) == "go"
    assert await used(state, coupon) == [(1, 0)]


async def test_a_short_retry_keeps_the_reservation_for_the_next_attempt(state: State) -> None:
    takes = (
        take("p", rolling(1)),
        take("p\x1fsms", rolling(1), series="person_channel", per="attempt"),
        take("a", rolling(9), series="account"),
    )
    one = ask(message("p"), *takes)
    held = await reserve(state, one)
    for attempt in range(3):
        now = replace(one, attempt=attempt)
        assert await leave(state, now, held.ticket) == "go"
        for _ in range(2):  # concluded twice
            await end(state, now, held.ticket, "open")
        assert await used(state, *takes) == [(1, 1)] * 3
    last = replace(one, attempt=3)
    assert await leave(state, last, held.ticket) == "go"
    await end(state, last, held.ticket)
    await end(state, replace(one, attempt=2), held.ticket, "open")
    assert await used(state, *takes) == [(1, 0)] * 3, "an older attempt's late word moves nothing"


async def test_a_reservation_nobody_confirms_is_over_and_can_never_be_sent_on(rig: Rig) -> None:
    state = rig.state
    takes = (take("p", rolling(1)), take("a", rolling(9), series="account"))
    one = ask(message("p"), *takes, open_s=2.0)
    held = await reserve(state, one)
    other = ask(message("p"), *takes)
    assert not (await reserve(state, other)).ok
    await rig.later(3.1)  # deadlines are whole seconds
    assert await leave(state, one, held.ticket) == "unreserved"
    assert await send(state, other)
    assert await leave(state, one, held.ticket) == "unreserved"
    await end(state, one, held.ticket, "refunded")
    assert await used(state, *takes) == [(1, 0), (1, 0)]
    assert not (await reserve(state, replace(one, attempt=1))).ok


async def test_a_claim_keeps_its_units_however_long_it_sends(rig: Rig) -> None:
    state = rig.state
    cap = take("p", rolling(1))
    one = ask(message("p"), cap, open_s=2.0)
    held = await reserve(state, one)
    assert await leave(state, one, held.ticket) == "go"
    await rig.later(3.1)
    assert not (await reserve(state, ask(message("p"), cap))).ok
    assert await leave(state, one, held.ticket) == "claimed"
    await end(state, one, held.ticket, "refunded")
    assert await send(state, ask(message("p"), cap))


async def test_confirmed_and_delivered_again(state: State) -> None:
    takes = (take("p", rolling(3)), take("a", rolling(9), series="account"))
    one = ask(message("p"), *takes)
    held = await reserve(state, one)
    assert await leave(state, one, held.ticket) == "go"
    assert await leave(state, one, held.ticket) == "claimed"
    assert (await reserve(state, one)) == held, "a redelivered decision finds what it holds"
    assert await used(state, *takes) == [(1, 0), (1, 0)]
    await end(state, one, held.ticket)
    for _ in range(2):
        assert await leave(state, one, held.ticket) == "done"
    assert await leave(state, ask(message("p")), message("p")) == "unreserved", (
        "State never heard of it"
    )
    assert await used(state, *takes) == [(1, 0), (1, 0)]


async def test_a_pass_that_takes_another_way_pays_that_way(rig: Rig) -> None:
    """An account was replaced between two decisions: the units of the first are given back (a far shard's by its deadline)."""
    state = rig.state
    person, first, second = (
        take("p", rolling(1)),
        *(take(name, rolling(5), series="account") for name in ("a", "b")),
    )
    one = ask(message("p"), person, first, open_s=1.0)
    assert (await reserve(state, one)).ok
    again = replace(one, attempt=1, takes=(person, second))
    assert await send(state, again)
    await rig.later(2.1)
    assert await used(state, person, first, second) == [(1, 0), (0, 0), (1, 0)]


async def test_a_suppressed_pass_gives_back_what_it_held(state: State) -> None:
    from msgcenter.state import Suppression

    takes = (take("p", rolling(3)), take("a", rolling(9), series="account"))
    one = ask(message("p"), *takes)
    held = await reserve(state, one)
    await state.suppress([Suppression("person:p", "opt_out")])
    key = Key(one.id, 0, 0, "channel")
    [found] = await state.admit([Admit(key, ("person:p",), "w", 30.0, held.ticket)])
    assert found.verdict == "suppressed"
    await end(state, one, held.ticket, "refunded")
    assert await used(state, *takes) == [(0, 0), (0, 0)]


# -- once -----------------------------------------------------------------------------------------


def coupon(person: str) -> Take:
    return take(person, rolling(1, 400 * DAY), series="once", per="message")


async def test_a_coupon_goes_to_a_person_once_by_whatever_steps_of_one_message(
    state: State,
) -> None:
    first = message("p")
    assert await send(state, ask(first, coupon("p"), step=0))
    assert await send(state, ask(first, coupon("p"), step=1)), "its own message may go on"
    other = ask(message("p"), coupon("p"))
    assert not await send(state, other)
    assert await send(state, ask(message("q"), coupon("q")))
    assert await used(state, coupon("p")) == [(1, 0)]


async def test_a_coupon_stays_taken_while_one_step_may_have_brought_it(state: State) -> None:
    one = message("p")
    steps = [ask(one, coupon("p"), step=step) for step in range(2)]
    held = [await reserve(state, step) for step in steps]
    assert await leave(state, steps[1], held[1].ticket) == "go"
    await end(state, steps[0], held[0].ticket, "refunded")
    assert not await send(state, ask(message("p"), coupon("p")))
    await end(state, steps[1], held[1].ticket, "refunded")
    assert await used(state, coupon("p")) == [(0, 0)]
    assert await send(state, ask(message("p"), coupon("p"))), "nothing was sent after all"


async def test_of_fifty_messages_one_gets_the_coupon(rig: Rig) -> None:
    states = [rig.new() for _ in range(3)]
    asked = [ask(message("p"), coupon("p")) for _ in range(50)]
    got = await asyncio.gather(*(send(states[n % 3], one) for n, one in enumerate(asked)))
    assert sum(got) == 1


# -- what State knows -----------------------------------------------------------------------------


async def test_a_new_window_holds_until_it_is_told_the_past(rig: Rig) -> None:
    state = rig.state
    cap = take("p", rolling(3, DAY, must_know=True))
    [unknown] = (await reserve(state, ask(message("p"), cap))).denied
    assert unknown.use.why == "history"
    now = now_of(rig)
    assert now + DAY - 60_000 < unknown.use.next_ms <= now + DAY + 60_000
    sends = (("m1", now - HOUR, 1), ("m2", now - 2 * HOUR, 1), ("m1", now - HOUR, 1))
    for _ in range(3):
        await state.backfill([Backfill(cap.counter, now - 2 * DAY, sends)])
    [usage] = await state.peek([cap])
    assert (usage.since_ms, usage.uses[0].used, usage.uses[0].why) == (now - 2 * DAY, 2, "")
    assert await send(state, ask(message("p"), cap))
    await state.backfill([Backfill(cap.counter, now - 2 * DAY, sends)])
    [full] = (await reserve(state, ask(message("p"), cap))).denied
    assert (full.use.why, full.use.used) == ("limit", 3)
    assert full.use.next_ms == now - 2 * HOUR + DAY, "exact: when the oldest leaves the window"
    [other] = (
        await reserve(state, ask(message("q"), take("q", rolling(3, DAY, must_know=True))))
    ).denied
    assert other.use.why == "history", "one counter's past says nothing of another's"


def counters(of: str) -> Counter:
    return Counter("person", of, DAY, of)


async def test_two_who_become_one_have_one_allowance(rig: Rig) -> None:
    state = rig.state
    three, other = take("p", rolling(3)), take("q", rolling(3))
    assert await send(state, ask(message("q"), other))
    assert await send(state, ask(message("q"), other))
    assert await send(state, ask(message("p"), three))
    both = Unite(counters("p"), (counters("q"), counters("nobody")))
    assert await state.unite([both]) == [True]
    assert await state.unite([both]) == [True], "told twice, counted once"
    assert await used(state, three) == [(3, 0)]
    [usage] = await state.peek([three])
    assert abs(usage.uses[0].next_ms - now_of(rig) - DAY) < 60_000
    assert not await send(state, ask(message("p"), three))
    assert await state.unite([Unite(counters("r"), (counters("nobody"),))]) == [False]


async def test_of_three_whoever_stands_for_all_counts_each_send_once(state: State) -> None:
    p, q, r = (take(of, rolling(9)) for of in "pqr")
    for one, of in ((p, "p"), (q, "q"), (q, "q"), (r, "r")):
        assert await send(state, ask(message(of), one))
    await state.unite([Unite(counters("q"), (counters("p"),))])
    assert await send(state, ask(message("q"), q))
    await state.unite([Unite(counters("r"), (counters("q"), counters("p")))])
    assert await used(state, p, q, r) == [(1, 0), (4, 0), (5, 0)]
    await state.unite([Unite(counters("p"), (counters("q"), counters("r")))])
    assert await send(state, ask(message("p"), p))
    assert await used(state, p) == [(6, 0)]
    assert await state.unite([]) == []


async def test_what_was_not_sent_after_all_is_given_back_to_who_paid_it(state: State) -> None:
    own, other = take("p", rolling(3)), take("q", rolling(3))
    assert await send(state, ask(message("q"), other))
    await state.unite([Unite(counters("p"), (counters("q"),))])
    assert await send(state, ask(message("p"), own), "refunded")
    assert await used(state, own) == [(1, 0)]
    open_ = ask(message("q"), other)
    assert (await reserve(state, open_)).ok
    assert await state.unite([Unite(counters("p"), (counters("q"),))]) == [True]
    assert await used(state, own) == [(1, 0)], "what is open stays with whom it was taken from"


async def test_united_sends_end_with_their_window(rig: Rig) -> None:
    state = rig.state
    short = take("p", rolling(1, 1500))
    assert await send(state, ask(message("q"), take("q", rolling(1, 1500))))
    keep = Counter("person", "p", 1500, "p")
    assert await state.unite([Unite(keep, (Counter("person", "q", 1500, "q"),))]) == [True]
    assert not await send(state, ask(message("p"), short))
    await rig.later(1.5)
    assert await send(state, ask(message("p"), short))


async def test_the_past_that_is_told_whole_replaces_what_was_united(rig: Rig) -> None:
    state, now = rig.state, now_of(rig)
    await state.backfill([Backfill(counters("q"), now - DAY, (("m1", now - HOUR, 1),))])
    await state.unite([Unite(counters("p"), (counters("q"),))])
    cap = take("p", rolling(9))
    assert await used(state, cap) == [(1, 0)]
    whole = (("m1", now - HOUR, 1), ("m2", now - 2 * HOUR, 1))
    await state.backfill([Backfill(counters("p"), now - DAY, whole)])
    assert await used(state, cap) == [(2, 0)]


async def test_what_is_declared_as_known_is_known_for_all(rig: Rig) -> None:
    state = rig.state
    born = await state.policy_epoch()
    await state.covered(["person", "account"], 0)
    takes = (
        take("p", rolling(3, DAY, must_know=True)),
        take("a", rolling(9, DAY, must_know=True), series="account"),
    )
    assert await send(state, ask(message("p"), *takes))
    assert [one.since_ms for one in await state.peek(takes)] == [0, 0]
    assert await rig.new().policy_epoch() == born
    longer = take("p", rolling(3, 30 * DAY, must_know=True))
    [found] = (await reserve(state, ask(message("p"), longer))).denied
    assert found.use.why == "history", "what was kept for a day is not known for a month"
    # Wanted longer once, it is kept longer: the day itself is still known.
    assert await send(state, ask(message("p"), *takes))


async def test_peek_changes_nothing(state: State) -> None:
    cap = take("p", rolling(1), rolling(5, HOUR))
    assert await state.peek([]) == []
    for _ in range(2):
        [usage] = await state.peek([cap])
        assert [(use.used, use.limit, use.why) for use in usage.uses] == [(0, 1, ""), (0, 5, "")]
    assert await send(state, ask(message("p"), cap))
    [usage] = await state.peek([cap])
    assert [(use.used, use.why) for use in usage.uses] == [(1, "limit"), (1, "")]


# -- what cannot be kept --------------------------------------------------------------------------


async def test_a_reservation_that_means_nothing_is_refused(state: State) -> None:
    cap = take("p", rolling(1))
    one = message("p")
    for bad, words in (
        (ask(one, cap, cap), "taken twice"),
        (ask("", cap), "reservation id"),
        (ask("a@b", cap), "reservation id"),
        (ask(one, cap, open_s=0), "open_s"),
        (ask(one, replace(cap, units=0)), "units"),
        (ask(one, replace(cap, counter=Counter("person", "p", HOUR, "p"))), "keep_ms"),
    ):
        with pytest.raises(ValueError, match=words):
            await state.reserve([bad])
    with pytest.raises(ValueError, match="keep_ms"):
        await state.peek([replace(cap, counter=Counter("person", "p", HOUR, "p"))])
    for window in (("rolling", 1, 0), ("gap", 2, 5), ("rolling", -1, 5), ("calendar", 1, 5)):
        with pytest.raises(ValueError, match="window"):
            Window(*window)  # type: ignore[arg-type]


# -- all the same ---------------------------------------------------------------------------------


class Walk:
    """Messages on random ways: what pipelines do, in any order, with old words said again by those who do not know better."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        messages = [(person, message(person)) for person in ("p", "q") for _ in range(4)]
        self.steps = {
            (one, step): self.takes(person) for person, one in messages for step in range(2)
        }
        self.attempts = dict.fromkeys(self.steps, 0)
        self.tickets: dict[tuple[str, int], str] = {}
        self.said: list[tuple[str, list[object]]] = []
        self.gone: set[Key] = set()

    def takes(self, person: str) -> tuple[Take, ...]:
        rng = self.rng
        takes = [
            take(person, rolling(3), rolling(2, HOUR)),
            take(f"{person}\x1fsms", rolling(4), series="person_channel", per="attempt"),
            take("a", rolling(4), series="account"),
            take("b", rolling(3), series="account"),
            coupon(person),
        ]
        chosen = rng.sample(takes, rng.randrange(1, 4))
        if rng.random() < 0.2:
            chosen = [replace(one, counted_only=True) for one in chosen]
        return tuple(chosen)

    def call(self) -> tuple[str, list[object]]:
        rng = self.rng
        if self.said and rng.random() < 0.2:
            return rng.choice(self.said)
        which = (one, step) = rng.choice(sorted(self.steps))
        attempt, held = self.attempts[which], self.tickets.get(which, "")
        key = Key(one, step, attempt, "channel")
        verb = rng.choice(["reserve", "reserve", "admit", "admit", "conclude", "release", "peek"])
        if not held and verb != "peek":
            verb = "reserve"
        arguments: dict[str, list[object]] = {
            "reserve": [[ask(one, *self.steps[which], step=step, attempt=attempt)]],
            "admit": [[Admit(key, (), "w", 600.0, held)]],
            "release": [[key], [held]],
            "peek": [self.steps[which]],
        }
        if verb == "conclude":
            self.attempts[which] += 1
            unspent = rng.choice(
                ["", "open", "refunded"] if key in self.gone else ["open", "refunded"]
            )
            one_of = Conclude(key, unspent.encode(), reservation=held, unspent=unspent)  # type: ignore[arg-type]
            arguments[verb] = [[one_of]]
        if verb in {"admit", "conclude", "release"}:
            self.said.append((verb, arguments[verb]))
        return verb, arguments[verb]


def without_shards(argument: object) -> object:
    """For a State that has none."""
    if isinstance(argument, list):
        return [without_shards(one) for one in argument]
    if isinstance(argument, str):
        return argument.partition("@")[0]
    if isinstance(argument, Admit | Conclude):
        return replace(argument, reservation=argument.reservation.partition("@")[0])
    return argument


def comparable(answer: object) -> object:
    """Without times: the clocks are not the same."""
    if isinstance(answer, list):
        return [comparable(one) for one in answer]
    if isinstance(answer, Reserved):
        uses = [(o.take, o.window, o.use.used, o.use.open, o.use.why) for o in answer.denied]
        return answer.ok, uses
    if hasattr(answer, "uses"):
        return [(one.used, one.open, one.limit, one.why) for one in answer.uses]
    return getattr(answer, "verdict", answer)


@pytest.mark.parametrize("seed", range(6))
async def test_every_implementation_answers_as_the_one_in_memory(rig: Rig, seed: int) -> None:
    walk = Walk(seed)
    clock = ManualClock() if rig.kind in {"memory", "sqlite"} else SystemClock()
    model = MemoryState(clock)
    for _ in range(300):
        verb, arguments = walk.call()
        said = await getattr(rig.state, verb)(*arguments)
        expected = await getattr(model, verb)(*map(without_shards, arguments))
        assert comparable(said) == comparable(expected), (verb, arguments)
        if verb == "reserve" and said[0].ok:
            [[item]] = arguments  # type: ignore[misc]
            walk.tickets[item.id, item.step] = said[0].ticket  # type: ignore[attr-defined]
        if verb == "admit" and said[0].verdict == "go":
            walk.gone.add(arguments[0][0].key)  # type: ignore[index]
        if verb == "release":
            walk.gone.discard(arguments[0][0])  # type: ignore[index]


async def test_counters_are_spread_over_the_shards_of_their_persons(rig: Rig) -> None:
    """A reservation whose parts lie in many shards: the far ones are given back when the near one refuses."""
    state = rig.state
    wide = [take(f"w{n}", rolling(5), series="account") for n in range(12)]
    assert len({shard_of(one.counter.name) for one in wide}) > 8
    full = take("p", rolling(0))
    for _ in range(8):
        assert not await send(state, ask(message("p"), full, *wide))
    assert Tally(await used(state, *wide)) == {(0, 0): 12}
    last = replace(wide[-1], windows=(rolling(0),))
    assert not await send(state, ask(message("p"), take("p", rolling(3)), *wide[:-1], last))
    assert Tally(await used(state, *wide)) == {(0, 0): 12}
