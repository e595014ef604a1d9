"""The State contract: an opt-out against a batch that is being sent, in every order of their calls: nothing leaves after its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.sheet import Claim, Put
from msgcenter.customers.wishes import Terms
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.pipeline import Item
from msgcenter.policy.consent import Needs
from msgcenter.policy.opt_out import OptOutRule
from msgcenter.policy.quiet import Conduct
from msgcenter.policy.rules import Rules
from msgcenter.stages.deliver import gates
from msgcenter.stages.opt_out import Answers, OptOut
from msgcenter.state import Admit, Admitted, State
from msgcenter.store.store import Store
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, Key
from protocols.payload import Text
from tests.contract.state_rig import KINDS, Rig, message, opened
from tests.unit.rig import T0, metrics

RULES = Rules(
    conducts=MappingProxyType(
        {
            "marketing": Conduct(rank=5, dnd=True),
            "care": Conduct(rank=4, dnd=True, service=True),
            "reply": Conduct(rank=1, dnd=False, service=True),
        }
    ),
    needs=MappingProxyType(
        {"marketing": Needs(True), "care": Needs(), "reply": Needs(opt_out=False)}
    ),
    opt_out=(
        OptOutRule(
            "ports", ("106*",), out=frozenset({"td"}), back=frozenset({"start"}), answer_out="bye"
        ),
        OptOutRule("chats", kinds=frozenset({"kf"}), out=frozenset({"退订"}), scope="all"),
        OptOutRule("one", ("955*",), out=frozenset({"td"}), scope="number"),
    ),
)
SLICES = 2


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/customers.db", ManualClock(T0))
    await store.open()
    await store.migrate()
    yield store
    await store.close()


class Order:
    """Lets the State calls of two tasks happen in one given order: a string of their letters."""

    def __init__(self, letters: str) -> None:
        self._letters = letters
        self._place = 0
        self._moved = asyncio.Condition()

    async def turn(self, letter: str) -> None:
        async with self._moved:
            await self._moved.wait_for(
                lambda: self._letters[self._place : self._place + 1] in ("", letter)
            )

    async def over(self) -> None:
        async with self._moved:
            self._place += 1
            self._moved.notify_all()


class InTurn:
    """A State of which every call waits for its letter in the order."""

    def __init__(self, state: State, order: Order, letter: str) -> None:
        self._state, self._order, self._letter = state, order, letter
        self.calls = 0

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._state, verb)

        async def wait(*given: Any, **named: Any) -> Any:
            self.calls += 1
            await self._order.turn(self._letter)
            try:
                return await call(*given, **named)
            finally:
                await self._order.over()

        return wait


class Far:
    """What the opt-out stage publishes."""

    def __init__(self) -> None:
        self.said: list[Envelope] = []

    async def __call__(self, parcels: Sequence[Any]) -> None:
        for parcel in parcels:
            envelope = wire.open_sealed(parcel.sealed)
            assert isinstance(envelope, Envelope)
            self.said.append(envelope)


def stage(state: Any, store: Store, far: Far) -> OptOut:
    clock = ManualClock(T0)
    customers = CustomerWrites(
        state, store, CustomerLookup(store, clock), clock, lambda: Terms(RULES, ("sms", "kf"))
    )
    answers = Answers(far, 1, lambda: 60_000, clock.now_ms)
    kinds = {"east": "sms", "service": "kf"}
    return OptOut(lambda: RULES, kinds.__getitem__, customers, state, answers, metrics())


def wrote(sender: str, text: str = "TD", number: str = "10690001", channel: str = "east") -> Item:
    envelope = Envelope(
        id=message(),
        caller="crm",
        to=Address("caller", "crm"),
        category="inbound",
        tier=1,
        payload=Text(text),
        created_at=T0,
        person=sender,
        sender=Address.parse(sender),
        inbound=True,
        account="hotline",
        channel=channel,
        order_key=f"{channel}|hotline|{sender}",
    )
    return Item(envelope, number=number)


def out(person: str, **more: Any) -> Envelope:
    given: dict[str, Any] = {"category": "marketing", "channels": ("sms",), **more}
    return Envelope(
        id=message(),
        caller="crm",
        to=Address("tel", "+8613800138000"),
        tier=5,
        payload=Text("sale"),
        created_at=T0,
        person=person,
        **given,
    )


async def admitted(state: Any, envelope: Envelope, number: str = "10690001") -> Admitted:
    key = Key(envelope.id, 0, 0, "channel")
    asked = gates(envelope, number, refusable=envelope.category != "reply")
    return (await state.admit([Admit(key, asked, "w", 30.0)]))[0]


def phone(number: int) -> str:
    return f"tel:+861380000{number:04d}"


async def calls_of_an_opt_out(state: State, store: Store) -> int:
    alone = InTurn(state, Order(""), "o")
    await stage(alone, store, Far())([wrote(phone(9999))])
    return alone.calls


async def test_in_every_order_nothing_leaves_after_the_answer(rig: Rig, store: Store) -> None:
    state = rig.state
    calls = await calls_of_an_opt_out(state, store)
    assert calls >= 3
    whole = calls + SLICES
    for number, places in enumerate(combinations(range(whole), SLICES)):
        letters = "".join("a" if place in places else "o" for place in range(whole))
        order, sender, far = Order(letters), phone(number), Far()
        answered = False
        sends = InTurn(state, order, "a")

        async def batch(sends: InTurn = sends, sender: str = sender) -> list[str]:
            return [(await admitted(sends, out(sender))).verdict for _ in range(SLICES)]

        async def opting_out(order: Order = order, sender: str = sender, far: Far = far) -> None:
            nonlocal answered
            await stage(InTurn(state, order, "o"), store, far)([wrote(sender)])
            answered = True

        verdicts, _ = await asyncio.gather(batch(), opting_out())
        assert answered
        # The first call of the opt-out is the one that silences: it is the first `o` of the order.
        before = letters.index("o")
        assert verdicts == ["go"] * before + ["suppressed"] * (SLICES - before), letters
        late = await admitted(state, out(sender))
        assert (late.verdict, late.rule) == ("suppressed", "opted_out"), letters
        assert [one.payload for one in far.said] == [Text("bye")], letters


async def test_whatever_the_person_is_called(rig: Rig, store: Store) -> None:
    """Two addresses and an id: all of them are silent, on the channel that was refused; what must be said is said."""
    state, far = rig.state, Far()
    one = stage(state, store, far)
    await one._customers.put(
        [Put("c1", addresses=(Claim(phone(1)), Claim("kf:wk1/wm1")))], By("crm", "k")
    )
    await one([wrote(phone(1))])
    for key in ("c1", phone(1), "kf:wk1/wm1"):
        assert (await admitted(state, out(key))).verdict == "suppressed"
        assert (await admitted(state, out(key, category="care"))).verdict == "suppressed"
        assert (await admitted(state, out(key, channels=("kf",)))).verdict == "go"
        assert (await admitted(state, out(key, category="reply"))).verdict == "go"
    await one([wrote("kf:wk1/wm1", "退订", "wk1", "service")])
    for key in ("c1", phone(1), "kf:wk1/wm1"):
        assert (await admitted(state, out(key, channels=("kf",)))).verdict == "suppressed"
        assert (await admitted(state, out(key, category="reply"))).verdict == "go"
    assert (await admitted(state, out(phone(2)))).verdict == "go"


async def test_one_number_alone(rig: Rig, store: Store) -> None:
    state = rig.state
    await stage(state, store, Far())([wrote(phone(3), number="95588")])
    assert (await admitted(state, out(phone(3)), "95588")).rule == "opted_out"
    assert (await admitted(state, out(phone(3)), "10690001")).verdict == "go"


async def test_coming_back_opens_and_is_proof(rig: Rig, store: Store) -> None:
    state, far = rig.state, Far()
    one = stage(state, store, far)
    gone = wrote(phone(4))
    back = wrote(phone(4), "START")
    back.envelope = replace(back.envelope, created_at=T0 + 1)
    await one([gone])
    await one([back])
    assert (await admitted(state, out(phone(4)))).verdict == "go"
    person = await one._customers.lookup.one(phone(4), T0 + 2)
    assert person is not None
    said = person.consent("sms", "marketing")
    assert said is not None
    assert (said.state, said.proof, said.source, said.wording) == (
        "granted",
        back.envelope.id,
        "east",
        "start",
    )
    rows = (await store.list_consents(person.members)).items
    assert {(row.consent.state, row.consent.proof) for row in rows} == {
        ("withdrawn", gone.envelope.id),
        ("granted", back.envelope.id),
    }


async def test_answered_once(rig: Rig, store: Store) -> None:
    """The same word again is not answered; the same message run again makes the same answer, under the same id."""
    far = Far()
    one, first, second = stage(rig.state, store, far), wrote(phone(5)), wrote(phone(5))
    await one([first])
    await one([second])
    assert [envelope.reply_to for envelope in far.said] == [first.envelope.id]
    assert "not answered" in second.decisions[0].detail
    await one([Item(first.envelope, number=first.number)])
    assert [envelope.id for envelope in far.said] == [far.said[0].id] * 2
    back = wrote(phone(5), "START")
    await one([back])  # without a text of its own in these rules
    await one([wrote(phone(5))])
    assert len({envelope.id for envelope in far.said}) == 2
    answer = far.said[0]
    assert (str(answer.to), answer.account, answer.category, answer.order_key) == (
        phone(5),
        "hotline",
        "reply",
        first.envelope.order_key,
    )
    assert (await rig.state.get_many([answer.id]))[0].exists
