"""What the carrier protocols have in common, on each of them against its simulated gateway; and what
only one of them has.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from adapters.sim.smsc import Options, Smsc
from adapters.sms import Sms, SmsSettings
from msgcenter.adapter import Malformed, Retry, Secret, Sent, Unreachable
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.payload import Text
from tests.port import FakePort
from tests.unit.adapters.test_sms import LONG, World, sms

ALL = ["cmpp2", "cmpp3", "smpp", "sgip", "smgp"]
OTHERS = ["smpp", "sgip", "smgp"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def terms(protocol: str, port: int, **changes: Any) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if protocol == "sgip":
        more["sgip"] = {"node": 3_075_500_001, "corp_id": "00001"}
    return {
        "protocol": protocol, "host": "127.0.0.1", "port": port, "account": "901234",
        "secret": Secret("sandbox"), "src": "1069", "response_timeout_s": 0.5, "throttle_s": 0.05,
        "reconnect_min_s": 0.02, "reconnect_max_s": 0.2, "login_retry_s": 0.3, **more, **changes,
    }  # fmt: skip


@asynccontextmanager
async def family(protocol: str, **changes: Any) -> AsyncIterator[World]:
    options = {"port": 0, "report_delay": 0.01, "protocol": protocol}
    gateway = changes.pop("gateway", {})
    if protocol == "sgip":
        options["sp_port"] = free_port()
        changes.setdefault("listen", {"port": options["sp_port"]})
    far = Smsc(Options.model_validate(options | gateway), Journal())
    await far.start()
    port = FakePort()
    adapter = Sms(SmsSettings.model_validate(terms(protocol, far.port, **changes)), port)
    try:
        async with kept(adapter) as said:
            yield World(far, port, adapter, said)
    finally:
        await far.stop()


def digits(entry: Any) -> str:
    return str(entry["recipient"]).removeprefix("86")


@pytest.mark.parametrize("protocol", ALL)
async def test_texts_arrive_whole_with_their_sender_and_their_receipts_join(protocol: str) -> None:
    async with family(protocol) as it:
        texts = ["您的验证码 1234", LONG, "hello", "x" * 500, "混合 mixed €" * 30]
        batch = [sms(n, words, sender="tel:+861069000188") for n, words in enumerate(texts)]
        outcomes = await it.deliver(batch)
        assert [type(outcome) for outcome in outcomes] == [Sent] * len(texts)
        entries = {digits(entry): entry for entry in it.far.journal.entries()}
        for number, words in enumerate(texts):
            entry = entries[f"138{number:08d}"]
            assert (entry["text"], entry["sender"]) == (words, "1069000188")
            outcome = outcomes[number]
            assert isinstance(outcome, Sent)
            assert len(outcome.remote_ids) == entry["parts"]
            assert f"parts {entry['parts']}, units" in outcome.detail
        ids = {one for outcome in outcomes for one in outcome.remote_ids}  # type: ignore[union-attr]
        assert len(ids) == sum(entry["parts"] for entry in entries.values())
        await it.port.until(lambda: {one.report.remote_id for one in it.port.reports} == ids)
        for report in it.port.reports:
            assert report.report.state == "delivered"
            assert report.recipient in {item.envelope.to for item in batch}


@pytest.mark.parametrize("protocol", ALL)
async def test_500_characters_with_emoji_on_the_edges_of_parts_arrive_intact(protocol: str) -> None:
    texts = []
    for shift in range(3):  # one of these has the pair across the edge, whatever a part holds
        text = "套" * shift + "".join("餐" * 64 + "😀👍" for _ in range(8))
        texts.append(text[:498] + "😀。")
    assert {len(text) for text in texts} == {500}
    async with family(protocol) as it:
        outcomes = await it.deliver([sms(n, words) for n, words in enumerate(texts)])
        assert [type(outcome) for outcome in outcomes] == [Sent] * len(texts)
        shown = {digits(entry): entry for entry in it.far.journal.entries()}
        for number, words in enumerate(texts):
            entry = shown[f"138{number:08d}"]
            assert entry["text"] == words
            assert entry["parts"] > 7
        for words in texts:  # and the other way
            assert (await it.far.inject_mo("13912345678", "106900018", words))["delivered"]
        assert [one.payload for one in it.port.received] == [Text(words) for words in texts]


@pytest.mark.parametrize("protocol", ALL)
async def test_early_and_repeated_receipts_and_failures_have_their_message(protocol: str) -> None:
    async with family(protocol) as it:
        faults = it.far.faults
        faults.early_reports = faults.duplicate_reports = 1.0
        faults.stat_by_number = {"13800000001": "EXPIRED", "13800000002": "ACCEPTD"}
        outcomes = await it.deliver([sms(number) for number in range(4)])
        ids = [outcome.remote_ids[0] for outcome in outcomes if isinstance(outcome, Sent)]
        assert len(ids) == 4
        await it.port.until(lambda: len(it.port.reports) >= 6)
        states = {one.report.remote_id: one.report.state for one in it.port.reports}
        assert states == {ids[0]: "delivered", ids[1]: "undelivered", ids[3]: "delivered"}


@pytest.mark.parametrize("protocol", ALL)
async def test_what_a_phone_writes_arrives_whole_and_once(protocol: str) -> None:
    async with family(protocol) as it:
        for words, shuffle in (("TD", False), (LONG, True), ("TD", False)):
            done = await it.far.inject_mo("8613912345678", "106900018", words, shuffle=shuffle)
            assert done["delivered"]
        texts = [one.payload for one in it.port.received]
        assert texts == [Text("TD"), Text(LONG), Text("TD")], "the same again is another message"
        assert len({one.remote_id for one in it.port.received}) == 3
        assert {one.sender for one in it.port.received} == {Address("tel", "+8613912345678")}
        assert {one.account_number for one in it.port.received} == {"106900018"}


@pytest.mark.parametrize("protocol", ALL)
async def test_a_message_that_is_delivered_again_has_the_name_it_had(protocol: str) -> None:
    async with family(protocol, gateway={"deliver_timeout": 0.2, "deliver_tries": 5}) as it:
        it.port.gate.clear()
        saying = asyncio.create_task(it.far.inject_mo("13912345678", "106900018", "查话费"))
        await it.port.until(lambda: it.far.counters["delivers_sent"] >= 2)
        it.port.gate.set()
        assert (await saying)["delivered"]
        await asyncio.sleep(0.3)
        assert len(it.port.received) >= 1
        assert len({one.remote_id for one in it.port.received}) == 1


@pytest.mark.parametrize("protocol", ALL)
async def test_refusals_and_flow_control_follow_the_table(protocol: str) -> None:
    async with family(protocol) as it:
        results = it.far.dialect.results
        it.far.faults.refuse = {"13800000001": results.number, "13800000002": results.flow}
        shown = [
            (type(one).__name__, getattr(one, "scope", ""), getattr(one, "code", ""))
            for one in await it.deliver([sms(number) for number in range(3)])
        ]
        assert shown == [
            ("Sent", "", ""), ("Rejected", "recipient", "bad_number"),
            ("Retry", "channel", "throttled"),
        ]  # fmt: skip
        (supplier,) = it.adapter.suppliers.values()
        assert supplier.pace.rate < 1000, "it goes slower now"


@pytest.mark.parametrize("protocol", OTHERS)
async def test_outcomes_and_the_gateway_agree_when_the_link_is_cut(protocol: str) -> None:
    async with family(protocol, connections=2) as it:
        it.far.faults.unplug_every = 37
        todo = {number: sms(number, LONG if number % 10 == 0 else "您好") for number in range(100)}
        sent: set[int] = set()
        async with asyncio.timeout(30):
            while todo:
                numbers = list(todo)[:50]
                try:
                    outcomes = await it.adapter.deliver([todo[number] for number in numbers])
                except Unreachable:
                    await asyncio.sleep(0.02)
                    continue
                for number, outcome in zip(numbers, outcomes, strict=True):
                    if not isinstance(outcome, Retry):
                        del todo[number]
                        if isinstance(outcome, Sent):
                            sent.add(number)
        parts = Counter(int(one.recipient.removeprefix("86")[3:]) for one in it.far.submits)
        assert len(sent) > 50
        for number in sent:
            assert parts[number] == (8 if number % 10 == 0 else 1)


@pytest.mark.parametrize("protocol", OTHERS)
async def test_a_refused_login_is_not_hammered(protocol: str) -> None:
    async with family(protocol, login_retry_s=30.0) as it:
        it.far.options = it.far.dialect._options = it.far.options.model_copy(  # type: ignore[attr-defined]
            update={"secret": "another"}
        )
        it.far.unplug()
        await it.port.until(lambda: it.far.counters.total() > 0 and it.adapter.links_up == 0)
        await asyncio.sleep(0.5)
        refused = [n for name, n in it.far.counters.items() if name.startswith("login_status")]
        assert refused == [1]


@pytest.mark.parametrize("protocol", ["smpp", "smgp"])
async def test_a_connection_for_each_direction(protocol: str) -> None:
    async with family(protocol, login="pair") as it:
        await it.port.until(lambda: len(it.far.connections) == 2)
        assert it.adapter.links_up == 1, "the one that receives carries nothing out"
        assert isinstance(await it.one(sms(1)), Sent)
        await it.port.until(lambda: bool(it.port.reports))


@pytest.mark.parametrize("how", ["sar", "payload"])
async def test_long_texts_the_other_ways_of_smpp(how: str) -> None:
    async with family("smpp", smpp={"long": how}) as it:
        outcome = await it.one(sms(1, LONG))
        assert isinstance(outcome, Sent)
        assert it.far.journal.entries()[0]["text"] == LONG
        assert len(outcome.remote_ids) == (1 if how == "payload" else 8)


async def test_receipts_in_another_base_join() -> None:
    async with family("smpp", smpp={"receipt_ids": "decimal"}) as it:
        it.far.faults.decimal_receipts = it.far.faults.plain_receipts = True
        outcome = await it.one(sms(1))
        assert isinstance(outcome, Sent)
        await it.port.until(lambda: bool(it.port.reports))
        assert it.port.reports[0].report.remote_id == outcome.remote_ids[0]


async def test_an_sgip_gateway_that_does_not_know_the_secret_is_not_listened_to() -> None:
    secret = {"node": 3_075_500_001, "corp_id": "00001", "listen_secret": Secret("other")}
    async with family("sgip", sgip=secret) as it:
        assert isinstance(await it.one(sms(1)), Sent)
        await it.port.until(lambda: it.adapter.counts["login_refused_here"] >= 1)
        assert not it.port.reports


async def test_an_sgip_gateway_from_elsewhere_is_not_listened_to() -> None:
    port = free_port()
    listen = {"port": port, "allow": ["10.0.0.0/8"]}
    async with family("sgip", gateway={"sp_port": port}, listen=listen) as it:
        assert isinstance(await it.one(sms(1)), Sent)
        await it.port.until(lambda: it.adapter.counts["listen_refused"] >= 1)
        assert not it.port.reports


@pytest.mark.parametrize(("protocol", "coding"), [("cmpp3", "ucs2"), ("smgp", "gbk")])
async def test_content_rules_come_before_the_parts(protocol: str, coding: str) -> None:
    rules = {"signature": "【移动】", "opt_out": "，拒收请回复R", "max_parts": 2}
    async with family(protocol, **rules) as it:
        item = sms(1, "大促")
        marketing = type(item)(_with(item.envelope, "marketing"), item.token)
        outcomes = await it.deliver([item, marketing, sms(2, "好" * 130), sms(3, "好" * 131)])
        texts = [entry["text"] for entry in it.far.journal.entries()]
        assert texts[:2] == ["【移动】大促", "【移动】大促，拒收请回复R"]
        assert outcomes[2].detail == f"{coding}, parts 2, units 2"  # type: ignore[union-attr]
        assert outcomes[3].detail.startswith("max_parts: 135 characters make 3 parts")  # type: ignore[union-attr]
        with pytest.raises(Malformed, match="max_parts"):
            it.adapter.render(sms(3, "好" * 131).envelope)


def _with(envelope: Any, category: str) -> Any:
    from dataclasses import replace

    return replace(envelope, category=category)
