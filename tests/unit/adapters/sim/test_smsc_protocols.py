"""The simulated SMSC in SMPP, SGIP and SMGP: what a handset shows, answers and reports, messages
from phones, refusals and the switches that are new with these protocols.

Long because three protocols answer the same questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.sim.smsc import Options, Smsc
from msgcenter.simulator import Journal
from protocols.sgip import link as sgip_link
from protocols.sgip import pdu as sgip
from protocols.sgip.results import reason_of
from protocols.smgp import link as smgp_link
from protocols.smgp import pdu as smgp
from protocols.smgp.report import parse_report
from protocols.smpp import content
from protocols.smpp import link as smpp_link
from protocols.smpp import pdu as smpp
from protocols.smpp.receipt import is_receipt, parse_receipt, same_id
from protocols.sms import coding, udh
from protocols.sms.events import (
    Event,
    LoggedIn,
    LoginRefused,
    LoginRequested,
    MustClose,
    Oddity,
    Request,
    Response,
    Why,
)
from protocols.sms.joining import Reassembler
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.tlv import Tlv

NUMBER = "8613800138000"
LONG = "您订购的畅享套餐将于下月一日生效。" * 10
ACCOUNT, SECRET = "901234", "sandbox"


class Client(asyncio.Protocol):
    """One connection of an SP: keeps every event, takes every delivery."""

    def __init__(
        self, link: Link, login: Callable[[Any], None] | None, answers: dict[type, Any]
    ) -> None:
        self.link = link
        self.events: list[Event] = []
        self.closed = asyncio.Event()
        self._login, self._answers = login, answers
        self._changed = asyncio.Event()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._login is not None:
            self._login(self.link)
            self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.link.receive_data(data, self.now):
            self.events.append(event)
            if isinstance(event, Request):
                self.link.respond(event.sequence, self._answers[type(event.pdu)](event.pdu))
            elif isinstance(event, LoginRequested):
                self.link.accept(event.sequence)  # type: ignore[attr-defined]
        self.flush()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.events += self.link.connection_lost()
        self.closed.set()
        self._changed.set()

    def flush(self) -> None:
        self.transport.write(self.link.data_to_send())

    def submit(self, *pdus: Any) -> list[int]:
        sequences = [self.link.request(pdu, self.now) for pdu in pdus]
        self.flush()
        return sequences

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    @property
    def answers(self) -> list[Any]:
        return [event.pdu for event in self.events if isinstance(event, Response)]

    @property
    def asked(self) -> list[Any]:
        return [event.pdu for event in self.events if isinstance(event, Request)]


@dataclass(frozen=True)
class Speaker:
    """How an SP uses one protocol: `submits(text)`, `id_of(sequence, answer)`, `report(pdu)` as
    (id, recipient, outcome) or None for an MO, whose part is `mo(pdu)`.
    """

    name: str
    link: Callable[[], Link]
    login: Callable[[Any, str], None]
    delivered: dict[type, Any]
    submits: Callable[..., list[Any]]
    id_of: Callable[[int, Any], Any]
    report: Callable[[Any], tuple[Any, str, str] | None]
    mo: Callable[[Any], tuple[udh.Concat | None, bytes, str, str, int]]
    codings: Any
    refused: dict[str, int] = field(default_factory=dict)


def code_of(answer: Any) -> int:
    return getattr(answer, "status", None) or getattr(answer, "result", 0)


def _smpp_submits(text: str, number: str = NUMBER, how: Any = "udh", wanted: int = 1) -> list[Any]:
    base = smpp.SubmitSm("10657", number, b"", registered_delivery=wanted)
    return content.submits(
        base, text, coding.measure(text, coding.SMPP).coding, how=how, reference=7
    )


def _smpp_report(pdu: Any) -> tuple[Any, str, str] | None:
    if not is_receipt(pdu):
        return None
    receipt = parse_receipt(pdu)
    return same_id(receipt.message_id)[0], pdu.source, receipt.stat


def _sgip_submits(text: str, number: str = NUMBER) -> list[Any]:
    chosen = coding.measure(text, coding.SGIP).coding
    return [
        sgip.Submit("10657", (number,), part.content, "00001", udhi=part.udhi, coding=chosen.code)
        for part in coding.split(text, chosen, reference=7)
    ]


def _smgp_submits(text: str, number: str = NUMBER) -> list[Any]:
    chosen = coding.measure(text, coding.SMGP).coding
    return [
        smgp.Submit(
            (number,), part.content, "10657", chosen.code, tlvs=(Tlv(2, bytes((part.udhi,))),)
        )
        for part in coding.split(text, chosen, reference=7)
    ]


def _smgp_report(pdu: Any) -> tuple[Any, str, str] | None:
    if not pdu.is_report:
        return None
    report = parse_report(pdu.content)
    return report.msg_id, pdu.source, report.stat


SMPP = Speaker(
    "smpp",
    lambda: smpp_link.Link(Role.CLIENT),
    lambda link, secret: link.login(smpp.Bind(smpp.Mode.TRANSCEIVER, ACCOUNT, secret), 0),
    {smpp.DeliverSm: lambda _: smpp.DeliverSmResp()},
    _smpp_submits,
    lambda _, answer: same_id(answer.message_id)[0],
    _smpp_report,
    lambda d: (*content.part_of(d), d.source, d.destination, d.data_coding),
    coding.SMPP,
    {"number": 0x0B, "long": 0x01, "flow": 0x58, "login": 0x0E, "crowded": 0x0D},
)
SGIP = Speaker(
    "sgip",
    lambda: sgip_link.Link(Role.CLIENT, 3010000001, lambda: 1121093015),
    lambda link, secret: link.login(sgip.Bind(ACCOUNT, secret), 0),
    {sgip.Deliver: lambda _: sgip.DeliverResp(), sgip.Report: lambda _: sgip.ReportResp()},
    _sgip_submits,
    lambda sequence, _: sequence,
    lambda d: (
        (d.submit_sequence, d.user_number, reason_of(d) or "DELIVRD")
        if isinstance(d, sgip.Report)
        else None
    ),
    lambda d: (*udh.strip(d.content, d.udhi), d.user_number, d.sp_number, d.coding),
    coding.SGIP,
    {"number": 6, "long": 8, "flow": 88, "login": 1, "crowded": 3},
)
SMGP = Speaker(
    "smgp",
    lambda: smgp_link.Link(Role.CLIENT),
    lambda link, secret: link.login(ACCOUNT, secret, 1121093015, 0),
    {smgp.Deliver: lambda d: smgp.DeliverResp(d.msg_id)},
    _smgp_submits,
    lambda _, answer: answer.msg_id,
    _smgp_report,
    lambda d: (*udh.strip(d.content, d.udhi), d.source, d.destination, d.msg_format),
    coding.SMGP,
    {"number": 47, "long": 36, "flow": 1, "login": 21, "crowded": 2},
)
each = pytest.mark.parametrize("speaker", [SMPP, SGIP, SMGP], ids=lambda s: s.name)


class World:
    """A running simulator, and the SP's side of it; for SGIP its listener too."""

    def __init__(self, speaker: Speaker, sim: Smsc) -> None:
        self.speaker, self.sim = speaker, sim
        self.heard: list[Client] = []  # connections on which deliveries come

    async def connect(self, secret: str = SECRET) -> Client:
        speaker = self.speaker
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(
                speaker.link(), lambda link: speaker.login(link, secret), speaker.delivered
            ),
            "127.0.0.1",
            self.sim.port,
        )
        await client.until(
            lambda: any(isinstance(e, LoggedIn | LoginRefused | MustClose) for e in client.events)
        )
        if speaker is not SGIP:
            self.heard.append(client)
        return client

    @property
    def asked(self) -> list[Any]:
        return [pdu for client in self.heard for pdu in client.asked]

    @property
    def reports(self) -> list[tuple[Any, str, str]]:
        return [found for pdu in self.asked if (found := self.speaker.report(pdu)) is not None]

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(speaker: Speaker, **options: Any) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    listener = None
    if speaker is SGIP:
        world: World

        def heard() -> Client:
            link = sgip_link.Link(Role.SERVER, 3010000001, lambda: 1121093015)
            world.heard.append(Client(link, None, SGIP.delivered))
            return world.heard[-1]

        listener = await loop.create_server(heard, "127.0.0.1", 0)
        options["sp_port"] = listener.sockets[0].getsockname()[1]
    sim = Smsc(Options(protocol=speaker.name, report_delay=0.0, **options), Journal())  # type: ignore[arg-type]
    world = World(speaker, sim)
    await sim.start()
    try:
        yield world
    finally:
        await sim.stop()
        if listener is not None:
            listener.close()


@each
@pytest.mark.parametrize("text", ["hi there", "您好，业务已受理。", LONG, "x" * 400])
async def test_a_text_reaches_the_handset_and_each_part_is_reported(
    speaker: Speaker, text: str
) -> None:
    async with running(speaker) as world:
        client = await world.connect()
        pdus = speaker.submits(text)
        sequences = client.submit(*pdus)
        await client.until(lambda: len(client.answers) == len(pdus))
        await world.until(lambda: len(world.reports) == len(pdus))
        ids = [speaker.id_of(s, a) for s, a in zip(sequences, client.answers, strict=True)]
        assert len(set(ids)) == len(pdus)
        assert sorted(report[0] for report in world.reports) == sorted(ids)
        assert {report[1:] for report in world.reports} == {(NUMBER, "DELIVRD")}
        [entry] = world.sim.journal.entries()
        assert (entry["text"], entry["sender"], entry["recipient"]) == (text, "10657", NUMBER)
        assert entry["parts"] == len(pdus)


@each
@pytest.mark.parametrize("wide", [False, True])
async def test_what_a_phone_writes_arrives_whole(speaker: Speaker, wide: bool) -> None:
    async with running(speaker) as world:
        await world.connect()
        for text in ("退订", "R", LONG):
            before = len(world.asked)
            done = await world.sim.inject_mo(NUMBER, "1065701", text, shuffle=True, wide=wide)
            assert done["delivered"] and len(set(done["ids"])) == done["parts"]
            joiner, shown = Reassembler(), []
            for pdu in world.asked[before:]:
                concat, data, source, destination, code = speaker.mo(pdu)
                assert (source, destination) == (NUMBER, "1065701")
                if concat is None:
                    shown.append(coding.read(data, code, speaker.codings))
                    continue
                assert concat.wide is wide
                shown += [
                    joined.decoded(lambda b, c: coding.read(b, c, speaker.codings))
                    for joined in joiner.add(source, destination, concat, code, data, now=0)
                ]
            assert shown == [text]
        with pytest.raises(ValueError, match="octets"):
            await world.sim.inject_mo("8" * 22, "1065701", "R")


@each
async def test_refusals_have_the_protocols_own_codes(speaker: Speaker) -> None:
    async with running(speaker, max_connections=1) as world:
        client = await world.connect()
        world.sim.faults.refuse = {"1390": 99}
        [good] = speaker.submits("hi")
        [listed] = speaker.submits("hi", "8613900000000")
        [bad] = speaker.submits("hi", "12x")
        client.submit(good, listed, bad)
        world.sim.faults.throttle_fraction = 0.0
        await client.until(lambda: len(client.answers) == 3)
        world.sim.faults.throttle_fraction = 1.0
        client.submit(good)
        await client.until(lambda: len(client.answers) == 4)
        expected = [0, 99, speaker.refused["number"], speaker.refused["flow"]]
        assert [code_of(answer) for answer in client.answers] == expected
        second = await world.connect()
        [refused] = [e for e in second.events if isinstance(e, LoginRefused)]
        assert refused.status == speaker.refused["crowded"]


@each
async def test_too_long_for_one_message(speaker: Speaker) -> None:
    async with running(speaker, max_octets=10) as world:
        client = await world.connect()
        client.submit(*speaker.submits("中" * 6))
        await client.until(lambda: client.answers)
        wanted = speaker.refused["long"] if speaker is not SMGP else 36
        assert code_of(client.answers[0]) == wanted


@each
async def test_a_wrong_secret(speaker: Speaker) -> None:
    async with running(speaker) as world:
        client = await world.connect("wrong")
        [refused] = [e for e in client.events if isinstance(e, LoginRefused)]
        assert refused.status == speaker.refused["login"]
        await client.closed.wait()


@each
async def test_stats_by_number_and_clean_end(speaker: Speaker) -> None:
    async with running(speaker) as world:
        world.sim.faults.stat_by_number = {"1380": "EXPIRED"}
        client = await world.connect()
        client.submit(*speaker.submits("hi"))
        await world.until(lambda: world.reports)
        assert world.reports[0][2] == ("25 user unreachable" if speaker is SGIP else "EXPIRED")
        client.link.drain(client.now)
        client.flush()
        await client.closed.wait()
        assert MustClose(Why.DRAINED) in client.events


@each
async def test_answers_twice_in_single_octets(speaker: Speaker) -> None:
    async with running(speaker) as world:
        world.sim.faults.duplicate_responses = 1.0
        world.sim.faults.split_writes = 1
        client = await world.connect()
        client.submit(*speaker.submits("hi"))
        await client.until(lambda: client.link.counters["late_response"] == 1)
        assert len(client.answers) == 1


@each
async def test_a_cut_inside_an_answer_is_no_answer(speaker: Speaker) -> None:
    async with running(speaker) as world:
        world.sim.faults.unplug_every = 1
        world.sim.faults.unplug_inside = True
        client = await world.connect()
        client.submit(*speaker.submits("hi"))
        await client.closed.wait()
        assert client.answers == [] and world.sim.counters["accepted"] == 1


@pytest.mark.parametrize("speaker", [SGIP, SMGP], ids=lambda s: s.name)
async def test_a_short_tail_is_survived(speaker: Speaker) -> None:
    async with running(speaker) as world:
        await world.connect()
        world.sim.faults.short_tail = 5
        assert (await world.sim.inject_mo(NUMBER, "1065701", "退订" * 20))["delivered"]
        assert sum(client.link.counters["short_tail"] for client in world.heard) == 1


@each
async def test_octets_that_no_gateway_should_send(speaker: Speaker) -> None:
    async with running(speaker) as world:
        client = await world.connect()
        with pytest.raises(ValueError, match="hex"):
            await world.sim.control("raw", {"octets": "no"})
        if speaker is not SGIP:
            size = {"smpp": 16, "smgp": 12}[speaker.name]
            octets = size.to_bytes(4, "big") + b"\0\0\x0f\xff" + bytes(size - 8)
            await world.sim.control("raw", {"octets": octets.hex()})
            await client.until(lambda: Oddity("unknown_command", "0x00000fff") in client.events)
        await world.sim.control("raw", {"octets": b"HTTP/1.1 502".hex(), "connection": 1})
        await client.until(lambda: client.link.must_close)
        assert client.events[-1].why is Why.FRAMING  # type: ignore[union-attr]


async def test_smpp_receipts_in_decimal_and_without_parameters() -> None:
    async with running(SMPP) as world:
        world.sim.faults.decimal_receipts = True
        world.sim.faults.plain_receipts = True
        client = await world.connect()
        client.submit(*SMPP.submits("hi"))
        await world.until(lambda: world.reports)
        [receipt] = [parse_receipt(pdu) for pdu in world.asked]
        assert receipt.message_id.isdecimal() and world.asked[0].tlvs == ()
        assert set(same_id(receipt.message_id)) & set(same_id(client.answers[0].message_id))


@pytest.mark.parametrize("how", ["sar", "payload"])
async def test_smpp_other_ways_to_send_a_long_text(how: str) -> None:
    async with running(SMPP) as world:
        client = await world.connect()
        pdus = _smpp_submits(LONG, how=how)
        client.submit(*pdus)
        await client.until(lambda: len(client.answers) == len(pdus))
        assert [entry["text"] for entry in world.sim.journal.entries()] == [LONG]


async def test_smpp_receipts_on_failure_only_and_queries() -> None:
    async with running(SMPP) as world:
        world.sim.faults.stat_by_number = {"1381": "UNDELIV"}
        client = await world.connect()
        client.submit(*_smpp_submits("a", wanted=2), *_smpp_submits("b", "8613810000000", wanted=2))
        await world.until(lambda: world.reports)
        assert [report[1:] for report in world.reports] == [("8613810000000", "UNDELIV")]
        client.submit(
            smpp.QuerySm("1", "10657"),
            smpp.CancelSm("1", "10657"),
            smpp.ReplaceSm("1", "10657", b""),
        )
        await client.until(lambda: len(client.answers) == 5)
        assert client.answers[2:] == [
            smpp.QuerySmResp("1", "", 2),
            smpp.CancelSmResp(0x11),
            smpp.ReplaceSmResp(0x13),
        ]


async def test_smpp_receiver_is_delivered_to_and_transmitter_is_not() -> None:
    async with running(SMPP) as world:
        for mode in (smpp.Mode.TRANSMITTER, smpp.Mode.RECEIVER):
            _, client = await asyncio.get_running_loop().create_connection(
                lambda mode=mode: Client(  # type: ignore[misc]
                    SMPP.link(),
                    lambda link: link.login(smpp.Bind(mode, ACCOUNT, SECRET), 0),
                    SMPP.delivered,
                ),
                "127.0.0.1",
                world.sim.port,
            )
            await client.until(lambda client=client: client.link.is_open)  # type: ignore[misc]
            world.heard.append(client)
        assert (await world.sim.inject_mo(NUMBER, "1065701", "R"))["delivered"]
        assert [len(client.asked) for client in world.heard] == [0, 1]


async def test_smgp_totals_and_modes() -> None:
    async with running(SMGP) as world:
        client = await world.connect()
        client.submit(*SMGP.submits("hi"))
        await client.until(lambda: len(client.asked) == 1)
        client.submit(smgp.Query("20261121"))
        await client.until(lambda: len(client.answers) == 2)
        assert (client.answers[1].mt_messages, client.answers[1].mt_users) == (1, 1)


async def test_sgip_calls_again_until_the_sp_listens() -> None:
    async with running(SGIP) as world:
        port = world.sim.options.sp_port
        client = await world.connect()
        client.submit(*SGIP.submits("hi"))
        await world.until(lambda: len(world.reports) == 1)
        assert len(world.heard) == 1 and world.heard[0].link.login_type == 2  # type: ignore[attr-defined]
        world.heard[0].transport.close()
        await world.heard[0].closed.wait()
        client.submit(*SGIP.submits("hi again"))
        await world.until(lambda: len(world.reports) == 2)
        assert len(world.heard) == 2 and port == world.sim.options.sp_port
