"""Each stage by a table: what it decides, and what it leaves alone.

Long because each stage has its table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from msgcenter.adapter import Dispatch as Handed
from msgcenter.adapter import Unreachable
from msgcenter.clock import ManualClock
from msgcenter.config.rules import ChannelConfig
from msgcenter.pipeline import Item, run
from msgcenter.policy.retry import WAITS_FOR_GROUP
from msgcenter.port import UNASSIGNED
from msgcenter.settle import receipt_to
from msgcenter.stages.correlate import GUESS_FROM, WAITS_S, Correlate, Dispatch
from msgcenter.stages.deliver import Resolve, gates
from msgcenter.stages.expire import Expire
from msgcenter.stages.group import Group
from msgcenter.stages.identify import Identify
from msgcenter.stages.lost import STATE_LOST, Lost
from msgcenter.stages.render import Render
from msgcenter.stages.replay import Replay
from msgcenter.stages.route import Route, Target
from msgcenter.stages.wait_until import WaitUntil
from msgcenter.state import Conclude, Mark
from msgcenter.state.memory import MemoryState
from msgcenter.store import GroupRow
from protocols import wire
from protocols.address import Address
from protocols.envelope import Key
from protocols.errors import Malformed
from protocols.outcome import (
    Held,
    Outcome,
    Rejected,
    Retry,
    Routed,
    Sent,
    Suppressed,
    Unknown,
)
from protocols.payload import (
    Advance,
    CreateGroup,
    DeliveryReport,
    DissolveGroup,
    Notice,
    Payload,
    Pull,
    Text,
    UpdateGroup,
)
from tests.unit.rig import LOG, SPEC, T0, Scripted, lookup, message, no_facts


@pytest.mark.parametrize(
    ("expires", "expired"), [(0, False), (T0 + 1, False), (T0, True), (T0 - 5000, True)]
)
async def test_expire(expires: int, expired: bool) -> None:
    one = Item(message(expires_at=expires))
    await Expire(ManualClock(T0))([one])
    assert (one.outcome is not None) == expired
    if expired:
        assert isinstance(one.outcome, Suppressed)
        assert one.outcome.rule == "expired"
        assert dict(one.decisions[0].facts) == {"expires_at": str(expires), "now": str(T0)}


NOTICE = Text("本群将于 18:00 解散")
MAKE, CHANGE, END = (
    CreateGroup("grp_1", "g", "", ("li",)),
    UpdateGroup("grp_1", "n"),
    DissolveGroup("grp_1"),
)


@pytest.mark.parametrize(
    ("state", "chat", "payload", "category", "code"),
    [
        ("", "", Text("好"), "care", "group_unknown"),
        ("creating", "", Text("好"), "care", WAITS_FOR_GROUP),
        ("creating", "", MAKE, "command", None),
        ("uncertain", "", Text("好"), "care", WAITS_FOR_GROUP),
        ("uncertain", "c1", Text("好"), "care", "c1"),
        ("active", "c1", Text("好"), "care", "c1"),
        ("active", "c1", CHANGE, "command", "c1"),
        ("failed", "", Text("好"), "care", "group_failed"),
        ("dissolving", "c1", Text("好"), "care", "group_dissolving"),
        ("dissolving", "c1", NOTICE, "command", "c1"),
        ("dissolving", "c1", END, "command", "c1"),
        ("dissolved", "c1", END, "command", "c1"),
        ("dissolved", "c1", NOTICE, "command", "group_dissolved"),
        ("dissolved", "c1", Text("好"), "care", "group_dissolved"),
    ],
)
async def test_group(
    state: Any, chat: str, payload: Payload, category: str, code: str | None
) -> None:
    """`code`: of a refusal or a wait, else what the group is called at its far end."""
    row = GroupRow("grp_1", "crm", "g", "li", (), "fake", "east", state=state, chat=chat)
    clock = ManualClock(T0 + 40_000)
    known = lookup(clock, row) if state else lookup(clock)
    to = Address("group", "grp_1")
    one = Item(message(to=to, payload=payload, category=category))
    await Group(known, clock)([one, phone := Item(message())])
    assert (phone.outcome, phone.target) == (None, "")
    match one.outcome:
        case None:
            assert one.target == (code or "")
        case Retry() as waits:
            assert (waits.code, waits.after) == (code, 10.0), "a quarter of what it has waited"
        case refused:
            assert isinstance(refused, Rejected)
            assert (refused.scope, refused.code) == ("recipient", code)


@pytest.mark.parametrize(
    ("accepted", "again", "unknown"),
    [(T0 - 1, True, True), (T0, True, False), (T0 - 1, False, False)],
)
async def test_lost(accepted: int, again: bool, unknown: bool) -> None:
    state = MemoryState(ManualClock(T0))
    await state.policy_epoch()
    one = Item(message(created_at=accepted))
    news = Item(message(created_at=accepted, payload=Advance("msg_1", "begin")))
    one.again = news.again = again
    await Lost(state)([one, news])
    assert isinstance(one.outcome, Unknown) == unknown
    assert [decision.rule for decision in one.decisions] == [STATE_LOST] * unknown
    assert news.outcome is None, "news of a plan may be told twice"


@pytest.mark.parametrize(("at", "held"), [(0, False), (T0, False), (T0 + 1, True)])
async def test_wait_until(at: int, held: bool) -> None:
    one = Item(message(not_before=at))
    await WaitUntil(ManualClock(T0))([one])
    assert one.outcome == (Held(at, "send_at") if held else None)
    assert [d.next_at for d in one.decisions] == ([at] if held else [])


@pytest.mark.parametrize(
    ("envelope", "expect"),
    [
        (message(), Routed(("east",))),
        (message(channels=("other", "fake"), step=1), Routed(("east",))),
        (message(channels=("other",)), ("channel", "no_route")),  # it may come back: tried again
        (message(step=1), ("message", "no_route")),
        (message(channels=()), ("message", "no_route")),
        (message(to=Address("staff", "7")), ("account", "address_scheme")),
        (message(channel="west", token_of=0), Routed(("west",))),  # there it may have left
        (message(channel="gone", token_of=0), ("channel", "no_route")),
    ],
)
async def test_route(envelope: Any, expect: Any) -> None:
    one = Item(envelope)
    route = Route(
        lambda kind, _, facts: Target("east", SPEC, "rule 1") if kind == "fake" else None,
        lambda name: Target("west", SPEC, "rule 1") if name == "west" else None,
        lookup(ManualClock()),
        no_facts,
    )
    await route([one])
    if isinstance(expect, Routed):
        assert one.outcome == expect
        assert one.decisions[0].rule == "rule 1"
    else:
        assert isinstance(one.outcome, Retry if expect[0] == "channel" else Rejected)
        assert (one.outcome.scope, one.outcome.code) == expect


async def test_render() -> None:
    class Picky(Scripted):
        def render(self, envelope: Any) -> None:
            if envelope.payload.text == "bad":
                raise Malformed("text.text: cannot be said in GSM 7")

    good, bad, other = (
        Item(message(payload=p))
        for p in (
            message().payload,
            replace(message().payload, text="bad"),
            Notice("e", "t", "{}"),
        )
    )
    await Render(Picky())([good, bad, other])
    assert good.outcome is None
    assert bad.outcome == Rejected("message", "text.text: cannot be said in GSM 7", "content")
    assert isinstance(other.outcome, Rejected)
    assert (other.outcome.scope, other.outcome.code) == ("account", "payload_kind")


@pytest.mark.parametrize(
    ("number", "expect"),
    [
        ("106557", ("shop", "crm", "caller:crm")),
        ("1069", ("free", "", "caller:unassigned")),
        ("9", None),
    ],
)
async def test_identify(number: str, expect: Any) -> None:
    def owner(channel: str, written_to: str) -> tuple[str, str] | None:
        assert channel == "east"
        return {"106557": ("shop", "crm"), "1069": ("free", "")}.get(written_to)

    before = message(inbound=True, account=number, caller="", to=UNASSIGNED)
    one = Item(before)
    await Identify(owner)([one])
    if expect is None:
        assert one.envelope == before
    else:
        assert (one.envelope.account, one.envelope.caller, str(one.envelope.to)) == expect
    assert one.outcome is None
    receipt = Item(replace(before, payload=DeliveryReport("r", "delivered")))
    await Identify(owner)([receipt])
    assert receipt.envelope.account == number


async def test_replay() -> None:
    state = MemoryState(ManualClock())
    stored = Sent(("f",))
    await state.conclude([Conclude(Key("msg_1", 0, 0, "submit"), wire.seal_outcome(stored))])
    done, other_pass, other_message = (
        Item(e) for e in (message(), message(attempt=1), message("msg_2"))
    )
    await Replay(state, "submit")([done, other_pass, other_message])
    assert (done.outcome, done.replayed) == (stored, True)
    assert (other_pass.outcome, other_message.outcome) == (None, None)
    same = Item(message())
    await Replay(state, "channel")([same])
    assert same.outcome is None


def receipt(remote: str, tries: int = 0, to: Address = UNASSIGNED) -> Item:
    return Item(
        message(
            f"rcp_{remote}_{tries}",
            inbound=True,
            to=to,
            tries=tries,
            payload=DeliveryReport(remote, "delivered"),
            remote_id=remote,
        )
    )


async def test_correlate() -> None:
    state = MemoryState(ManualClock(T0))
    phone = message().to
    await state.conclude(
        [
            Conclude(Key("msg_1", 0, 2, "channel"), b"x", scope="east", correlate=(("f1", 1),)),
            Conclude(
                Key("msg_2", 0, 0, "channel"),
                b"x",
                scope="east",
                marks=(Mark("msg_2", 0, 0, 0, "unknown"),),
                unknown_for=str(phone),
                unknown_until_ms=T0 + 60_000,
            ),
        ]
    )
    table: list[tuple[Item, Outcome]] = [
        (receipt("f1"), Routed(receipt_to("msg_1", 0, 2, 1, False))),
        (
            receipt("f2", 0),
            Retry("message", "no message with this remote id yet", 1.0, "early_receipt"),
        ),
        (
            # Too early to guess: its own send may still be in the pass that waits for a lost answer.
            receipt("f2", GUESS_FROM - 1, phone),
            Retry(
                "message",
                "no message with this remote id yet",
                WAITS_S[GUESS_FROM - 1],
                "early_receipt",
            ),
        ),
        (receipt("f2", GUESS_FROM, phone), Routed(receipt_to("msg_2", 0, 0, 0, True))),
        (
            receipt("f3", 5),
            Retry("message", "no message with this remote id yet", WAITS_S[5], "early_receipt"),
        ),
        (
            receipt("f3", len(WAITS_S)),
            Suppressed("no_match", "receipt 'f3' fits no message of channel east"),
        ),
    ]
    assert sum(WAITS_S[:GUESS_FROM]) > ChannelConfig.model_fields["send_timeout"].default
    plain = Item(message(inbound=True))
    for one, expect in table:  # each alone: a guess looks for the only unknown
        await Correlate(state)([plain, one])
        assert one.outcome == expect
    assert plain.outcome is None
    await Dispatch()([plain])
    assert plain.outcome == Routed(("crm",))
    nobody = Item(message(caller=""))
    await Dispatch()([nobody])
    assert nobody.outcome == Routed(("unassigned",))


# -- resolve -------------------------------------------------------------------------------------

RESOLVES = replace(SPEC, resolves=True)
SECOND = message(attempt=1, token_of=0, tries=1)


def resolve(adapter: Scripted, state: Any = None) -> Resolve:
    return Resolve(adapter, state or MemoryState(ManualClock()), lambda _: "", 0.05, LOG)


def raises(error: BaseException) -> Any:
    def answers(_: Any) -> Any:
        raise error

    return answers


@pytest.mark.parametrize(
    ("answers", "expect"),
    [
        (lambda batch: [Sent(("f",))] * len(batch), Sent(("f",))),
        (lambda batch: [Retry("message", "never came")], Retry("message", "never came")),
        (lambda batch: [Unknown("?")], Unknown("?")),
        (lambda batch: [], Unknown("adapter gave 0 answers for 1 messages")),
        (raises(Unreachable("down")), Unknown("the far end could not be asked: down")),
        (raises(ZeroDivisionError("x")), Unknown("the question failed: ZeroDivisionError: x")),
    ],
)
async def test_resolve_asks_and_a_failed_question_leaves_it_unknown(
    answers: Any, expect: Outcome
) -> None:
    adapter = Scripted(RESOLVES)
    adapter.answers = answers
    one, first = Item(SECOND), Item(message("msg_2"))
    await resolve(adapter)([one, first])
    assert one.outcome == expect
    assert first.outcome is None
    assert adapter.asked == [message().token()]


async def test_resolve_waits_no_longer_than_a_send_may_take() -> None:
    class Hangs(Scripted):
        async def resolve(self, claimed: Sequence[Handed]) -> list[Outcome]:
            import asyncio

            await asyncio.sleep(60)
            return []

    one = Item(SECOND)
    await resolve(Hangs(RESOLVES))([one])
    assert isinstance(one.outcome, Unknown)
    assert "no answer" in one.outcome.detail


@pytest.mark.parametrize("evidence", ["delivered", "read", "sent", "undelivered"])
async def test_a_receipt_that_came_meanwhile_saves_the_resend(evidence: Any) -> None:
    state = MemoryState(ManualClock())
    await state.conclude(
        [Conclude(Key("r", 0, 0, "inbound"), b"x", marks=(Mark("msg_1", 0, 0, 0, evidence),))]
    )
    one = Item(message(attempt=1, possibly_duplicate=True))
    await resolve(Scripted(), state)([one])
    came = evidence in ("delivered", "read")
    assert (isinstance(one.outcome, Suppressed) and one.outcome.rule == "receipt_came") == came
    other_step = Item(message(attempt=1, possibly_duplicate=True, step=1))
    await resolve(Scripted(), state)([other_step])
    assert other_step.outcome is None


async def test_an_idempotent_far_end_is_not_asked() -> None:
    adapter = Scripted(replace(RESOLVES, idempotent=True))
    one = Item(SECOND)
    await resolve(adapter)([one])
    assert (one.outcome, adapter.asked) == (None, [])


def test_the_gates_of_a_message() -> None:
    assert gates(message(account="a", campaign="spring")) == (
        "message:msg_1",
        "person:tel:+8613800138000",
        "category:transactional",
        "caller:crm",
        "account:a",
        "campaign:spring",
        "channel:east",
        "channel:fake",
    )
    assert gates(message(payload=Pull("kf")))[-1] == "caller:crm", "reading is never paused"
    assert len(gates(message())) == 6


# -- pipeline ------------------------------------------------------------------------------------


async def test_a_pipeline_shows_each_stage_only_what_is_undecided_and_stops_early() -> None:
    seen: list[tuple[str, list[str]]] = []

    class Takes:
        def __init__(self, name: str, takes: str) -> None:
            self.name, self.takes = name, takes

        async def __call__(self, items: Sequence[Item]) -> None:
            seen.append((self.name, [i.envelope.id for i in items]))
            for one in items:
                if one.envelope.id in self.takes:
                    one.decide(Sent())

    given = [Item(message(i)) for i in "abcd"]
    given[3].done = True
    timed: list[str] = []
    stages = [Takes("one", "b"), Takes("two", "ac"), Takes("three", "")]
    await run(
        stages, given, monotonic=ManualClock().monotonic, observe=lambda s, _: timed.append(s)
    )
    assert seen == [("one", ["a", "b", "c"]), ("two", ["a", "c"])]
    assert timed == ["one", "two"]
