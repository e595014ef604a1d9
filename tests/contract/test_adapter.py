"""The adapter contract, run on every installed adapter by way of its rig; an adapter without one
fails.

Adapters and rigs are found by entry point, so a third-party package runs the same suite: `pytest
tests/contract/test_adapter.py -k <kind>`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from typing import get_args

import pytest
from pydantic import BaseModel

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Rejected,
    Retry,
    Sent,
    Spec,
    Unknown,
    Unreachable,
)
from msgcenter.config.values import SecretReader
from msgcenter.rig import Rig, Running
from protocols.address import SCHEMES
from protocols.outcome import SCOPES, Outcome
from protocols.payload import (
    REPORT_STATES,
    CreateGroup,
    DissolveGroup,
    Payload,
    Pull,
    Text,
    UpdateGroup,
)
from tests.port import FakePort

ADAPTERS = {point.name: point for point in entry_points(group="msgcenter.adapters")}
RIGS = {point.name: point for point in entry_points(group="msgcenter.rigs")}
#: A rig may be named KIND.VARIANT: the same kind at another sort of far end.
KINDS = sorted(ADAPTERS.keys() | RIGS.keys())


def _named() -> list[str]:
    """Every kind, and every variant of its rig as `kind:variant`."""
    names = []
    for kind in KINDS:
        names.append(kind)
        variants = getattr(RIGS[kind].load(), "variants", ()) if kind in RIGS else ()
        names += [f"{kind}:{variant}" for variant in variants]
    return names


pytestmark = pytest.mark.parametrize("kind", _named())


class AnySecret(SecretReader):
    """Whatever a rig's settings refer to is there."""

    def __call__(self, kind: str, name: str) -> str:
        return f"{kind}-{name}"


def plain(kind: str) -> str:
    """Without the variant: of the rig's own (`sms:smpp`), or of a rig of its own (`push.jpush`)."""
    return kind.partition(":")[0].partition(".")[0]


def rig_of(kind: str) -> Rig:
    name, _, variant = kind.partition(":")
    if name not in RIGS:
        pytest.fail(f"adapter {name} has no rig: add one to the entry points msgcenter.rigs")
    cls = RIGS[name].load()
    rig: Rig = cls(variant) if variant else cls()
    return rig


def class_of(kind: str) -> type[Adapter]:
    adapter: type[Adapter] = ADAPTERS[plain(kind)].load()
    return adapter


def only_reads(kind: str) -> bool:
    """Takes doorbells and nothing else: no message can be given to it."""
    spec: Spec = class_of(kind).spec
    return spec.payloads == {Pull}


@pytest.fixture
def sends(kind: str) -> None:
    if plain(kind) in ADAPTERS and only_reads(kind):
        pytest.skip("only reads")


@asynccontextmanager
async def running(kind: str) -> AsyncIterator[tuple[Running, FakePort]]:
    port = FakePort(kind)
    try:
        async with asyncio.timeout(60), rig_of(kind).run(port) as far:
            yield far, port
    finally:
        await port.close()


async def deliver(adapter: Adapter, batch: Sequence[Dispatch]) -> list[Outcome]:
    """Deliver in calls of at most `max_batch`, checking the shape of every answer."""
    outcomes: list[Outcome] = []
    size = adapter.spec.max_batch
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        some = await adapter.deliver(part)
        assert len(some) == len(part), "one outcome each"
        for outcome in some:
            assert isinstance(outcome, Sent | Retry | Unknown | Rejected), outcome
            if isinstance(outcome, Retry | Rejected):
                assert outcome.scope in SCOPES
                assert outcome.code, f"a reason code is missing: {outcome}"
        outcomes += some
    return outcomes


async def insist(
    adapter: Adapter, batch: Sequence[Dispatch], seconds: float = 15.0
) -> list[Outcome]:
    """Deliver as the core would after a break: again what was definitely not sent, until none
    is.
    """
    outcomes: dict[int, Outcome] = {}
    left = list(range(len(batch)))
    async with asyncio.timeout(seconds):
        while left:
            try:
                some = await deliver(adapter, [batch[index] for index in left])
            except Unreachable:
                await asyncio.sleep(0.05)
                continue
            outcomes.update(zip(left, some, strict=True))
            left = [index for index in left if isinstance(outcomes[index], Retry)]
            if left:
                await asyncio.sleep(0.05)
    return [outcomes[index] for index in range(len(batch))]


def ids(batch: Sequence[Dispatch]) -> list[str]:
    return [item.envelope.id for item in batch]


def test_has_an_adapter_and_a_rig(kind: str) -> None:
    assert plain(kind) in ADAPTERS, f"rig {kind} belongs to no installed adapter"
    assert rig_of(kind).kind == plain(kind)


async def test_the_spec_is_truthful(kind: str) -> None:
    cls = class_of(kind)
    spec = cls.spec
    assert issubclass(cls, Adapter)
    assert issubclass(cls.Settings, BaseModel)
    settings, secrets = rig_of(kind).settings(), {"secrets": AnySecret({})}
    cls.Settings.model_validate(settings, context=secrets)
    with pytest.raises(ValueError, match="no_such_setting"):
        cls.Settings.model_validate({**settings, "no_such_setting": 1}, context=secrets)
    assert spec.kind == plain(kind)
    assert spec.title
    assert spec.payloads
    assert spec.payloads <= set(get_args(Payload))
    assert bool(spec.schemes) != only_reads(kind)
    assert spec.receives or not only_reads(kind)
    assert spec.schemes <= SCHEMES
    assert spec.receipts <= REPORT_STATES
    assert 1 <= spec.max_batch <= 1000
    assert spec.in_flight >= 1
    commands = {"create": CreateGroup, "update": UpdateGroup, "dissolve": DissolveGroup}
    assert spec.groups == {word for word, command in commands.items() if command in spec.payloads}
    assert not spec.groups or "group" in spec.schemes
    assert spec.resolves == (cls.resolve is not Adapter.resolve)
    async with running(kind) as (far, _):
        # What one channel can do may be less than what its kind can, never more but for `idempotent` and `resend`.
        own = far.adapter.spec
        assert (own.kind, own.max_batch) == (spec.kind, spec.max_batch)
        assert own.payloads <= spec.payloads
        assert own.schemes <= spec.schemes
        assert own.recall <= spec.recall
        if only_reads(kind):
            return
        for item in (far.dispatch(1), far.refused(2)):
            assert type(item.envelope.payload) in spec.payloads
            assert item.envelope.to.scheme in spec.schemes
        far.adapter.render(far.dispatch(1).envelope)


@pytest.mark.usefixtures("sends")
async def test_one_outcome_each_and_nothing_lost(kind: str) -> None:
    async with running(kind) as (far, _):
        batch = [far.dispatch(number) for number in range(20)]
        outcomes = await deliver(far.adapter, batch)
        assert [type(outcome) for outcome in outcomes] == [Sent] * 20
        assert Counter(far.received()) == Counter(ids(batch))


@pytest.mark.usefixtures("sends")
async def test_several_batches_at_once(kind: str) -> None:
    async with running(kind) as (far, _):
        spec = far.adapter.spec
        size = min(spec.max_batch, 25)
        calls = min(spec.in_flight, 4)
        batches = [
            [far.dispatch(call * 100 + number) for number in range(size)] for call in range(calls)
        ]
        answers = await asyncio.gather(*[deliver(far.adapter, batch) for batch in batches])
        assert all(isinstance(outcome, Sent) for answer in answers for outcome in answer)
        every = [item for batch in batches for item in batch]
        assert Counter(far.received()) == Counter(ids(every))


@pytest.mark.usefixtures("sends")
async def test_a_refused_recipient_harms_no_other(kind: str) -> None:
    async with running(kind) as (far, _):
        batch = [far.dispatch(1), far.refused(2), far.dispatch(3), far.dispatch(4)]
        outcomes = await deliver(far.adapter, batch)
        assert isinstance(outcomes[1], Rejected | Retry)
        assert outcomes[1].scope in ("recipient", "message")
        assert [type(outcomes[index]) for index in (0, 2, 3)] == [Sent] * 3
        assert Counter(far.received()) == Counter(ids([batch[0], batch[2], batch[3]]))


@pytest.mark.usefixtures("sends")
async def test_unplugged_nothing_leaves_and_it_comes_back(kind: str) -> None:
    async with running(kind) as (far, _):
        batch = [far.dispatch(number) for number in range(3)]
        assert all(isinstance(one, Sent) for one in await deliver(far.adapter, batch[:1]))
        await far.unplug()
        for _ in range(2):
            try:
                outcomes = await deliver(far.adapter, batch[1:])
            except Unreachable:
                continue
            assert all(isinstance(outcome, Retry) for outcome in outcomes), outcomes
        await far.plug()
        outcomes = await insist(far.adapter, batch[1:])
        assert all(isinstance(outcome, Sent) for outcome in outcomes), outcomes
        assert Counter(far.received()) == Counter(ids(batch))


@pytest.mark.usefixtures("sends")
async def test_a_lost_answer_is_unknown(kind: str) -> None:
    async with running(kind) as (far, _):
        await far.lose_answer()
        first, second = far.dispatch(1), far.dispatch(2)
        outcomes = await deliver(far.adapter, [first])
        assert [type(outcome) for outcome in outcomes] == [Unknown]
        assert list(far.received()) == ids([first])
        outcomes = await insist(far.adapter, [second])
        assert [type(outcome) for outcome in outcomes] == [Sent]
        if far.adapter.spec.idempotent:
            again = await insist(far.adapter, [first])
            assert [type(outcome) for outcome in again] == [Sent]
        assert Counter(far.received()) == Counter(ids([first, second]))


@pytest.mark.usefixtures("sends")
async def test_a_repeat_has_one_effect_where_the_spec_says_so(kind: str) -> None:
    async with running(kind) as (far, _):
        if not far.adapter.spec.idempotent:
            pytest.skip("the far end does not know repeats")
        item = far.dispatch(1)
        for _ in range(3):
            assert [type(one) for one in await deliver(far.adapter, [item])] == [Sent]
        assert list(far.received()) == ids([item])


@pytest.mark.usefixtures("sends")
async def test_receipts_join_by_remote_id(kind: str) -> None:
    async with running(kind) as (far, port):
        spec = far.adapter.spec
        if not spec.receipts:
            pytest.skip("no receipts")
        outcomes = await deliver(far.adapter, [far.dispatch(number) for number in range(5)])
        sent = {
            one for outcome in outcomes if isinstance(outcome, Sent) for one in outcome.remote_ids
        }
        assert len(sent) >= 5
        await port.until(lambda: {one.report.remote_id for one in port.reports} >= sent, 10)
        for one in port.reports:
            assert one.report.state in spec.receipts | {"unknown"}


async def test_what_a_person_says_is_confirmed_only_when_durable(kind: str) -> None:
    async with running(kind) as (far, port):
        if not far.adapter.spec.receives:
            pytest.skip("receives nothing")
        port.gate.clear()
        saying = asyncio.create_task(far.say("您好"))
        await port.until(lambda: port.tries > 0)
        await asyncio.sleep(0.1)
        assert not saying.done(), "confirmed before it was durable"
        port.gate.set()
        await asyncio.wait_for(saying, 15)
        first = port.received[0]
        assert first.payload == Text("您好")
        assert first.remote_id
        assert first.at > 0
        assert first.account_number

        port.refuse = 1
        tries = port.tries
        await asyncio.wait_for(far.say("再见"), 15)
        assert port.tries > tries + 1, "confirmed although it could not be made durable"
        later = [one for one in port.received if one.payload == Text("再见")]
        assert len({one.remote_id for one in later}) == 1
        assert later[0].remote_id != first.remote_id
        assert later[0].sender == first.sender


@pytest.mark.usefixtures("sends")
async def test_drain_lets_what_is_under_way_finish(kind: str) -> None:
    async with running(kind) as (far, _):
        size = min(far.adapter.spec.max_batch, 20)
        batch = [far.dispatch(number) for number in range(size)]
        under_way = asyncio.create_task(deliver(far.adapter, batch))
        await asyncio.sleep(0)
        await far.adapter.drain()
        try:
            outcomes = await under_way
        except Unreachable:
            outcomes = [Retry("channel", "", code="drained")] * size
        sent = [
            item.envelope.id
            for item, outcome in zip(batch, outcomes, strict=True)
            if isinstance(outcome, Sent)
        ]
        assert not any(isinstance(outcome, Unknown) for outcome in outcomes)
        assert Counter(far.received()) == Counter(sent)
