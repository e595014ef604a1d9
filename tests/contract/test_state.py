"""The State contract: keys, claims, outcomes, evidence, receipts and suppressions on every implementation.

One file, because a reader looks for a promise of State here and in one other place only
(`test_state_shared`: tokens, leases, epoch).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from msgcenter.clock import ManualClock, SystemClock
from msgcenter.state import (
    EVIDENCE,
    Accepted,
    Begin,
    Conclude,
    Mark,
    Match,
    Receipt,
    Snapshot,
    State,
    Suppression,
)
from msgcenter.state.cells import Retention, merged, snapshot
from tests.contract.state_rig import KINDS, Rig, ask, key, message, opened

FAR = 9_000_000_000_000  # epoch ms: never in a test's time


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


@pytest.fixture
def state(rig: Rig) -> State:
    return rig.state


def mark(
    of: str, evidence: str, part: int = 0, at: int = 5, code: str = "", attempt: int = 0
) -> Mark:
    return Mark(of, 0, attempt, part, evidence, code, at)  # type: ignore[arg-type]


def done(
    one, outcome: bytes = b"sent", view: str = "", order: int = 0, marks=(), **more: object
) -> Conclude:
    return Conclude(one, outcome, view, order, tuple(marks), **more)


# -- keys -----------------------------------------------------------------------------------------


async def test_an_idempotency_key_goes_from_new_over_retry_to_done(rig: Rig) -> None:
    state = rig.state
    first, second = message(), message()
    [begun] = await state.begin([Begin("c", "k", "fp", first, 0.2)])
    assert (begun.verdict, begun.id) == ("new", first)
    [again] = await state.begin([Begin("c", "k", "fp", first, 0.2)])
    assert (again.verdict, again.id) == ("new", first), "the same request asks again: same answer"
    [busy] = await state.begin([Begin("c", "k", "fp", second, 0.2)])
    assert (busy.verdict, busy.id) == ("busy", first)
    [other] = await state.begin([Begin("c", "k", "other body", second, 0.2)])
    assert other.verdict == "other"
    await rig.later(0.2)
    for _ in range(2):
        [retry] = await state.begin([Begin("c", "k", "fp", second, 5)])
        assert (retry.verdict, retry.id) == ("retry", first)
    [busy] = await state.begin([Begin("c", "k", "fp", first, 5)])
    assert busy.verdict == "busy", "the second request holds the lease now"
    for _ in range(2):
        await state.accepted([Accepted(first, b"meta", "c", "k", b"202")])
    [finished] = await state.begin([Begin("c", "k", "fp", message(), 5)])
    assert (finished.verdict, finished.id, finished.answer) == ("done", first, b"202")
    [other] = await state.begin([Begin("c", "k", "other body", message(), 5)])
    assert other.verdict == "other"
    [foreign] = await state.begin([Begin("d", "k", "other body", second, 5)])
    assert foreign.verdict == "new", "keys are a caller's own"


async def test_fifty_posts_with_one_key_are_one_message(rig: Rig) -> None:
    states = [rig.new() for _ in range(3)]
    ids = [message() for _ in range(50)]
    begun = await asyncio.gather(
        *(states[n % 3].begin([Begin("c", "k", "fp", ids[n])]) for n in range(50))
    )
    winners = [one.id for [one] in begun if one.verdict == "new"]
    assert len(winners) == 1
    assert {one.id for [one] in begun} == set(winners)
    assert sum(one.verdict == "busy" for [one] in begun) == 49


async def test_keys_and_messages_are_forgotten_in_their_own_time(rig: Rig) -> None:
    state = rig.new(Retention(message_s=0.3, key_s=0.9))
    one = key()
    await state.begin([Begin("c", "k", "fp", one.message, 0.1)])
    await state.accepted([Accepted(one.message, b"m", "c", "k", b"202")])
    await state.suppress([Suppression("account:a", "paused"), Suppression("account:b", "p", 0.3)])
    await state.admit([ask(one)])
    await state.conclude(
        [done(one, marks=[mark(one.message, "sent")], scope="s", correlate=(("r", 0),))]
    )
    await rig.later(0.3)
    assert await state.get_many([one.message]) == [Snapshot()]
    assert await state.replay([one]) == [None]
    assert await state.correlate([Receipt("s", "r")]) == [None]
    [a, b] = await state.admit([ask(key(), "account:a"), ask(key(), "account:b")])
    assert (a.verdict, b.verdict) == ("suppressed", "go")
    assert (await state.begin([Begin("c", "k", "fp", message())]))[0].verdict == "done"
    await rig.later(0.9)
    assert (await state.begin([Begin("c", "k", "fp", message())]))[0].verdict == "new"


# -- claims ---------------------------------------------------------------------------------------


async def test_a_pass_is_let_go_once(rig: Rig) -> None:
    state = rig.state
    one = key()
    [go, twin] = await state.admit([ask(one, deadline_s=0.3), ask(one, deadline_s=0.3)])
    assert (go.verdict, twin.verdict) == ("go", "claimed")
    for owner in ("w1", "w2"):
        [held] = await state.admit([ask(one, owner=owner)])
        assert held.verdict == "claimed"
        assert 0 < held.remaining_s <= 0.3
    assert await state.replay([one]) == [None]
    await rig.later(0.3)
    for _ in range(2):
        assert (await state.admit([ask(one, owner="w2")]))[0].verdict == "abandoned"
    await state.conclude([done(one, b"unknown")])
    await state.suppress([Suppression("account:a", "paused")])
    [over] = await state.admit([ask(one, "account:a")])
    assert (over.verdict, over.outcome) == ("done", b"unknown"), "the outcome comes before the gate"
    assert await state.replay([one, key(one.message, attempt=1)]) == [b"unknown", None]
    [next_attempt] = await state.admit([ask(key(one.message, attempt=1))])
    assert next_attempt.verdict == "go"


async def test_a_pass_handed_out_before_goes_only_if_state_has_heard_of_its_message(
    state: State,
) -> None:
    """After State loss: what was in a worker's hands may have left, and nothing says so any more."""
    known, forgotten, fresh = key(), key(), key()
    await state.accepted([Accepted(known.message, b"m")])
    await state.conclude([done(key(known.message, pipeline="submit"))])
    asked = [replace(ask(one), again=True) for one in (known, forgotten)]
    found = await state.admit([*asked, ask(fresh)])
    assert [said.verdict for said in found] == ["go", "forgotten", "go"]
    found = await state.admit(asked)
    assert [said.verdict for said in found] == ["claimed", "forgotten"], "nothing was claimed"
    await state.conclude([done(forgotten, b"unknown")])
    [over] = await state.admit([asked[1]])
    assert (over.verdict, over.outcome) == ("done", b"unknown")
    [after] = await state.admit([replace(ask(key(forgotten.message, attempt=1)), again=True)])
    assert after.verdict == "go", "its next pass is new"


async def test_fifty_workers_race_and_each_pass_goes_once(rig: Rig) -> None:
    states = [rig.new() for _ in range(4)]
    passes = [key() for _ in range(20)]

    async def worker(number: int) -> list[int]:
        order = Random(number).sample(range(20), 20)
        found = await states[number % 4].admit(
            [ask(passes[n], "account:a", f"message:{passes[n].message}") for n in order]
        )
        return [n for n, one in zip(order, found, strict=True) if one.verdict == "go"]

    gone = sorted(n for won in await asyncio.gather(*map(worker, range(50))) for n in won)
    assert gone == list(range(20))


async def test_release_takes_back_a_claim_but_never_an_outcome(state: State) -> None:
    one, two = key(), key()
    await state.admit([ask(one), ask(two)])
    await state.conclude([done(two)])
    for _ in range(2):
        await state.release([one, two, key()])
    [again, over] = await state.admit([ask(one), ask(two)])
    assert (again.verdict, over.verdict) == ("go", "done")


# -- suppressions ---------------------------------------------------------------------------------


async def test_the_first_gate_that_is_hit_gives_the_reason(rig: Rig) -> None:
    state = rig.state
    one = key()
    gates = (f"message:{one.message}", "campaign:x", "person:p|marketing")
    await state.suppress(
        [Suppression("person:p|marketing", "opt_out"), Suppression("campaign:x", "")]
    )
    [hit] = await state.admit([ask(one, *gates)])
    assert (hit.verdict, hit.rule) == ("suppressed", "")
    await state.unsuppress(["campaign:x", "campaign:never"])
    [hit] = await state.admit([ask(one, *gates)])
    assert (hit.verdict, hit.rule) == ("suppressed", "opt_out")
    await state.suppress([Suppression(gates[0], "cancelled", 0.2)])
    [hit] = await state.admit([ask(one, *gates)])
    assert hit.rule == "cancelled"
    await rig.later(0.2)
    await state.unsuppress(["person:p|marketing"])
    assert (await state.admit([ask(one, *gates)]))[0].verdict == "go"


async def test_the_gate_of_another_message_is_refused(state: State) -> None:
    with pytest.raises(ValueError, match="another message"):
        await state.admit([ask(key(), f"message:{message()}")])


async def test_a_suppression_says_which_messages_it_came_too_late_for(state: State) -> None:
    keys = {name: key() for name in ("fresh", "accepted", "claimed", "released", "refused", "sent")}
    keys |= {"unknown": key(), "viewed": key(), "retried": key()}
    await state.accepted([Accepted(keys["accepted"].message, b"m")])
    admitted = ["claimed", "released", "refused", "sent", "unknown", "viewed", "retried"]
    await state.admit([ask(keys[name]) for name in admitted])
    await state.release([keys["released"]])
    await state.conclude(
        [
            done(keys["refused"], b"rejected", "rejected"),
            done(keys["sent"], marks=[mark(keys["sent"].message, "sent")]),
            done(keys["unknown"], marks=[mark(keys["unknown"].message, "unknown")]),
            done(keys["viewed"], view="sent"),
            done(keys["retried"], b"retry", "queued"),
        ]
    )
    await state.admit([ask(key(keys["retried"].message, attempt=1))])
    gates = [Suppression(f"message:{one.message}", "cancelled") for one in keys.values()]
    for _ in range(2):
        late = (await state.suppress([Suppression("campaign:x", "stop"), *gates])).late
        names = {name for name, one in keys.items() if one.message in late}
        assert names == {"claimed", "sent", "unknown", "viewed", "retried"}
        assert len(late) == 5


@pytest.mark.parametrize("wide", [False, True])
async def test_nothing_is_admitted_once_suppress_has_returned(rig: Rig, wide: bool) -> None:
    """Workers admit passes in random batches while the suppression comes at a random moment."""
    rng = Random(3)
    for round_ in range(6):
        states = [rig.new() for _ in range(3)]
        one = message()
        gate = f"campaign:{round_}" if wide else f"message:{one}"
        keys = [key(message() if wide else one, attempt=n) for n in range(60)]
        returned = False
        after: list[str] = []
        before: set[int] = set()

        async def worker(mine: list[int], state: State, gate: str = gate, keys=keys) -> None:
            while mine:
                batch, mine = mine[:4], mine[4:]
                late = returned  # noqa: B023 - this round's
                found = await state.admit([ask(keys[n], gate) for n in batch])
                before.update(n for n, a in zip(batch, found, strict=True) if a.verdict == "go")  # noqa: B023
                if late:
                    after.extend(one.verdict for one in found)  # noqa: B023

        workers = [asyncio.create_task(worker(list(range(w, 60, 3)), states[w])) for w in range(3)]
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        await asyncio.sleep(rng.random() * 0.004)
        late = (await rig.state.suppress([Suppression(gate, "stop")])).late
        at_return = set(before)
        returned = True
        await asyncio.gather(*workers)
        assert set(after) <= {"suppressed"}
        if at_return and not wide:
            assert late == (one,), "what was let go before is reported"
        [hit] = await rig.state.admit([ask(key(one, attempt=99), gate)])
        assert (hit.verdict, hit.rule) == ("suppressed", "stop")


# -- outcomes and evidence ------------------------------------------------------------------------


async def test_the_first_outcome_of_a_pass_wins(state: State) -> None:
    one = key()
    await state.accepted([Accepted(one.message, b"meta")])
    await state.admit([ask(one)])
    sent = done(
        one, b"sent", "sent", 3, [mark(one.message, "sent")], scope="s", correlate=(("r1", 0),)
    )
    [first] = await state.conclude([sent])
    assert (first.outcome, first.fresh) == (b"sent", True)
    assert first.snapshot == Snapshot(True, b"meta", "sent", {(0, 0): {0: ("sent", "", 5)}})
    [repeat] = await state.conclude([sent])
    assert (repeat.outcome, repeat.fresh, repeat.snapshot) == (b"sent", False, first.snapshot)
    zombie = done(
        one, b"unknown", "unknown", 9, [mark(one.message, "read")], scope="s",
        correlate=(("r2", 0),), unknown_for="tel:1", unknown_until_ms=FAR,
    )  # fmt: skip
    [late] = await state.conclude([zombie])
    assert (late.outcome, late.fresh, late.snapshot) == (b"sent", False, first.snapshot)
    found = await state.correlate(
        [Receipt("s", "r1"), Receipt("s", "r2"), Receipt("s", "-", "tel:1")]
    )
    assert found == [Match(one.message, 0, 0, 0), None, None]


async def test_an_older_pass_never_overwrites_a_newer_view(state: State) -> None:
    one = message()
    steps = [(0, "queued", 1), (1, "held", 5), (2, "queued", 3), (3, "", 7), (4, "sending", 5)]
    views = []
    for attempt, view, order in steps:
        [said] = await state.conclude([done(key(one, attempt=attempt), b"x", view, order)])
        views.append(said.snapshot.view)
    assert views == ["queued", "held", "held", "held", "sending"]
    assert [seen.view for seen in await state.get_many([one, message()])] == ["sending", ""]


async def test_a_later_known_result_stands_beside_an_unknown(state: State) -> None:
    one = message()
    await state.conclude([done(key(one), b"unknown", marks=[mark(one, "unknown")])])
    [known] = await state.conclude(
        [done(key(one, attempt=1), b"sent", marks=[mark(one, "sent", attempt=1)])]
    )
    assert set(known.snapshot.deliveries) == {(0, 0), (0, 1)}
    assert await state.replay([key(one), key(one, attempt=1)]) == [b"unknown", b"sent"]


async def test_any_order_of_evidence_ends_in_the_same_snapshot(state: State) -> None:
    rng = Random(11)
    for _ in range(8):
        base = [
            (rng.randrange(3), rng.choice(EVIDENCE), rng.randrange(4), rng.choice(["", "E1", "E2"]))
            for _ in range(rng.randrange(1, 9))
        ]
        seen = []
        for _ in range(3):
            original = message()
            rng.shuffle(base)
            marks = [mark(original, e, p, at, code) for p, e, at, code in base]
            cut = rng.randrange(len(marks) + 1)
            # Some in calls of their own (receipts), some in one batch, some twice.
            for one in marks[:cut]:
                await state.conclude([done(key(), marks=[one])])
            await state.conclude([done(key(), marks=[one]) for one in marks[cut:]])
            await state.conclude([done(key(original), marks=marks)])
            [now] = await state.get_many([original])
            seen.append(now.deliveries)
            assert now.deliveries == snapshot(None, None, merged(b"", marks)).deliveries
        assert seen[0] == seen[1] == seen[2]


async def test_a_receipt_marks_its_original_and_answers_with_it(state: State) -> None:
    original, other, receipt = message(), message(), key(pipeline="inbound")
    await state.accepted([Accepted(original, b"meta")])
    await state.conclude(
        [done(key(original), view="sent", order=1, marks=[mark(original, "sent")])]
    )
    for _ in range(2):
        marks = [mark(original, "delivered", code="DELIVRD", at=9), mark(other, "read")]
        [said] = await state.conclude([done(receipt, b"routed", "received", marks=marks)])
        assert said.snapshot == Snapshot(
            True, b"meta", "sent", {(0, 0): {0: ("delivered", "DELIVRD", 9)}}
        )
    [own, second] = await state.get_many([receipt.message, other])
    assert (own.view, own.deliveries) == ("received", {})
    assert second.deliveries == {(0, 0): {0: ("read", "", 5)}}


# -- receipts -------------------------------------------------------------------------------------


async def test_a_receipt_finds_its_part_by_the_far_ends_id(state: State) -> None:
    one = key(step=1, attempt=2)
    await state.conclude([done(one, scope="sms", correlate=(("a|1", 0), ("b", 1), ("c", 2)))])
    found = await state.correlate(
        [
            Receipt("sms", "c"),
            Receipt("sms", "a|1"),
            Receipt("other", "b"),
            Receipt("sms", "x", "tel:1"),
        ]
    )
    assert found == [Match(one.message, 1, 2, 2), Match(one.message, 1, 2, 0), None, None]
    assert await state.correlate([]) == []


def unknown(one, recipient: str, until_ms: int = FAR, parts: int = 1) -> Conclude:
    marks = [mark(one.message, "unknown", part) for part in range(parts)]
    return done(
        one, b"unknown", marks=marks, scope="sms", unknown_for=recipient, unknown_until_ms=until_ms
    )


async def test_a_receipt_without_match_joins_the_only_unknown_of_its_recipient(
    state: State,
) -> None:
    one, two, old = key(), key(), key()
    await state.conclude([unknown(one, "tel:1"), unknown(old, "tel:1", until_ms=1_000)])
    lost = Receipt("sms", "r9", "tel:1")
    match = Match(one.message, 0, 0, 0, guessed=True)
    for _ in range(2):
        assert await state.correlate([lost]) == [match]
    assert (
        await state.correlate([Receipt("sms", "r9"), Receipt("push", "r9", "tel:1")]) == [None] * 2
    )
    await state.conclude([unknown(two, "tel:1")])
    assert await state.correlate([lost]) == [None], "between two nobody chooses"
    await state.conclude([done(key(), marks=[mark(two.message, "delivered")])])
    assert await state.correlate([lost]) == [match], "the other one is no longer open"
    await state.conclude([done(key(), marks=[mark(one.message, "undelivered")])])
    assert await state.correlate([lost]) == [None]


async def test_receipts_without_match_take_the_parts_of_a_long_message_in_turn(
    state: State,
) -> None:
    one = key()
    await state.conclude([unknown(one, "tel:1", parts=3)])
    await state.conclude([done(key(), marks=[mark(one.message, "delivered", 0)])])
    lost = [Receipt("sms", name, "tel:1") for name in ("x", "y", "x", "z")]
    parts = [match and match.part for match in await state.correlate(lost)]
    assert parts == [1, 2, 1, None]


async def test_an_unknown_is_joined_only_inside_its_deadline(rig: Rig, state: State) -> None:
    # The test's Redis runs on this machine, so its time is ours.
    clock = ManualClock() if rig.kind in {"memory", "sqlite"} else SystemClock()
    now = clock.now_ms()
    one = key()
    await state.conclude([unknown(one, "tel:1", until_ms=now + 400)])
    assert (await state.correlate([Receipt("sms", "r", "tel:1")]))[0] is not None
    await rig.later(0.4)
    assert await state.correlate([Receipt("sms", "r", "tel:1")]) == [None]
