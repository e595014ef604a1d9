"""The SMS channel against the simulated gateway: what it says of a message is what became of it.

Long because each thing that a gateway can do to a message is a short test on one stand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.sim.smsc import Options, Smsc
from adapters.sms import Sms, SmsSettings
from msgcenter.adapter import (
    Dispatch,
    Malformed,
    Received,
    Rejected,
    Retry,
    Secret,
    Sent,
    Unknown,
    Unreachable,
)
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Notice, Payload, Text
from tests.port import FakePort

LONG = "尊敬的客户，您办理的业务已生效。" * 32  # 512 characters, 8 parts


def sms(number: int, words: str = "您好", sender: str = "", prefix: str = "138") -> Dispatch:
    to = Address("tel", f"+86{prefix}{number:08d}")
    envelope = Envelope(f"msg_{number}", "crm", to, "care", 4, Text(words), 0)
    return Dispatch(envelope, envelope.token(), sender)


@dataclass
class World:
    far: Smsc
    port: FakePort
    adapter: Sms
    said: list[bool]

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        return await asyncio.wait_for(self.adapter.deliver(batch), 20)

    async def one(self, item: Dispatch) -> Outcome:
        return (await self.deliver([item]))[0]

    def taken(self) -> Counter[str]:
        return Counter(entry["recipient"] for entry in self.far.journal.entries())

    async def until_up(self, links: int = 1) -> None:
        await self.port.until(lambda: self.adapter.links_up >= links, 5)


@asynccontextmanager
async def world(protocol: str = "cmpp3", **changes: Any) -> AsyncIterator[World]:
    options = {"port": 0, "report_delay": 0.01, "protocol": protocol}
    far = Smsc(Options.model_validate(options | changes.pop("gateway", {})), Journal())
    await far.start()
    port = FakePort()
    settings = {
        "protocol": protocol, "host": "127.0.0.1", "port": far.port, "account": "901234",
        "secret": Secret("sandbox"), "src": "1069", "response_timeout_s": 0.5, "throttle_s": 0.05,
        "reconnect_min_s": 0.02, "reconnect_max_s": 0.2, "login_retry_s": 0.3,
    }  # fmt: skip
    adapter = Sms(SmsSettings.model_validate(settings | changes), port)
    try:
        async with kept(adapter) as said:
            yield World(far, port, adapter, said)
    finally:
        await far.stop()


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3"])
async def test_a_text_arrives_with_its_sender_and_its_receipt_joins(protocol: str) -> None:
    async with world(protocol) as it:
        outcome = await it.one(sms(1, "您的验证码 1234", sender="tel:+861069000188"))
        assert isinstance(outcome, Sent)
        (entry,) = it.far.journal.entries()
        assert entry["recipient"] == "13800000001"
        assert entry["sender"] == "1069000188"
        assert entry["text"] == "您的验证码 1234"
        assert outcome.remote_ids == (entry["id"],)
        await it.port.until(lambda: bool(it.port.reports))
        (report,) = it.port.reports
        assert report.report.remote_id == entry["id"]
        assert (report.report.state, report.report.code) == ("delivered", "DELIVRD")
        assert abs(report.report.at - it.port.clock.now_ms()) < 120_000
        assert report.recipient == Address("tel", "+8613800000001")
        await it.one(sms(2))
        assert it.far.journal.entries()[1]["sender"] == "1069"


async def test_a_long_chinese_text_is_one_message_in_parts() -> None:
    async with world() as it:
        outcomes = await it.deliver([sms(1, LONG), sms(2), sms(3, "x" * 500)])
        assert [type(outcome) for outcome in outcomes] == [Sent] * 3
        assert [len(outcome.remote_ids) for outcome in outcomes if isinstance(outcome, Sent)] == [
            8, 1, 4,
        ]  # fmt: skip
        entries = {entry["recipient"][-1]: entry for entry in it.far.journal.entries()}
        assert (entries["1"]["text"], entries["1"]["parts"]) == (LONG, 8)
        assert (entries["3"]["text"], entries["3"]["parts"]) == ("x" * 500, 4)
        sequences = [entry.sequence for entry in it.far.submits if entry.recipient.endswith("1")]
        assert sequences == list(range(sequences[0], sequences[0] + 8)), "consecutive"
        ids = {
            one for outcome in outcomes if isinstance(outcome, Sent) for one in outcome.remote_ids
        }
        await it.port.until(lambda: {one.report.remote_id for one in it.port.reports} == ids)


async def test_long_texts_to_one_phone_do_not_mix() -> None:
    async with world(connections=3) as it:
        await it.until_up(3)
        texts = [f"第{number}封" + LONG for number in range(12)]
        calls = [it.deliver([sms(1, words)]) for words in texts]
        outcomes = [outcome for answer in await asyncio.gather(*calls) for outcome in answer]
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
        assert sorted(entry["text"] for entry in it.far.journal.entries()) == sorted(texts)


async def test_the_window_is_kept_and_used() -> None:
    async with world(gateway={"window": 8, "response_delay": 0.02}, window=8) as it:
        start = it.port.clock.monotonic()
        calls = [
            it.deliver([sms(call * 100 + number) for number in range(40)]) for call in range(3)
        ]
        answers = await asyncio.gather(*calls)
        took = it.port.clock.monotonic() - start
        assert all(isinstance(outcome, Sent) for answer in answers for outcome in answer)
        assert it.far.window_violations == 0
        assert it.far.received_parts == 120
        assert took < 120 * 0.02 / 3, "one at a time would take 2.4 s"


async def test_refusals_follow_the_table() -> None:
    async with world(results={120: "temporary", 121: "recipient"}) as it:
        codes = {3: 1, 4: 5, 5: 13, 6: 10, 7: 199, 8: 120, 9: 121}
        it.far.faults.refuse = {f"138{number:08d}": code for number, code in codes.items()}
        outcomes = await it.deliver([sms(number) for number in range(10)])
        shown = [
            (type(o).__name__, getattr(o, "scope", ""), getattr(o, "code", "")) for o in outcomes
        ]
        assert shown[:3] == [("Sent", "", "")] * 3
        assert shown[3:] == [
            ("Rejected", "message", "protocol_fault"),
            ("Rejected", "account", "fee_code"),
            ("Rejected", "recipient", "bad_number"),
            ("Rejected", "account", "src_id"),
            ("Rejected", "message", "vendor_refused"),
            ("Retry", "message", "vendor_temporary"),
            ("Rejected", "recipient", "vendor_recipient"),
        ]
        assert sum(it.taken().values()) == 3


async def test_flow_control_before_any_part_is_a_retry_of_the_channel() -> None:
    async with world() as it:
        it.far.faults.throttle_fraction = 1.0
        outcomes = await it.deliver([sms(1), sms(2, LONG)])
        assert [getattr(outcome, "code", "") for outcome in outcomes] == ["throttled"] * 2
        for outcome in outcomes:
            assert isinstance(outcome, Retry)
            assert (outcome.scope, outcome.after) == ("channel", 0.05)
        assert it.far.received_parts == 0
        it.far.faults.throttle_fraction = 0.0
        assert isinstance(await it.one(sms(3)), Sent)


async def test_flow_control_in_the_middle_is_waited_out_inside() -> None:
    async with world(throttle_s=0.01) as it:
        it.far.faults.throttle_fraction = 0.5
        outcomes = await it.deliver([sms(number, LONG) for number in range(6)])
        whole = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Sent)]
        assert len(whole) >= 4
        for outcome in outcomes:
            assert isinstance(outcome, Sent | Retry), outcome
            if isinstance(outcome, Sent):
                assert len(set(outcome.remote_ids)) == 8
        entries = it.far.journal.entries()
        assert {entry["recipient"] for entry in entries} == {f"138{n:08d}" for n in whole}
        assert all(entry["text"] == LONG for entry in entries), "no part twice, none missing"
        assert it.far.received_parts == 8 * len(whole)


async def test_flow_control_without_end_leaves_a_begun_message_unknown() -> None:
    slow = {"response_delay": 0.03}
    async with world(throttle_s=0.01, throttle_tries=3, window=1, gateway=slow) as it:
        calls = asyncio.create_task(it.one(sms(1, LONG)))
        await it.port.until(lambda: it.far.received_parts >= 1)
        it.far.faults.throttle_fraction = 1.0
        outcome = await calls
        assert isinstance(outcome, Unknown)
        assert 1 <= len(outcome.remote_ids) == it.far.received_parts < 8


async def test_a_lost_answer_is_unknown_never_sent_again_and_late_answers_are_counted() -> None:
    async with world() as it:
        it.far.faults.response_delay = 1.0
        outcomes = await it.deliver([sms(number) for number in range(20)])
        kinds = Counter(type(outcome) for outcome in outcomes)
        assert kinds == {Unknown: 16, Retry: 4}, "the window left, the rest was given back"
        assert {getattr(one, "code", "") for one in outcomes[16:]} == {"not_handed_over"}
        it.far.faults.response_delay = 0.0
        assert isinstance(await it.one(sms(99)), Sent)
        await it.port.until(lambda: it.adapter.counts["late_response"] == 16)
        assert max(it.taken().values()) == 1
        assert sum(it.taken().values()) == 17


async def test_a_silent_gateway_gets_one_message_at_a_time() -> None:
    async with world(window=4) as it:
        it.far.faults.drop_responses = 1.0
        first = await it.deliver([sms(number) for number in range(10)])
        assert Counter(type(outcome) for outcome in first) == {Unknown: 4, Retry: 6}
        second = await it.deliver([sms(10 + number) for number in range(10)])
        assert Counter(type(outcome) for outcome in second) == {Unknown: 1, Retry: 9}
        it.far.faults.drop_responses = 0.0
        third = await it.deliver([sms(30 + number) for number in range(10)])
        assert Counter(type(outcome) for outcome in third) == {Sent: 10}


async def test_outcomes_and_the_gateway_agree_when_the_link_is_cut_in_a_batch() -> None:
    async with world(connections=2) as it:
        todo = {number: sms(number, LONG if number % 10 == 0 else "您好") for number in range(200)}
        results: dict[int, Outcome] = {}
        it.far.faults.unplug_every = 37
        unreachable = 0
        async with asyncio.timeout(30):
            while todo:
                numbers = list(todo)[:50]
                try:
                    outcomes = await it.adapter.deliver([todo[number] for number in numbers])
                except Unreachable:
                    unreachable += 1
                    await asyncio.sleep(0.02)
                    continue
                for number, outcome in zip(numbers, outcomes, strict=True):
                    if isinstance(outcome, Retry):
                        assert outcome.code == "not_handed_over"
                        continue
                    results[number] = outcome
                    del todo[number]
        parts = Counter(int(entry.recipient[3:]) for entry in it.far.submits)
        for number, outcome in results.items():
            whole = 8 if number % 10 == 0 else 1
            if isinstance(outcome, Sent):
                assert parts[number] == whole
                assert len(outcome.remote_ids) == whole
            else:
                assert isinstance(outcome, Unknown)
                assert len(outcome.remote_ids) <= parts[number] <= whole
        kinds = Counter(type(outcome) for outcome in results.values())
        assert kinds[Sent] > 100
        assert kinds[Unknown] > 0
        assert it.said.count(True) >= 1


async def test_a_flapping_link_sends_nothing_twice_and_only_a_window_is_unknown() -> None:
    async with world() as it:
        todo = {number: sms(number) for number in range(5000)}
        results: dict[int, Outcome] = {}

        async def flap() -> None:
            for number in range(20):
                await it.port.until(lambda: it.far.received_parts > 200 * (number + 1), 20)  # noqa: B023
                it.far.unplug(flush=True)

        flapping = asyncio.create_task(flap())
        async with asyncio.timeout(50):
            while todo:
                numbers = list(todo)[:100]
                try:
                    outcomes = await it.adapter.deliver([todo[number] for number in numbers])
                except Unreachable:
                    await asyncio.sleep(0.01)
                    continue
                for number, outcome in zip(numbers, outcomes, strict=True):
                    assert isinstance(outcome, Sent | Unknown | Retry)
                    if not isinstance(outcome, Retry):
                        results[number] = outcome
                        del todo[number]
            await flapping
        assert max(it.taken().values()) == 1
        unknown = {n for n, outcome in results.items() if isinstance(outcome, Unknown)}
        taken = {int(recipient[3:]) for recipient in it.taken()}
        assert set(results) - taken <= unknown, "Sent means taken"
        assert len(unknown) <= 20 * 16, "at most a window for each break"


async def test_up_and_down_are_told_and_it_comes_back_by_itself() -> None:
    async with world(connections=2) as it:
        await it.until_up(2)
        it.far.faults.down = True
        it.far.unplug()
        await it.port.until(lambda: it.adapter.links_up == 0)
        with pytest.raises(Unreachable):
            await it.deliver([sms(1)])
        it.far.faults.down = False
        await it.until_up(2)
        assert it.said == [True, False, True]
        assert it.port.gauges["links_up"] == 2
        assert isinstance(await it.one(sms(1)), Sent)


async def test_the_rest_of_a_batch_goes_over_the_next_connection() -> None:
    async with world(window=4, gateway={"response_delay": 0.02}, reconnect_min_s=0.3) as it:
        call = asyncio.create_task(it.deliver([sms(number) for number in range(60)]))
        await it.port.until(lambda: it.far.received_parts >= 10)
        it.far.unplug(flush=True)
        kinds = Counter(type(outcome) for outcome in await call)
        assert kinds[Sent] + kinds[Unknown] == 60
        assert kinds[Unknown] <= 4
        assert max(it.taken().values()) == 1


async def test_what_waits_too_long_to_be_written_is_given_back() -> None:
    async with world(window=1, gateway={"response_delay": 0.1}, queue_s=0.35) as it:
        outcomes = await it.deliver([sms(number) for number in range(20)])
        kinds = Counter(type(outcome) for outcome in outcomes)
        assert kinds[Unknown] == 0
        assert 3 <= kinds[Sent] <= 6
        assert sum(it.taken().values()) == kinds[Sent]
        assert {getattr(one, "code", "") for one in outcomes} == {"", "not_handed_over"}


async def test_a_half_open_link_is_found_and_left() -> None:
    async with world(active_test_s=0.1, active_test_timeout_s=0.1, active_tests=2) as it:
        it.far.faults.half_open = True
        outcomes = await it.deliver([sms(1), sms(2)])
        assert all(isinstance(outcome, Unknown) for outcome in outcomes)
        await it.port.until(lambda: it.adapter.links_up == 0)
        it.far.faults.half_open = False
        await it.until_up()
        assert isinstance(await it.one(sms(3)), Sent)


async def test_receipts_that_come_first_twice_or_elsewhere_pass_through() -> None:
    async with world(connections=2) as it:
        await it.until_up(2)
        faults = it.far.faults
        faults.early_reports = faults.duplicate_reports = faults.cross_reports = 1.0
        faults.report_width = 60
        faults.stat_by_number = {
            "13800000001": "MK:0001",
            "13800000002": "ACCEPTD",
            "13800000003": "UNKNOWN",
        }
        outcomes = await it.deliver([sms(number) for number in range(4)])
        ids = [outcome.remote_ids[0] for outcome in outcomes if isinstance(outcome, Sent)]
        await it.port.until(lambda: len(it.port.reports) >= 6)
        states = {one.report.remote_id: one.report for one in it.port.reports}
        assert states[ids[0]].state == "delivered"
        assert (states[ids[1]].state, states[ids[1]].code) == ("undelivered", "MK:0001")
        assert ids[2] not in states, "not final: not a report"
        assert states[ids[3]].state == "unknown"


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3"])
async def test_what_a_phone_writes_arrives_whole_and_once_its_parts_are_shuffled(
    protocol: str,
) -> None:
    async with world(protocol) as it:
        short = await it.far.inject_mo("8613912345678", "106900018", "TD")
        long = await it.far.inject_mo("13912345678", "106900018", LONG, shuffle=True, wide=True)
        assert short["delivered"]
        assert long["delivered"]
        first, second = it.port.received
        assert first.sender == second.sender == Address("tel", "+8613912345678")
        assert first.account_number == "106900018"
        assert first.payload == Text("TD")
        assert first.remote_id == short["ids"][0]
        assert second.payload == Text(LONG)
        assert second.remote_id == long["ids"][0]


async def test_half_a_long_message_goes_out_when_its_time_is_up() -> None:
    from protocols.cmpp import pdu as p
    from protocols.sms import text

    async with world(long_mo_s=0.3) as it:
        part = text.split(LONG, reference=9)[1]
        deliver = p.Deliver(0xABC, "1069", "13912345678", part.content, udhi=1)
        from adapters.sim.smsc.outbox import Outgoing as Injected

        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        it.far.outbox.add(Injected(deliver, done=done))
        await it.port.until(lambda: bool(it.port.received))
        payload = it.port.received[0].payload
        assert isinstance(payload, Text)
        assert payload.text in LONG
        assert len(payload.text) == 67
        assert await asyncio.wait_for(done, 5)
        assert it.adapter.counts["incomplete_long_message"] == 1


async def test_reports_are_confirmed_only_when_durable() -> None:
    async with world() as it:
        it.port.gate.clear()
        await it.deliver([sms(number) for number in range(5)])
        await it.port.until(lambda: it.port.tries > 0)
        await asyncio.sleep(0.1)
        assert it.far.counters["delivers_acknowledged"] == 0
        it.port.gate.set()
        await it.port.until(lambda: it.far.counters["delivers_acknowledged"] == 5)
        assert len(it.port.reports) == 5


async def test_a_refused_login_waits_and_does_not_hammer() -> None:
    async with world(login_retry_s=30.0) as it:
        it.far.faults.connect_status = 3
        it.far.unplug()
        await asyncio.sleep(0.6)
        assert it.adapter.links_up == 0
        assert len(it.far.connections) == 0
        assert it.port.tries == 0
        attempts = it.far._count
        await asyncio.sleep(0.5)
        assert it.far._count == attempts == 2, "one login, then the refused one"


async def test_too_many_connections_is_no_reason_to_give_up() -> None:
    async with world(connections=3, gateway={"max_connections": 2}) as it:
        await it.until_up(2)
        it.far.faults.max_connections = 0
        await it.until_up(3)


async def test_a_gateway_of_the_older_version_is_spoken_to_in_it() -> None:
    far = Smsc(Options.model_validate({"port": 0, "protocol": "cmpp2"}), Journal())
    await far.start()
    try:
        async with world("cmpp3") as it:
            settings = it.adapter.settings.model_copy(update={"port": far.port})
            other = Sms(settings, it.port)
            async with kept(other):
                (outcome,) = await other.deliver([sms(1, LONG)])
                assert isinstance(outcome, Sent)
        assert far.journal.entries()[0]["text"] == LONG
    finally:
        await far.stop()


async def test_drain_finishes_what_was_begun_and_says_goodbye() -> None:
    async with world(gateway={"response_delay": 0.05}) as it:
        call = asyncio.create_task(it.deliver([sms(0, LONG), *[sms(n) for n in range(1, 60)]]))
        await asyncio.sleep(0.02)
        await it.adapter.drain()
        outcomes = await call
        kinds = Counter(type(outcome) for outcome in outcomes)
        assert kinds[Unknown] == 0
        assert kinds[Sent] >= 9
        assert sum(it.taken().values()) == kinds[Sent]
        with pytest.raises(Unreachable):
            await it.adapter.deliver([sms(99)])
        assert it.far.counters["unplugged"] == 0
        assert not it.far.connections


async def test_a_cancelled_call_writes_nothing_more() -> None:
    async with world(window=2, gateway={"window": 2, "response_delay": 0.05}) as it:
        call = asyncio.create_task(it.deliver([sms(number) for number in range(50)]))
        await it.port.until(lambda: it.far.received_parts >= 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.2)
        assert it.far.received_parts <= 6
        assert isinstance(await it.one(sms(99)), Sent)


async def test_the_rate_is_kept_over_all_connections() -> None:
    async with world(rate=100, connections=2) as it:
        await it.until_up(2)
        start = it.port.clock.monotonic()
        calls = [it.deliver([sms(call * 100 + n) for n in range(30)]) for call in range(2)]
        answers = await asyncio.gather(*calls)
        took = it.port.clock.monotonic() - start
        assert all(isinstance(outcome, Sent) for answer in answers for outcome in answer)
        assert 0.4 < took < 3.0


@pytest.mark.parametrize(
    ("payload", "to"),
    [
        (Text(""), Address("tel", "+8613800000000")),
        (Text("长" * 20_000), Address("tel", "+8613800000000")),
        (Notice("e", "t", "{}"), Address("tel", "+8613800000000")),
        (Text("好"), Address("staff", "lihua")),
    ],
)
async def test_what_cannot_be_a_short_message_is_malformed_and_harms_no_other(
    payload: Payload, to: Address
) -> None:
    async with world() as it:
        envelope = Envelope("msg_x", "crm", to, "care", 4, payload, 0)
        with pytest.raises(Malformed):
            it.adapter.render(envelope)
        outcomes = await it.deliver([sms(1), Dispatch(envelope, "t"), sms(2)])
        assert [type(outcome) for outcome in outcomes] == [Sent, Rejected, Sent]
        odd = sms(3, sender="1" * 30)
        assert [type(one) for one in await it.deliver([odd, sms(4)])] == [Rejected, Sent]


async def test_signature_septets_and_country_prefix() -> None:
    async with world(signature="【移动】", ascii_septets=True, country_prefix=True) as it:
        it.far.options = it.far.options.model_copy(update={"max_octets": 160})
        it.far.submits_taken._options = it.far.options
        await it.deliver([sms(1, "您好"), sms(2, "【移动】您好")])
        texts = [entry["text"] for entry in it.far.journal.entries()]
        assert texts == ["【移动】您好"] * 2
        assert it.far.journal.entries()[0]["recipient"] == "8613800000001"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("13800000001", "tel:+8613800000001"),
        ("8613800000001", "tel:+8613800000001"),
        ("+8613800000001", "tel:+8613800000001"),
        ("008613800000001", "tel:+8613800000001"),
        ("1440012345678", "tel:+861440012345678"),
        ("0085261234567", "tel:+85261234567"),
        ("10086", "tel:+8610086"),
        ("MOBILE", "None"),
        ("", "None"),
    ],
)
def test_numbers(written: str, address: str) -> None:
    from adapters.sms.numbers import from_carrier, to_carrier

    found = from_carrier(written)
    assert str(found) == address
    if found is not None:
        assert from_carrier(to_carrier(found, False)) == found
        if len(written) >= 11:
            assert from_carrier(to_carrier(found, True)) == found


def test_on_uvloop_a_link_works_and_a_dead_gateway_leaves_nothing_to_wait_for() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with world() as it:
            assert isinstance(await it.one(sms(1)), Sent)
            await it.far.stop()
            await asyncio.sleep(0.5)  # connects fail; uvloop makes their protocols all the same
            async with asyncio.timeout(1):
                await it.adapter.drain()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_what_can_never_be_durable_is_set_aside_and_blocks_nobody() -> None:
    async with world() as it:
        await it.until_up()
        it.port.never = lambda item: isinstance(item, Received) and item.payload == Text("坏")
        words = ["一", "坏", "二", "三"]
        it.port.gate.clear()  # until all of them wait
        saying = [
            asyncio.create_task(it.far.inject_mo("13912345678", "106900018", one)) for one in words
        ]
        await asyncio.sleep(0)
        it.port.gate.set()
        told = await asyncio.wait_for(asyncio.gather(*saying), 20)
        assert all(one["delivered"] for one in told), "the gateway need not send any of them again"
        emitted = Counter(one.payload.text for one in it.port.emitted if isinstance(one, Received))
        assert emitted == Counter(["一", "二", "三"])
        [(kept, why)] = it.port.aside
        assert isinstance(kept, Received) and kept.payload == Text("坏")
        assert why == "ValueError: one of these cannot be made durable"
        assert it.adapter.counts["set_aside"] == 1 and not it.adapter._inbox.busy


async def test_while_the_bus_is_away_nothing_is_set_aside() -> None:
    async with world() as it:
        await it.until_up()
        it.port.never = lambda item: True
        it.port.refuse = 2  # once for emit, once for what is then set aside
        assert (await it.far.inject_mo("13912345678", "106900018", "坏"))["delivered"]
        assert it.port.refuse == 0 and len(it.port.aside) == 1 and not it.port.emitted
        it.port.never, it.port.refuse = lambda item: False, 1
        assert (await it.far.inject_mo("13912345678", "106900018", "好"))["delivered"]
        assert len(it.port.aside) == 1 and len(it.port.emitted) == 1
