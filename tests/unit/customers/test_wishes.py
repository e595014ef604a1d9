"""Wishes as gates: under every name of the person, for exactly what is refused, as long as it may matter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers import Block, Consent, Link, Mute, Person, Preferences
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.person import gate
from msgcenter.customers.sheet import Claim, Put, Refused
from msgcenter.customers.wishes import KEPT_S, Terms, gates_for, refusable, stops, words_of
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.policy.consent import Needs
from msgcenter.policy.quiet import Conduct
from msgcenter.policy.rules import Rules
from msgcenter.state import Admit
from msgcenter.state.memory import MemoryState
from msgcenter.store.store import Store
from protocols.envelope import Key

T0 = 1_790_000_000_000
RULES = Rules(
    conducts=MappingProxyType(
        {
            "marketing": Conduct(rank=5, dnd=True),
            "care": Conduct(rank=4, dnd=True, service=True),
            "code": Conduct(rank=0, dnd=False, service=True),
        }
    ),
    needs=MappingProxyType(
        {"marketing": Needs(True), "care": Needs(), "code": Needs(opt_out=False)}
    ),
)
TERMS = Terms(RULES, ("sms", "kf"))


def person(*consents: Consent, wish: Preferences | None = None) -> Person:
    return Person(
        "c1",
        "c1",
        aliases=frozenset({"c1", "tel:1"}),
        consents=consents,
        preferences=wish or Preferences(),
    )


def said(channel: str, category: str = "*", state: str = "withdrawn", at: int = 5) -> Consent:
    return Consent(f"{channel}{category}{state}{at}", channel, category, state, at)  # type: ignore[arg-type]


def gates(one: Person) -> dict[str, str]:
    return {stop.gate: stop.rule for stop in stops(one, T0, TERMS)}


def under(*places: str, rule: str = "opted_out") -> dict[str, str]:
    return {f"person:{key}|{place}": rule for key in ("c1", "tel:1") for place in places}


def test_nothing_refused_is_nothing_to_stop() -> None:
    assert gates(person()) == gates(person(said("sms", state="granted"))) == {}


def test_a_refusal_of_everything_is_one_gate_for_each_category() -> None:
    assert gates(person(said("*"))) == under("marketing", "care")
    assert {stop.ttl_s for stop in stops(person(said("*")), T0, TERMS)} == {KEPT_S}


def test_one_channel_one_category_one_number() -> None:
    assert gates(person(said("sms"))) == under("marketing|sms", "care|sms")
    assert gates(person(said("*", "care"))) == under("care")
    assert gates(person(said("sms/1069"))) == under("marketing|#1069", "care|#1069")


def test_what_was_agreed_to_later_is_open() -> None:
    back = said("sms", state="granted", at=6)
    assert gates(person(said("*"), back)) == under("marketing|kf", "care|kf")
    assert gates(person(said("sms/1069"), back)) == {}
    assert gates(person(said("sms/1069", at=7), back)) == under("marketing|#1069", "care|#1069")


def test_service_only_and_mutes() -> None:
    assert gates(person(wish=Preferences(service_only=True))) == under(
        "marketing", rule="service_only"
    )
    muted = person(wish=Preferences(mutes=(Mute(T0 + 60_000), Mute(T0 + 90_000, ("kf",)))))
    assert gates(muted) == under(
        "marketing|sms", "care|sms", "marketing|kf", "care|kf", rule="muted"
    )
    assert {stop.ttl_s for stop in stops(muted, T0, TERMS)} == {60.0, 90.0}
    assert stops(muted, T0 + 90_000, TERMS) == []


def test_a_message_meets_every_gate_that_can_stand_for_it() -> None:
    assert gates_for("c1", "care", "sms", "1069") == (
        "person:c1|care",
        "person:c1|care|sms",
        "person:c1|care|#1069",
    )
    assert [refusable(RULES, name) for name in ("marketing", "care", "code", "gone")] == [
        True,
        True,
        False,
        True,
    ]


def test_what_the_customer_wrote_is_a_refusal_what_others_wrote_down_is_evidence() -> None:
    word = Consent("1", "sms", "*", "withdrawn", 5, source="east", by="opt_out/east")
    number = said("sms/1069")
    evidence, refusals = words_of(person(word, number, said("kf")))
    assert [one.channel for one in evidence] == ["kf"]
    assert [(one.channel, one.number, one.source) for one in refusals] == [
        ("sms", "", "east"),
        ("sms", "1069", ""),
    ]


# -- a change that the directory refuses ------------------------------------------------------------


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/s.db", ManualClock(T0))
    await store.open()
    await store.migrate()
    yield store
    await store.close()


A, B = "tel:+8613800138000", "tel:+8613900139000"
REFUSING = Consent("c9", "*", "*", "withdrawn", T0 - 5)
BLOCKING = Block("b1", "block", at=T0 - 5)
BY = By("crm", "k")


class Office:
    """The directory of one process over memory and a file, with a refusing and blocked `a`, and a `b` who is neither."""

    def __init__(self, store: Store) -> None:
        clock = ManualClock(T0)
        self.state = MemoryState(clock)
        self.directory = CustomerWrites(
            self.state, store, CustomerLookup(store, clock), clock, terms=lambda: TERMS
        )

    async def begin(self) -> None:
        for one, address in (("a", A), ("b", B)):
            await self.directory.put([Put(one, addresses=(Claim(address),))], BY)
        await self.directory.consent("a", [REFUSING], BY)
        await self.directory.block("a", BLOCKING, BY)

    async def stopped(self, key: str) -> str:
        """Why a message of care to this key does not leave, empty = it does."""
        gates = (gate(key), *gates_for(key, "care", "sms"))
        asked = Admit(Key(f"m_{key}", 0, 0, "channel"), gates, "w", 1.0)
        [answer] = await self.state.admit([asked])
        return answer.rule


async def test_a_link_that_is_refused_silences_nobody(store: Store) -> None:
    office = Office(store)
    await office.begin()
    wrong = Link("l1", "a", "b", "same id card", canonical="zz", at=T0)
    with pytest.raises(Refused):
        await office.directory.link(wrong, BY)
    assert [await office.stopped(key) for key in ("b", B)] == ["", ""]
    assert await office.stopped("a") == "blocked"
    await office.directory.unblock("a", "b1", BY)
    assert await office.stopped(A) == "opted_out"


async def test_an_address_that_is_refused_to_somebody_silent_speaks_for_its_holder(
    store: Store,
) -> None:
    office = Office(store)
    await office.begin()
    [answer] = await office.directory.put([Put("a", addresses=(Claim(B),))], BY)
    assert isinstance(answer, Refused)
    assert [await office.stopped(key) for key in ("b", B)] == ["", ""]
    assert await office.stopped("a") == "blocked"


async def test_a_block_written_while_another_is_lifted_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(store)
    await office.begin()
    known, begun = office.directory._known, False

    async def interleaved(customer: str) -> Person:
        nonlocal begun
        person = await known(customer)
        if not begun:
            begun = True
            await office.directory.block("a", Block("b2", "block", at=T0), BY)
        return person

    monkeypatch.setattr(office.directory, "_known", interleaved)
    await office.directory.unblock("a", "b1", BY)
    assert await office.stopped("a") == "blocked"
