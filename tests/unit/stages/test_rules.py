"""The stages that ask the rules: whom it is for, whether it may go now, whether there is room for it; and what settle makes of
it. The rules are those of a configuration as ops write it, the counters those of a real State.

Long because the stages are asked together, as they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers import Block, Mute, Person, Preferences
from msgcenter.pauses import PAUSED
from msgcenter.pipeline import Item
from msgcenter.recount import REBUILDING
from msgcenter.reviews import Reviews, review_id
from msgcenter.rulebook import InForce
from msgcenter.stages.policy import Hours, Policy
from msgcenter.stages.resolve import AWAY, Recipients
from msgcenter.state import Suppression
from msgcenter.state.memory import MemoryState
from msgcenter.store import ReviewRow, StoreError
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Held, Rejected, Retry, Routed, Suppressed, Unknown
from protocols.payload import DissolveGroup, Link, Template, Text
from tests.unit.rig import Directory, Rig, Scripted, message, metrics, rules
from tests.unit.stages.gate import (
    EVENING,
    MORNING,
    NOON,
    TEL,
    YES,
    Gate,
    at,
    many,
    marketing,
    person,
)


async def asked(
    envelope: Envelope,
    *people: Person,
    now: int = NOON,
    policy: str = "",
    book: InForce | None = None,
    **files: str,
) -> Item:
    """One message through `resolve` and `policy`."""
    book = book or rules(policy, **files)
    clock = ManualClock(now)
    item = Item(envelope)
    await Recipients(Directory(*people), book, clock)([item])
    if item.outcome is None:
        await Policy(book, clock, metrics())([item])
    return item


# -- resolve ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "kind", "reached"),
    [
        (TEL, "fake", TEL),
        ("customer:c-7", "fake", TEL),
        ("customer:c-7", "desk", "wecom:ww1/app/wm1"),
        ("wecom:ww1/app/wm1", "desk", "wecom:ww1/app/wm1"),
    ],
)
async def test_every_form_of_address_is_the_same_person(to: str, kind: str, reached: str) -> None:
    item = await asked(marketing(to=Address.parse(to), channels=(kind,)), person())
    assert item.outcome is None
    assert (str(item.envelope.to), item.envelope.person) == (reached, "c-7")
    assert str(item.envelope.recipient) == to


@pytest.mark.parametrize(
    ("to", "kind", "code"),
    [("customer:c-8", "fake", "customer_unknown"), ("customer:c-7", "push", "no_address")],
)
async def test_a_customer_who_is_not_reached_is_told_why(to: str, kind: str, code: str) -> None:
    item = await asked(marketing(to=Address.parse(to), channels=(kind,)), person())
    assert isinstance(item.outcome, Rejected)
    assert (item.outcome.scope, item.outcome.code) == ("recipient", code)


async def test_an_address_of_nobody_counts_for_itself() -> None:
    item = await asked(message())
    assert (item.outcome, item.envelope.person, item.original) == (None, TEL, None)


@pytest.mark.parametrize(
    ("envelope", "waits"),
    [
        (message(), False),
        (message(category="code", tier=0), False),
        (marketing(), True),
        (message(to=Address("customer", "c-7")), True),
        (message(once_key="gift"), True),
        (message(to=Address("staff", "7"), category="marketing"), False),
        (message(payload=DissolveGroup("grp_1"), category="command"), False),
    ],
)
async def test_without_the_directory_only_what_nobody_can_refuse_goes_on(
    envelope: Envelope, waits: bool
) -> None:
    people = Directory()
    people.error = StoreError("away")
    item = Item(envelope)
    await Recipients(people, rules(), ManualClock(NOON))([item])
    assert isinstance(item.outcome, Retry) == waits
    if isinstance(item.outcome, Retry):
        assert (item.outcome.scope, item.outcome.code) == ("channel", AWAY)


# -- policy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (person(), None),
        (person(consents=()), "no_consent"),
        (person(consents=(replace(YES, state="withdrawn"),)), "consent_withdrawn"),
        (person(blocks=(Block("b1", "block"),)), "blocked"),
        (person(blocks=(Block("b1", "mute"),)), None),
        (person(preferences=Preferences(service_only=True)), "service_only"),
    ],
)
async def test_the_customers_word_decides(who: Person, code: str | None) -> None:
    item = await asked(marketing(), who)
    assert (item.outcome.rule if isinstance(item.outcome, Suppressed) else item.outcome) == code
    assert item.decisions[-1].verdict == ("refuse" if code else "pass")


@pytest.mark.parametrize("to", ["staff:7", "group:grp_1"])
async def test_nobody_asks_staff_or_a_group_for_consent_but_the_night_is_theirs_too(
    to: str,
) -> None:
    envelope = marketing(to=Address.parse(to), person=to)
    assert (await asked(envelope)).outcome is None
    assert isinstance((await asked(envelope, now=EVENING)).outcome, Held)


async def test_quiet_time_holds_until_the_window_ends_and_says_so() -> None:
    item = await asked(marketing(), person(), now=EVENING)
    held = item.outcome
    assert isinstance(held, Held)
    assert MORNING <= held.until < MORNING + 1_800_000  # spread over half an hour
    assert (held.rule, held.detail, held.since) == ("quiet_hours", "marketing", EVENING)
    last = item.decisions[-1]
    assert (last.stage, last.rule, last.verdict, last.next_at) == (
        *("quiet", "marketing", "wait"),
        held.until,
    )
    assert dict(last.facts)["zone"] == "Asia/Shanghai (tenant)"


async def test_a_hold_counts_from_the_first_one() -> None:
    envelope = marketing(held_since=EVENING - 3 * 86_400_000)
    item = await asked(envelope, person(), now=EVENING)
    assert item.outcome == Suppressed("max_hold", "marketing")


async def test_a_temporary_mute_ends() -> None:
    who = person(preferences=Preferences(mutes=(Mute(NOON + 60_000),)))
    item = await asked(marketing(), who)
    assert isinstance(item.outcome, Held)
    assert (await asked(marketing(), who, now=NOON + 60_000)).outcome is None


async def test_a_downgrade_goes_by_the_other_kind_to_the_address_that_it_reaches() -> None:
    policy = """
    quiet: {marketing: {windows: [{hours: "21:00-08:00"}], when: {channels: [fake]}}}
    categories: {marketing: {on_quiet: downgrade, downgrade_to: desk}}
    """
    item = await asked(marketing(channels=("fake", "x")), person(), now=EVENING, policy=policy)
    assert item.outcome is None
    assert item.envelope.channels == ("desk", "x")
    assert str(item.envelope.to) == "wecom:ww1/app/wm1"
    assert item.amended() is not None
    nobody = await asked(
        marketing(category="care"),
        now=at("06-15 23:00"),
        policy="categories: {care: {on_quiet: downgrade, downgrade_to: desk}}",
    )
    assert nobody.outcome == Suppressed("quiet_hours", "night; desk is no way out")


CONTENT = """
content:
  forbidden: {action: block, words: [赌博]}
  doubtful: {action: hold, words: [稳赚]}
  cards: {action: mask, personal: [phone]}
"""


@pytest.mark.parametrize(
    ("payload", "expect"),
    [
        (Text("你好"), None),
        (Text("请拨 13912345678"), Text("请拨 ***********")),
        (
            Link("活动 13912345678", "https://10086.cn", "详询 13912345678"),
            Link("活动 ***********", "https://10086.cn", "详询 ***********"),
        ),
        (Text("来赌博"), Suppressed("content_blocked", "forbidden")),
        (
            Link("好", "https://10086.cn", "稳赚"),
            Held(NOON + 5000, "content_review", "doubtful", NOON),
        ),
    ],
)
async def test_content_of_every_kind_is_looked_at(payload: Any, expect: Any) -> None:
    envelope = message(payload=payload, expires_at=NOON + 5000)
    item = await asked(envelope, policy=CONTENT)
    if isinstance(expect, Held):
        detail = f"waits for review {review_id(envelope)}"
        assert item.outcome == replace(expect, detail=detail)
        assert [one.rule for one in item.decisions[-2:]] == [expect.detail] * 2
    elif isinstance(expect, Suppressed):
        assert item.outcome == expect
    else:
        assert item.outcome is None
        assert item.envelope.payload == (expect or payload)


@pytest.mark.parametrize(
    "envelope",
    [
        message(inbound=True, category="marketing"),
        message(payload=DissolveGroup("grp_1"), category="command"),
        message(category="command", tier=1),
        message(category="marketing", to=Address("caller", "crm")),
    ],
)
async def test_the_cores_own_messages_meet_no_rule(envelope: Envelope) -> None:
    item = await asked(envelope, now=EVENING)
    assert (item.outcome, item.decisions) == (None, [])


# -- hours -----------------------------------------------------------------------------------------


async def hours(item: Item, clock: ManualClock, *people: Person) -> Hours:
    stage = Hours(Directory(*people), rules(), clock)
    await stage([item])
    return stage


async def test_right_before_the_send_it_is_asked_once_more() -> None:
    late = Item(marketing())
    await hours(late, ManualClock(EVENING), person())
    assert late.outcome == Held(EVENING, "quiet_hours", "marketing", EVENING)
    refused = Item(marketing())
    await hours(refused, ManualClock(NOON), person(consents=(replace(YES, state="withdrawn"),)))
    assert isinstance(refused.outcome, Held)
    assert refused.outcome.rule == "consent_withdrawn"
    good, code = Item(marketing()), Item(message(category="code", tier=0))
    await hours(good, ManualClock(NOON), person())
    await hours(code, ManualClock(EVENING), person())
    assert (good.outcome, code.outcome, code.asked_at) == (None, None, 0)


async def test_one_that_waited_for_its_turn_into_the_window_does_not_leave() -> None:
    clock = ManualClock(EVENING - 500)
    rig = Rig(clock=clock)
    item = Item(marketing())
    stage = await hours(item, clock, person())
    assert item.outcome is None
    await clock.advance(1.0)
    await rig.deliver(rig.settle(), hours=stage)([item])
    assert isinstance(item.outcome, Held)
    assert rig.adapter.taken == []


# -- reserve ---------------------------------------------------------------------------------------

CAP = """
categories: {transactional: {bypass: false}}
caps:
  three: {scope: person, windows: [{rolling: 1h, limit: 3}], %s}
"""
HOLD = CAP % "on_cap: hold, max_wait: 2h"


async def test_of_five_three_leave_and_two_are_told_when() -> None:
    gate = Gate(HOLD)
    items = await gate(*many(5))
    assert [type(item.outcome) for item in items] == [Routed] * 3 + [Held] * 2
    held = items[3].outcome
    # taken as sent now: the first unit is free again in an hour
    assert held == Held(NOON + 3_600_000, "three", "3 of 3", NOON)
    told = items[3].decisions[-1]
    assert (told.stage, told.rule, told.verdict, told.next_at) == (
        *("reserve", "three", "hold"),
        NOON + 3_600_000,
    )
    assert dict(told.facts) == {"three": "3 of 3"}
    await gate.send(items[:3])
    assert gate.rig.adapter.taken == ["msg_0", "msg_1", "msg_2"]
    await gate.clock.advance(3600)
    assert [type(i.outcome) for i in await gate(*many(4, 3))] == [Routed] * 3 + [Held]


async def test_what_was_not_sent_costs_nothing() -> None:
    gate = Gate(HOLD)
    gate.rig.adapter.script = lambda _: Rejected("recipient", "no", "refused")
    for n in range(10):
        (passed,) = await gate.send(await gate(message(f"bad_{n}", channel="")))
        assert isinstance(passed.outcome, Rejected)
    gate.rig.adapter.script = lambda _: Unknown("answer lost")
    await gate.send(await gate(message("lost", channel="")))  # it may have left: it counts
    gate.rig.adapter.script = Scripted().script
    items = await gate(*many(3))
    assert [type(item.outcome) for item in items] == [Routed, Routed, Held]


async def test_a_short_wait_keeps_the_unit_a_long_one_gives_it_back() -> None:
    gate = Gate(CAP.replace("3}", "1}") % "on_cap: drop")
    waits = iter([5.0, 3000.0])
    gate.rig.adapter.script = lambda _: Retry("message", "busy", next(waits))
    (first,) = await gate.send(await gate(message("a", channel="")))
    assert isinstance((await gate(message("b", channel="")))[0].outcome, Suppressed)
    settle = gate.rig.settle()
    (_, again, _) = settle.follow([first]).envelopes[0]
    second = Item(again)
    await gate.rig.deliver(settle)([second])
    assert isinstance(second.outcome, Retry)
    assert isinstance((await gate(message("c", channel="")))[0].outcome, Routed)


async def test_unreachable_opens_the_units_again() -> None:
    gate = Gate(CAP.replace("3}", "1}") % "on_cap: drop")
    (passed,) = [Item(e) for e in await gate.settle(await gate(message("a", channel="")))]
    gate.rig.adapter.plugged = False
    await gate.rig.deliver(gate.rig.settle())([passed])
    assert passed.outcome is None
    await gate.clock.advance(3 * 3600)  # its reservation is over, and its unit free
    (other,) = await gate(message("b", channel=""))
    assert isinstance(other.outcome, Routed)
    gate.rig.adapter.plugged = True
    await gate.rig.deliver(gate.rig.settle())([passed])
    assert isinstance(passed.outcome, Held)
    assert passed.outcome.rule == "unreserved"
    assert gate.rig.adapter.taken == []
    await gate.send([other])
    assert gate.rig.adapter.taken == ["b"]


async def test_three_forms_of_one_customer_are_one_allowance() -> None:
    gate = Gate(HOLD, person())
    forms = [TEL, "customer:c-7", "wecom:ww1/app/wm1"]
    kinds = {"tel": "fake", "customer": "fake", "wecom": "desk"}
    envelopes = [
        message(f"m{n}", channel="", to=(to := Address.parse(forms[n % 3])), person=str(to),
                channels=(kinds[to.scheme],))
        for n in range(12)
    ]  # fmt: skip
    items = await gate(*envelopes)
    assert [type(item.outcome) for item in items].count(Routed) == 3


async def test_a_category_that_bypasses_is_counted_and_never_refused() -> None:
    gate = Gate(HOLD.replace("categories: {transactional: {bypass: false}}", ""))
    items = await gate(*many(5))
    assert {type(item.outcome) for item in items} == {Routed}
    assert items[0].decisions[-1].verdict == "counted"
    others = await gate(message("o", channel="", category="opportunity", tier=3))
    assert isinstance(others[0].outcome, Held)


async def test_a_coupon_is_given_once() -> None:
    gate = Gate("", person())
    first, second, other = await gate(
        message("a", channel="", once_key="gift"),
        message("b", channel="", to=Address("customer", "c-7"), once_key="gift"),
        message("c", channel="", once_key="gift 2"),
    )
    assert isinstance(first.outcome, Routed)
    assert second.outcome == Suppressed("once:gift", "1 of 1")
    assert isinstance(other.outcome, Routed)
    assert ("once", "gift") in first.decisions[-1].facts


async def test_a_full_cap_sends_by_another_kind() -> None:
    cap = CAP.replace("scope: person", "scope: person_channel, when: {channels: [fake]}")
    gate = Gate(cap % "on_cap: downgrade, to: desk", person())
    items = await gate(*many(5))
    assert [i.envelope.channels for i in items] == [("fake",)] * 3 + [("desk",)] * 2
    assert {type(item.outcome) for item in items} == {Routed}
    assert str(items[4].envelope.to) == "wecom:ww1/app/wm1"
    assert [d.verdict for d in items[4].decisions if d.rule == "three"] == ["downgrade"]


async def test_no_hold_adds_up_to_more_than_the_rule_allows_nor_passes_the_expiry() -> None:
    gate = Gate(HOLD)
    await gate(*many(3))
    tired, short = await gate(
        message("t", channel="", held_since=NOON - 2 * 3_600_000),
        message("s", channel="", expires_at=NOON + 1_800_000),
    )
    assert tired.outcome == Suppressed("three", "3 of 3") == short.outcome


async def test_while_counts_are_rebuilt_marketing_waits_and_the_rest_says_so() -> None:
    gate = Gate(HOLD, person(), rebuilding=True)
    bulk, normal = await gate(marketing("m"), message("n", channel=""))
    assert isinstance(bulk.outcome, Held)
    assert (bulk.outcome.rule, bulk.outcome.until) == (REBUILDING, NOON + 60_000)
    assert isinstance(normal.outcome, Routed)
    assert [d.rule for d in normal.decisions][-1] == REBUILDING
    await gate.state.covered(["person", "once"], 0)
    (bulk,) = await gate(marketing("m2"))
    assert isinstance(bulk.outcome, Routed)


async def test_one_state_call_for_a_micro_batch() -> None:
    gate = Gate(HOLD)
    calls: list[int] = []
    real = gate.state.reserve

    async def reserve(items: Any) -> Any:
        calls.append(len(items))
        return await real(items)

    gate.state.reserve = reserve
    await gate(*many(50))
    assert calls == [50]


# -- what settle makes of it -----------------------------------------------------------------------


async def test_a_replay_passes_on_what_the_first_run_did() -> None:
    gate = Gate(HOLD + CONTENT, person())
    envelope = message(channel="", to=Address("customer", "c-7"), payload=Text("请拨 13912345678"))
    items = await gate(envelope)
    (passed,) = await gate.settle(items)
    assert passed.payload == Text("请拨 ***********")
    assert (str(passed.to), passed.given, passed.person) == (TEL, envelope.to, "c-7")
    assert passed.reservation
    again = Item(envelope, items[0].outcome, replayed=True)
    assert await gate.settle([again]) == [passed]


async def test_what_is_held_begins_again_as_it_came() -> None:
    gate = Gate(HOLD + CONTENT, person())
    envelope = message(channel="", to=Address("customer", "c-7"), payload=Text("请拨 13912345678"))
    items = await gate(*(replace(envelope, id=f"m{n}") for n in range(4)))
    settle = gate.rig.settle("submit")
    await settle.conclude(items)
    (row,) = settle.follow(items).due
    assert wire.open_sealed(row.body) == replace(envelope, id="m3", attempt=1, held_since=NOON)
    assert items[3].record is not None
    assert items[3].record.envelope.person == "c-7"  # it is found under its person


async def test_a_refusal_after_the_reservation_gives_it_back() -> None:
    gate = Gate(CAP.replace("3}", "1}") % "on_cap: drop")
    (item,) = await gate(message("a", channel=""))
    item.outcome = Rejected("message", "no route", "no_route")
    await gate.settle([item])
    (other,) = await gate(message("b", channel=""))
    assert isinstance(other.outcome, Routed)


async def test_an_unreserved_pass_is_decided_anew_by_submit() -> None:
    gate = Gate(CAP.replace("3}", "1}") % "on_cap: drop")
    (passed,) = [Item(e) for e in await gate.settle(await gate(message("a", channel="")))]
    gate.rig.state = gate.state = MemoryState(gate.clock)  # everything is lost
    settle = gate.rig.settle()
    await gate.rig.deliver(settle)([passed])
    assert isinstance(passed.outcome, Held)
    (row,) = settle.follow([passed]).due
    assert (row.rule, row.at_ms) == ("unreserved", NOON)
    back = wire.open_sealed(row.body)
    assert isinstance(back, Envelope)
    assert (back.attempt, back.channel, back.tries) == (1, "", 0)


async def test_a_paused_template_holds_its_masked_words_too() -> None:
    gate = Gate(CONTENT)
    item = Item(message(payload=Template("promo"), channel=""), said=Text("请拨 13912345678"))
    await gate.run([item])
    assert item.original is not None
    await gate.state.suppress([Suppression("template:promo", "template:promo", hold=True)])
    (passed,) = await gate.send([item])
    assert gate.rig.adapter.taken == []
    assert isinstance(passed.outcome, Held)
    assert passed.outcome.rule == PAUSED
    assert wire.open_sealed(wire.seal(passed.envelope)) == passed.envelope


async def test_an_approval_is_for_the_words_that_a_template_had_then() -> None:
    doubts: list[str] = []

    class Queue:
        async def ask_reviews(self, rows: Sequence[ReviewRow]) -> dict[str, ReviewRow]:
            doubts.extend(str(row.content) for row in rows)
            state = "approved" if len(doubts) == 1 else "waiting"
            return {row.id: replace(row, state=state) for row in rows}

    clock, book = ManualClock(NOON), rules(CONTENT)
    stage = Policy(book, clock, metrics(), Reviews(Queue(), clock))
    before, after = (
        Item(message(payload=Template("promo"), expires_at=NOON + 5000), said=Text(words))
        for words in ("稳赚一", "稳赚二")
    )
    await stage([before])
    assert before.outcome is None
    await stage([after])
    assert [one for one in doubts if "稳赚" not in one] == []
    assert isinstance(after.outcome, Held)


async def test_a_text_that_was_held_before_waits_for_its_review_only_as_long_as_it_still_may() -> (
    None
):
    day = 86_400_000
    envelope = marketing(payload=Text("稳赚"), held_since=NOON - 2 * day)  # of three days
    item = await asked(envelope, person(), policy=CONTENT)
    assert isinstance(item.outcome, Held)
    assert item.outcome.until == NOON + day
    late = replace(envelope, held_since=NOON - 3 * day)
    assert (await asked(late, person(), policy=CONTENT)).outcome == Suppressed(
        "review_expired", "nobody decided in time"
    )
