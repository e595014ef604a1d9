"""The State contract: tokens, leases, epoch, and that all implementations give the same answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from msgcenter.clock import ManualClock
from msgcenter.state import (
    EVIDENCE,
    Accepted,
    Admit,
    Begin,
    Conclude,
    Leases,
    Mark,
    Receipt,
    State,
    Suppression,
)
from msgcenter.state.memory import MemoryState
from protocols.envelope import Key
from tests.contract.state_rig import KINDS, Rig, ask, message, opened

NAMES = [f"p{number}" for number in range(16)]


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


# -- tokens ---------------------------------------------------------------------------------------


async def test_a_bucket_gives_its_burst_then_its_rate(rig: Rig) -> None:
    state = rig.state
    grant = await state.tokens("b", want=3, rate=20, burst=5)
    assert (grant.granted, grant.wait_s) == (3, 0)
    grant = await state.tokens("b", want=3, rate=20, burst=5)
    assert grant.granted == 2
    assert 0 < grant.wait_s <= 0.05
    await rig.later(grant.wait_s)
    assert (await state.tokens("b", want=1, rate=20, burst=5)).granted == 1
    await rig.later(0.4)
    assert (await state.tokens("b", want=50, rate=20, burst=5)).granted == 5, (
        "never above the burst"
    )
    assert (await state.tokens("other", want=1, rate=20, burst=5)).granted == 1
    assert (await state.tokens("b", want=0, rate=20, burst=5)).granted == 0
    for rate, burst in ((0.0, 5.0), (-1.0, 5.0), (1.0, 0.5)):
        with pytest.raises(ValueError, match="token bucket"):
            await state.tokens("b", want=1, rate=rate, burst=burst)


async def test_a_bucket_without_a_rate_holds_its_burst_once(rig: Rig) -> None:
    state = rig.state
    grant = await state.tokens("day", want=30, rate=0, burst=100, lasts_s=60)
    assert (grant.granted, grant.left) == (30, 70)
    grant = await state.tokens("day", want=0, rate=0, burst=50, lasts_s=60)
    assert (grant.granted, grant.left) == (0, 20), "what was taken stays taken when it shrinks"
    grant = await state.tokens("day", want=150, rate=0, burst=150, lasts_s=0.3)
    assert (grant.granted, grant.left) == (120, 0)
    assert grant.wait_s > 0
    assert (await state.tokens("day", want=1, rate=0, burst=150, lasts_s=0.3)).granted == 0
    await rig.later(0.5)
    assert (await state.tokens("day", want=1, rate=0, burst=150, lasts_s=60)).granted == 1


async def test_a_clock_that_was_set_back_freezes_no_bucket() -> None:
    """On Redis its own clock counts; nobody can set that back here."""

    class SetBack(ManualClock):
        back_ms = 0

        def now_ms(self) -> int:
            return super().now_ms() - self.back_ms

    clock = SetBack()
    state = MemoryState(clock)
    assert (await state.tokens("b", want=5, rate=1, burst=5)).granted == 5
    clock.back_ms = 3_600_000
    assert (await state.tokens("b", want=1, rate=1, burst=5)).granted == 0
    await clock.advance(2.0)
    assert (await state.tokens("b", want=5, rate=1, burst=5)).granted == 2


async def test_many_processes_share_one_bucket(rig: Rig) -> None:
    states = [rig.new() for _ in range(4)]
    # At 0.01 a second nothing is added while the test runs.
    grants = await asyncio.gather(
        *(states[n % 4].tokens("b", want=3, rate=0.01, burst=100) for n in range(50))
    )
    assert sum(grant.granted for grant in grants) == 100
    assert all(grant.wait_s > 0 for grant in grants if grant.granted < 3)


# -- leases ---------------------------------------------------------------------------------------


class Group:
    """Owners that believe what their last answer said, until its time is over."""

    def __init__(self, rig: Rig, ttl_s: float) -> None:
        self.rig = rig
        self.ttl_s = ttl_s
        self.held: dict[str, frozenset[str]] = {}
        self.members = 0
        self._states: dict[str, State] = {}

    async def call(self, owner: str, names: list[str] = NAMES) -> Leases:
        state = self._states.setdefault(owner, self.rig.new())
        leases = await state.lease("g", owner, names, self.ttl_s)
        self.held[owner] = leases.held
        self.members = leases.members
        seen = [name for held in self.held.values() for name in held]
        assert len(seen) == len(set(seen)), "a name with two holders"
        return leases

    async def settle(self, *owners: str, names: list[str] = NAMES) -> None:
        for _ in range(4):
            for owner in owners:
                await self.call(owner, names)
        sizes = sorted(len(self.held[owner]) for owner in owners)
        assert sum(sizes) == len(names), "a name without holder"
        assert sizes[-1] <= math.ceil(len(names) / len(owners))
        assert sizes[0] >= len(names) // len(owners)
        assert self.members == len(owners)


async def test_names_are_shared_out_as_owners_join_leave_and_crash(rig: Rig) -> None:
    group = Group(rig, 1.0)
    assert await group.call("a") == Leases(frozenset(NAMES), 1)
    assert await group.call("b") == Leases(frozenset(), 2)
    await group.settle("a", "b")
    await group.settle("a", "b", "c")
    await group.settle("a", "b", "c", "d", "e")
    assert await group.call("d", []) == Leases(frozenset(), 4)
    await group.settle("a", "b", "c", "e")
    await group.settle("a", "b", "c", "e", names=NAMES[:3])
    await group.settle("a", "b", "c", "e")
    # b and c crash. Until their time is over nobody takes what they hold.
    for _ in range(3):
        await group.call("a")
        await group.call("e")
    assert len(group.held["a"] | group.held["e"]) == 8
    await rig.later(1.0)
    group.held.clear()  # the time of a and e is over too
    await group.settle("a", "e")
    assert (await rig.state.lease("another", "z", ["p0"], 1)).held == {"p0"}


async def test_a_name_is_not_given_away_before_its_holder_knows(rig: Rig) -> None:
    group = Group(rig, 0.4)
    await group.call("a")
    await group.call("b")
    assert len((await group.call("a")).held) == 8
    assert (await group.call("b")).held == frozenset(), "a's answer may still be under way"
    await group.call("a")
    assert len((await group.call("b")).held) == 8


async def test_a_restarted_owner_and_an_empty_group(rig: Rig) -> None:
    state = rig.state
    assert await state.lease("g", "a", [], 5) == Leases(frozenset(), 0)
    assert (await state.lease("g", "a", ["x", "x", "y"], 5)).held == {"x", "y"}
    assert (await rig.new().lease("g", "a", ["x", "y"], 5)).held == {"x", "y"}
    assert (await rig.new().lease("g", "a", ["y", "z"], 5)).held == {"y", "z"}


@pytest.mark.parametrize("seed", range(3))
async def test_random_joins_and_leaves_never_give_a_name_two_holders(rig: Rig, seed: int) -> None:
    rng = Random(seed)
    group = Group(rig, 30.0)
    live: set[str] = set()
    for _ in range(60):
        owner = rng.choice("abcdef")
        if rng.random() < 0.2:
            live.discard(owner)
            await group.call(owner, [])
        else:
            live.add(owner)
            await group.call(owner)
    live.add("a")
    await group.settle(*sorted(live))


# -- epoch ----------------------------------------------------------------------------------------


async def test_the_epoch_is_written_once(rig: Rig) -> None:
    epochs = await asyncio.gather(*(rig.new().epoch() for _ in range(5)))
    assert len(set(epochs)) == 1
    assert len(epochs[0]) >= 16
    await rig.state.ping()


# -- all the same ---------------------------------------------------------------------------------


def random_call(rng: Random, messages: list[str]) -> tuple[str, list[object]]:
    """A verb and a batch for it, over few enough things that they meet; no verb that measures time."""

    def one_key() -> Key:
        return Key(rng.choice(messages), rng.randrange(2), rng.randrange(2), rng.choice("ab"))

    def marks() -> tuple[Mark, ...]:
        return tuple(
            Mark(
                rng.choice(messages), rng.randrange(2), 0, rng.randrange(3),
                rng.choice(EVIDENCE), rng.choice(["", "E1"]), rng.randrange(4),
            )
            for _ in range(rng.choice([0, 0, 1, 1, 3]))
        )  # fmt: skip

    def gate() -> str:
        return rng.choice([f"message:{rng.choice(messages)}", "campaign:x", "account:y"])

    def gated(one: Key) -> Admit:
        gates = ["account:y", "campaign:x", f"message:{one.message}"]
        return ask(one, *rng.sample(gates, 2), deadline_s=600)

    def remote() -> str:
        return rng.choice("pqrstu")

    makers = {
        "begin": lambda: Begin("c", rng.choice("kl"), rng.choice("fg"), rng.choice(messages), 600),
        "accepted": lambda: Accepted(
            rng.choice(messages), b"m%d" % rng.randrange(9), "c", rng.choice(["", "k"]), b"ans"
        ),
        "replay": one_key,
        "admit": lambda: gated(one_key()),
        "conclude": lambda: Conclude(
            one_key(), rng.choice([b"sent", b"unknown"]), rng.choice(["", "queued", "sent"]),
            rng.randrange(5), marks(), "s",
            tuple((remote(), part) for part in range(rng.randrange(3))),
            rng.choice(["", "", "tel:1", "tel:2"]), 9_000_000_000_000,
        ),
        "release": one_key,
        "correlate": lambda: Receipt("s", remote(), rng.choice(["", "tel:1", "tel:2"])),
        "get_many": lambda: rng.choice(messages),
        "suppress": lambda: Suppression(gate(), rng.choice(["stop", "cancelled"]), 0.0, rng.random() < 0.3),
        "unsuppress": gate,
    }  # fmt: skip
    verb = rng.choice(sorted(makers))
    return verb, [makers[verb]() for _ in range(rng.choice([0, 1, 1, 2, 5]))]


def comparable(answer: object) -> object:
    if isinstance(answer, list):
        return [comparable(one) for one in answer]
    verdict = getattr(answer, "verdict", "")
    return verdict if verdict in {"claimed", "abandoned"} else answer


@pytest.mark.parametrize("seed", range(4))
async def test_every_implementation_answers_as_the_one_in_memory(rig: Rig, seed: int) -> None:
    """Random batches, with repeats inside and between; per shard the order inside a batch is kept."""
    rng = Random(seed)
    model = MemoryState(ManualClock())
    messages = [message() for _ in range(4)]
    for _ in range(150):
        verb, batch = random_call(rng, messages)
        if rig.kind not in {"memory", "sqlite", "redis"}:
            batch = batch[:1]  # a batch over several shards is several steps in no given order
        said = await getattr(rig.state, verb)(batch)
        expected = await getattr(model, verb)(batch)
        assert comparable(said) == comparable(expected), (verb, batch)
    assert await rig.state.get_many(messages) == await model.get_many(messages)
