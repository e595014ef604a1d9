"""Several suppliers in one channel: shares, a spare one, carriers, numbers that moved, and weights
that change while links stay.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from adapters.sim.smsc import Options, Smsc
from adapters.sms import Sms, SmsSettings
from adapters.sms.routing import Health
from msgcenter.adapter import Retry, Sent, TextFile, Unknown
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.payload import Text
from tests.port import FakePort
from tests.unit.adapters.test_sms import sms
from tests.unit.adapters.test_sms_family import terms


class Several:
    def __init__(self, far: dict[str, Smsc], port: FakePort, adapter: Sms) -> None:
        self.far, self.port, self.adapter = far, port, adapter

    def taken(self) -> dict[str, int]:
        return {name: far.received_parts for name, far in self.far.items()}

    async def until_up(self, links: int) -> None:
        await self.port.until(lambda: self.adapter.links_up >= links)


def settings_of(far: dict[str, Smsc], suppliers: dict[str, Any], **more: Any) -> SmsSettings:
    quick = {"breaker_failures": 2, "breaker_s": 0.3, "response_timeout_s": 0.2}
    top = terms("cmpp3", 0, **{**quick, **more})
    each = {
        name: {"protocol": own.get("protocol", "cmpp3"), **own, "port": far[name].port}
        for name, own in suppliers.items()
    }
    return SmsSettings.model_validate(top | {"suppliers": each})


@asynccontextmanager
async def several(suppliers: dict[str, dict[str, Any]], **more: Any) -> AsyncIterator[Several]:
    async with AsyncExitStack() as stack:
        far: dict[str, Smsc] = {}
        for name, own in suppliers.items():
            options = {"port": 0, "report_delay": 0.01, "protocol": own.get("protocol", "cmpp3")}
            far[name] = Smsc(Options.model_validate(options), Journal())
            await far[name].start()
            stack.push_async_callback(far[name].stop)
        port = FakePort()
        adapter = Sms(settings_of(far, suppliers, **more), port)
        await stack.enter_async_context(kept(adapter))
        it = Several(far, port, adapter)
        await it.until_up(len(suppliers))
        yield it


async def test_shares_of_protocols_and_a_phone_stays_with_its_supplier() -> None:
    async with several({"a": {"weight": 3}, "b": {"weight": 1, "protocol": "smpp"}}) as it:
        for _ in range(2):
            outcomes = [
                outcome
                for start in range(0, 400, 100)
                for outcome in await it.adapter.deliver([sms(start + n) for n in range(100)])
            ]
            assert all(isinstance(outcome, Sent) for outcome in outcomes)
        taken = it.taken()
        assert 540 < taken["a"] < 660
        for far in it.far.values():
            phones = [entry["recipient"] for entry in far.journal.entries()]
            assert len(phones) == 2 * len(set(phones)), "both times by the same"
        assert {outcome.detail for outcome in outcomes if isinstance(outcome, Sent)} == {
            "ucs2, parts 1, units 1, by a", "ucs2, parts 1, units 1, by b",
        }  # fmt: skip


async def test_weights_change_while_the_links_stay() -> None:
    suppliers = {"a": {"weight": 1}, "b": {"weight": 0}}
    async with several(suppliers) as it:
        await it.adapter.deliver([sms(number) for number in range(20)])
        assert it.taken() == {"a": 20, "b": 0}
        links = [far.connections for far in it.far.values()]
        now = settings_of(it.far, {"a": {"weight": 0}, "b": {"weight": 1}}, signature="【移动】")
        assert it.adapter.adopt(now)
        await it.adapter.deliver([sms(number) for number in range(20)])
        assert it.taken() == {"a": 20, "b": 20}
        assert it.far["b"].journal.entries()[0]["text"] == "【移动】您好"
        assert [far.connections for far in it.far.values()] == links
        assert not it.adapter.adopt(settings_of(it.far, {"a": {}, "b": {"window": 8}}))
        assert not it.adapter.adopt(settings_of(it.far, {"a": {}}))


async def test_a_silent_supplier_is_left_for_the_spare_one_and_tried_again() -> None:
    async with several({"a": {"window": 1}, "spare": {"backup": True}}) as it:
        it.far["a"].faults.drop_responses = 1.0
        unknown = 0
        for number in range(6):
            (outcome,) = await it.adapter.deliver([sms(number)])
            unknown += isinstance(outcome, Unknown)
        assert unknown == 2, "two in a row opened it"
        assert it.taken()["spare"] == 4
        assert it.adapter.counts["breaker_opened"] == 1
        it.far["a"].faults.drop_responses = 0.0
        a = it.adapter.suppliers["a"]
        await it.port.until(lambda: a.health() is Health.PROBE)
        assert [type(one) for one in await it.adapter.deliver([sms(9), sms(10)])] == [Sent, Sent]
        assert it.taken() == {"a": 3, "spare": 5}, "one tried it"
        await it.adapter.deliver([sms(11), sms(12)])
        assert it.taken() == {"a": 5, "spare": 5}


async def test_what_a_lost_supplier_left_unwritten_goes_by_the_other() -> None:
    async with several({"a": {}, "b": {"backup": True}}) as it:
        it.far["a"].faults.down = True
        it.far["a"].unplug()
        await it.port.until(lambda: it.adapter.links_up == 1)
        outcomes = await it.adapter.deliver([sms(number) for number in range(10)])
        assert [type(outcome) for outcome in outcomes] == [Sent] * 10
        assert it.taken() == {"a": 0, "b": 10}


@pytest.mark.parametrize("protocol", ["cmpp3", "smpp", "smgp"])
async def test_what_two_gateways_number_alike_is_told_apart(protocol: str) -> None:
    """Gateways count by themselves: one id may be two messages, and two words of two phones."""
    async with several({"main": {"protocol": protocol}, "b": {"protocol": protocol}}) as it:
        for far in it.far.values():
            far.submits_taken.new_id = itertools.count(0x1234_0000_0001).__next__  # type: ignore[method-assign]
        outcomes = await it.adapter.deliver([sms(number) for number in range(20)])
        phones = {
            outcome.remote_ids[0]: f"tel:+86138{number:08d}"
            for number, outcome in enumerate(outcomes)
            if isinstance(outcome, Sent)
        }
        assert len(phones) == 20
        bare = {one.removeprefix("b:") for one in phones}
        assert len(bare) < 20, "they did give the same"
        await it.port.until(lambda: len(it.port.reports) == 20)
        told = {one.report.remote_id: str(one.recipient) for one in it.port.reports}
        assert told == phones, "each receipt is of its own message"
        for name, far in it.far.items():
            far.submits_taken.new_id = itertools.count(0x5678_0000_0001).__next__  # type: ignore[method-assign]
            assert (await far.inject_mo("13912345678", "1069", f"TD {name}"))["delivered"]
        assert [one.payload for one in it.port.received] == [Text("TD main"), Text("TD b")]
        first, second = (one.remote_id for one in it.port.received)
        assert first != second
        if protocol == "cmpp3":
            assert second == f"b:{first}", "the one that was there alone keeps its ids"


CARRIERS: dict[str, dict[str, Any]] = {
    "cm": {"carriers": ["mobile"]},
    "cu": {"carriers": ["unicom"], "protocol": "smpp"},
}


async def test_each_carrier_by_its_own_and_nobody_elses() -> None:
    async with several(CARRIERS, ranges={"1380000001": "unicom"}) as it:
        batch = [sms(1), sms(2, prefix="186"), sms(11)]
        assert [type(one) for one in await it.adapter.deliver(batch)] == [Sent] * 3
        assert [e["recipient"] for e in it.far["cm"].journal.entries()] == ["13800000001"]
        assert [e["recipient"] for e in it.far["cu"].journal.entries()] == [
            "8618600000002", "8613800000011",
        ]  # fmt: skip
        it.far["cu"].faults.down = True
        it.far["cu"].unplug()
        await it.port.until(lambda: it.adapter.links_up == 1)
        late, sent = await asyncio.wait_for(it.adapter.deliver([sms(3, prefix="186"), sms(3)]), 20)
        assert isinstance(sent, Sent)
        assert isinstance(late, Retry)
        assert late.code == "not_handed_over"


async def test_a_receipt_that_says_moved_is_learned() -> None:
    async with several(CARRIERS) as it:
        it.far["cm"].faults.stats = {"NP:1243": 1.0}
        assert isinstance((await it.adapter.deliver([sms(1)]))[0], Sent)
        await it.port.until(lambda: bool(it.port.reports))
        await it.port.until(lambda: it.far["cm"].counters["delivers_acknowledged"] == 1)
        await it.adapter.deliver([sms(1), sms(2)])
        assert [e["recipient"] for e in it.far["cu"].journal.entries()] == ["8613800000001"]


@pytest.mark.parametrize("learned", ["unicom", "!"])
async def test_a_refusal_that_says_moved_sends_it_by_the_other_at_once(learned: str) -> None:
    codes = TextFile("gd.yaml", f"cmpp: {{ported: {{'9': '{learned}'}}}}")
    async with several(CARRIERS, codes=codes) as it:
        it.far["cm"].faults.refuse = {"13800000001": 9}
        outcomes = await it.adapter.deliver([sms(1), sms(2)])
        assert [type(outcome) for outcome in outcomes] == [Sent, Sent]
        assert it.taken() == {"cm": 1, "cu": 1}
        await it.adapter.deliver([sms(1)])
        assert it.taken() == {"cm": 1, "cu": 2}, "and later without asking again"
