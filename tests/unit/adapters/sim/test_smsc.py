"""The SMSC simulator over real sockets, with a client that is a protocol `Link` and nothing
else.

Long because each switch of the simulator has its test, and all use one client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.sim.smsc import Options, Smsc
from msgcenter.simulator import Journal
from protocols.cmpp import pdu as p
from protocols.cmpp.events import (
    Event,
    LoggedIn,
    LoginRefused,
    Request,
    Response,
    Unanswered,
)
from protocols.cmpp.link import Link
from protocols.cmpp.report import Report, parse_report
from protocols.cmpp.terms import LinkOptions, Role
from protocols.sms import text, udh
from protocols.sms.joining import Reassembler

NUMBER = "13800138000"


class Client(asyncio.Protocol):
    """Keeps every event; answers DELIVER with `deliver_result` (None: not at all)."""

    def __init__(self, version: int = p.V30, window: int = 16) -> None:
        self.link = Link(
            Role.CLIENT,
            LinkOptions(version=version, window=window),
            asyncio.get_running_loop().time(),
        )
        self.events: list[Event] = []
        self.deliver_results: list[int | None] = []
        self.closed = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for event in self.link.receive_data(data, self.now):
            self.events.append(event)
            if isinstance(event, Request) and isinstance(event.pdu, p.Deliver):
                result = self.deliver_results.pop(0) if self.deliver_results else 0
                if result is not None:
                    self.link.respond(event.sequence, p.DeliverResp(event.pdu.msg_id, result))
        self.flush()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.events += self.link.connection_lost()
        self.closed.set()
        self._changed.set()

    def flush(self) -> None:
        self.transport.write(self.link.data_to_send())

    def login(self, account: str = "901234", secret: str = "sandbox") -> None:
        self.link.login(account, secret, 1121093015, self.now)
        self.flush()

    def submit(
        self, *recipients: str, body: str = "hi", tag: object = None, **fields: Any
    ) -> list[int]:
        fmt = text.choose(body)
        sequences = []
        for part in text.split(body, fmt, reference=fields.pop("reference", 7)):
            pdu = p.Submit(
                recipients or (NUMBER,),
                part.content,
                "1065712345",
                "901234",
                fmt,
                part.udhi,
                **fields,
            )
            sequences.append(self.link.request(pdu, self.now, tag))
        self.flush()
        return sequences

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    @property
    def answers(self) -> list[p.SubmitResp]:
        return [
            e.pdu
            for e in self.events
            if isinstance(e, Response) and isinstance(e.pdu, p.SubmitResp)
        ]

    @property
    def delivers(self) -> list[p.Deliver]:
        return [
            e.pdu for e in self.events if isinstance(e, Request) and isinstance(e.pdu, p.Deliver)
        ]

    @property
    def reports(self) -> list[Report]:
        return [parse_report(d.content) for d in self.delivers if d.registered_delivery]

    @property
    def mo(self) -> list[p.Deliver]:
        return [d for d in self.delivers if not d.registered_delivery]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Smsc]:
    sim = Smsc(Options(**({"port": 0, "report_delay": 0.0} | options)), Journal())
    await sim.start()
    try:
        yield sim
    finally:
        await sim.stop()


async def connect(sim: Smsc, version: int = p.V30, login: bool = True, window: int = 16) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: Client(version, window), "127.0.0.1", sim.port
    )
    if login:
        client.login()
        await client.until(lambda: client.link.is_open)
    return client


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3"])
async def test_submit_answer_report_and_journal(protocol: str) -> None:
    version = p.V30 if protocol == "cmpp3" else p.V20
    async with running(protocol=protocol) as sim:
        client = await connect(sim, version)
        assert client.events == [LoggedIn(version, trusted=True)]
        [sequence] = client.submit(body="你好😀", tag="m1")
        await client.until(lambda: bool(client.reports))
        [answer], [report] = client.answers, client.reports
        assert answer.result == 0
        assert (report.msg_id, report.stat, report.recipient) == (answer.msg_id, "DELIVRD", NUMBER)
        assert (client.delivers[0].source, client.delivers[0].dest_id) == (NUMBER, "1065712345")
        assert len(client.delivers[0].content) == (71 if version == p.V30 else 60)
        [entry] = sim.journal.entries()
        assert entry.pop("time").endswith("Z")
        assert entry == {
            "kind": "mt",
            "recipient": NUMBER,
            "sender": "1065712345",
            "text": "你好😀",
            "parts": 1,
            "id": f"{answer.msg_id:016x}",
        }
        assert list(sim.submits) == [(NUMBER, answer.msg_id, sequence, 1)]
        await eventually(lambda: sim.counters["delivers_acknowledged"] == 1)


@pytest.mark.parametrize(
    ("account", "secret", "version", "status"),
    [
        ("901234", "wrong", p.V30, p.STATUS_AUTH),
        ("999999", "sandbox", p.V30, p.STATUS_SOURCE),
        ("901234", "sandbox", p.V30, p.STATUS_VERSION),
    ],
)
async def test_login_refused(account: str, secret: str, version: int, status: int) -> None:
    async with running(protocol="cmpp2" if status == p.STATUS_VERSION else "cmpp3") as sim:
        client = await connect(sim, version, login=False)
        client.login(account, secret)
        await asyncio.wait_for(client.closed.wait(), 5)
        assert isinstance(client.events[0], LoginRefused) and client.events[0].status == status
        assert sim.connections == []


async def test_login_status_and_number_of_connections_are_switches() -> None:
    async with running() as sim:
        sim.faults.connect_status = 9
        refused = await connect(sim, login=False)
        refused.login()
        await asyncio.wait_for(refused.closed.wait(), 5)
        assert refused.events[0] == LoginRefused(9, p.V30)
        sim.faults.connect_status = 0
        sim.faults.max_connections = 1
        first = await connect(sim)
        second = await connect(sim, login=False)
        second.login()
        await asyncio.wait_for(second.closed.wait(), 5)
        assert second.events[0] == LoginRefused(p.STATUS_OTHER, p.V30)
        first.transport.close()
        await eventually(lambda: sim.connections == [])
        await connect(sim)


async def test_older_client_on_a_newer_server() -> None:
    async with running() as sim:
        client = await connect(sim, p.V20)
        client.submit()
        await client.until(lambda: bool(client.reports))
        assert len(client.delivers[0].content) == 60


async def test_long_message_is_one_journal_entry() -> None:
    async with running() as sim:
        client = await connect(sim)
        body = "中国移动" * 125
        client.submit(body=body)
        client.submit(NUMBER[:-1] + "1", body="short")
        await client.until(lambda: len(client.reports) == 9)
        long, short = sim.journal.entries()
        assert (long["text"], long["parts"]) == (body, 8)
        assert long["id"] == f"{client.answers[0].msg_id:016x}"
        assert short["parts"] == 1
        assert sim.received_parts == 9 and len(sim.submits) == 9


async def test_missing_part_is_journaled_as_missing() -> None:
    async with running(join_timeout=0.05) as sim:
        client = await connect(sim)
        part = text.split("中" * 100, reference=1)[1]
        client.link.request(p.Submit((NUMBER,), part.content, "1065", "901234", 8, 1), client.now)
        client.flush()
        await eventually(lambda: sim.journal.total == 1)
        [entry] = sim.journal.entries()
        assert (entry["text"], entry["parts"], entry["missing"]) == ("中" * 33, 1, 1)


async def test_several_recipients_own_a_run_of_ids() -> None:
    async with running() as sim:
        client = await connect(sim)
        client.submit("13800138000", "13800138001", "13800138002")
        await client.until(lambda: len(client.reports) == 3)
        first = client.answers[0].msg_id
        assert {(r.recipient, r.msg_id - first) for r in client.reports} == {
            ("13800138000", 0),
            ("13800138001", 1),
            ("13800138002", 2),
        }
        assert sim.journal.total == 3


async def test_refused_by_number_prefix_and_by_fault_of_the_sender() -> None:
    async with running() as sim:
        sim.faults.refuse = {"1380": 9, "13800138001": 10}
        client = await connect(sim)
        client.submit("8613800138000")
        client.submit("13800138001")
        client.submit("13900139000", "13800138000")
        client.submit("not a number")
        client.submit("1" * 22)
        wide = p.Submit((NUMBER,), bytes(141), "1065", "901234")
        client.link.request(wide, client.now)
        client.link.request(p.Submit(("139",), b"", "1065", "999999"), client.now)
        client.flush()
        client.submit("13900139000")
        await client.until(lambda: len(client.answers) == 8)
        assert [a.result for a in client.answers] == [9, 10, 9, 13, 13, 6, 11, 0]
        assert sim.received_parts == 1 and len(sim.submits) == 1


async def test_throttle_by_rate_and_by_fraction() -> None:
    async with running(throttle_rate=20) as sim:
        client = await connect(sim, window=100)
        for _ in range(50):
            client.submit()
        await client.until(lambda: len(client.answers) == 50)
        results = [a.result for a in client.answers]
        assert results[:20] == [0] * 20 and results.count(8) >= 28
        assert sim.journal.total == results.count(0)
        sim.faults.change({"throttle_rate": 0, "throttle_fraction": 1.0})
        client.submit()
        await client.until(lambda: len(client.answers) == 51)
        assert client.answers[-1].result == 8


async def test_unplug_now_and_every_so_many() -> None:
    async with running(unplug_every=3) as sim:
        client = await connect(sim)
        for n in range(5):
            client.submit(tag=n)
        await asyncio.wait_for(client.closed.wait(), 5)
        lost = [e.tag for e in client.events if isinstance(e, Unanswered)]
        assert len(sim.submits) == 3 and sim.journal.total == 3
        assert set(lost) | {e.tag for e in client.events if isinstance(e, Response)} == set(
            range(5)
        )
        sim.faults.unplug_every = 0
        again = await connect(sim)
        await again.until(
            lambda: len(again.reports) >= 3 - len(client.reports)
        )  # reports outlive it
        assert sim.unplug() == 1
        await asyncio.wait_for(again.closed.wait(), 5)
        sim.faults.down = True
        cut = await connect(sim, login=False)
        await asyncio.wait_for(cut.closed.wait(), 5)


async def test_unplug_with_flush_lets_answers_out() -> None:
    async with running() as sim:
        sim.faults.unplug_every, sim.faults.unplug_flush = 2, True
        client = await connect(sim)
        client.submit()
        client.submit()
        await asyncio.wait_for(client.closed.wait(), 5)
        assert [a.result for a in client.answers] == [0, 0]


async def test_reports_early_twice_and_of_every_kind() -> None:
    async with running() as sim:
        sim.faults.early_reports = 1.0
        client = await connect(sim)
        client.submit()
        await client.until(lambda: bool(client.answers))
        kinds = [type(e.pdu) for e in client.events if isinstance(e, Request | Response)]
        assert kinds == [p.Deliver, p.SubmitResp]
        assert client.reports[0].msg_id == client.answers[0].msg_id
        sim.faults.change({"early_reports": 0, "duplicate_reports": 1, "stats": {"UNDELIV": 1}})
        client.submit()
        await client.until(lambda: len(client.reports) == 3)
        assert client.reports[1] == client.reports[2] and client.reports[1].stat == "UNDELIV"
        sim.faults.change({"duplicate_reports": 0, "stats": {"A": 1, "B": 1}, "report_width": 60})
        sim.faults.stat_by_number = {"139": "MK:0001"}
        for _ in range(12):
            client.submit()
        client.submit("13900139000")
        await client.until(lambda: len(client.reports) == 16)
        assert {r.stat for r in client.reports[3:]} == {"A", "B", "MK:0001"}
        assert len(client.delivers[-1].content) == 60
        sim.faults.drop_reports = 1.0
        client.submit()
        await client.until(lambda: len(client.answers) == 16)
        assert sim.counters["reports_dropped"] == 1
        client.submit(registered_delivery=0)
        await client.until(lambda: len(client.answers) == 17)
        assert sim.counters["reports"] == 15


async def test_report_on_another_connection() -> None:
    async with running() as sim:
        first, second = await connect(sim), await connect(sim)
        sim.faults.cross_reports = 1.0
        first.submit()
        await second.until(lambda: bool(second.reports))
        await first.until(lambda: bool(first.answers))
        assert first.reports == [] and second.reports[0].msg_id == first.answers[0].msg_id


async def test_late_and_dropped_answers_and_window_violation() -> None:
    async with running(window=4) as sim:
        sim.faults.response_delay = 0.05
        client = await connect(sim, window=6)
        for _ in range(6):
            client.submit()
        await eventually(lambda: sim.received_parts == 6)
        assert client.answers == []
        assert sim.window_violations == 2
        await client.until(lambda: len(client.answers) == 6)
        sim.faults.change({"response_delay": 0, "drop_responses": 1.0})
        client.submit(body="dropped")
        await eventually(lambda: sim.counters["responses_dropped"] == 1)
        assert client.link.in_flight == 1 and sim.journal.entries()[-1]["text"] == "dropped"


@pytest.mark.parametrize("switch", ["half_open", "silent"])
async def test_neither_answers_while_half_open_or_silent(switch: str) -> None:
    async with running() as sim:
        client = await connect(sim)
        setattr(sim.faults, switch, True)
        client.submit()
        await asyncio.sleep(0.1)
        assert client.answers == [] and sim.journal.total == 0
        setattr(sim.faults, switch, False)
        if switch == "silent":  # what it read in silence is gone for good
            client.submit()
        await client.until(lambda: bool(client.answers))
        assert sim.journal.total == 1


async def test_mo_long_shuffled_and_kept_until_somebody_comes() -> None:
    async with running() as sim:
        body = "我要办理套餐😀" * 30
        waiting = asyncio.create_task(
            sim.inject_mo(NUMBER, "106571234501", body, shuffle=True, wide=True)
        )
        await asyncio.sleep(0.02)
        assert not waiting.done()
        client = await connect(sim)
        result = await asyncio.wait_for(waiting, 5)
        assert result["delivered"] and result["parts"] == len(client.mo) == 4
        joiner, joined = Reassembler(), []
        for d in client.mo:
            assert (d.source, d.dest_id) == (NUMBER, "106571234501")
            concat, data = udh.strip(d.content, d.udhi)
            assert concat is not None and concat.wide
            joined += joiner.add(d.source, d.dest_id, concat, d.msg_fmt, data, now=0)
        assert [j.text for j in joined] == [body]


async def test_mo_is_sent_again_until_accepted_or_given_up() -> None:
    async with running(deliver_timeout=0.05, deliver_pause=0.01) as sim:
        client = await connect(sim)
        client.deliver_results = [8, None, 0]
        result = await sim.inject_mo(NUMBER, "10657", "R")
        assert result["delivered"] and len(client.mo) == 3
        assert len({d.msg_id for d in client.mo}) == 1
        client.deliver_results = [1, 1, 1]
        assert not (await sim.inject_mo(NUMBER, "10657", "TD"))["delivered"]
        assert sim.counters["delivers_given_up"] == 1


async def test_mo_survives_a_cut_connection() -> None:
    async with running(deliver_tries=1) as sim:
        client = await connect(sim)
        client.deliver_results = [None]
        waiting = asyncio.create_task(sim.inject_mo(NUMBER, "10657", "R"))
        await client.until(lambda: len(client.mo) == 1)
        sim.unplug()
        again = await connect(sim)
        assert (await asyncio.wait_for(waiting, 5))["delivered"]
        assert again.mo == client.mo


async def test_restart_on_the_same_port_and_clean_terminate() -> None:
    async with running() as sim:
        client = await connect(sim)
        client.link.drain(client.now)
        client.flush()
        await asyncio.wait_for(client.closed.wait(), 5)
        port = sim.port
        await sim.stop()
        with pytest.raises(OSError, match="Connect"):
            await connect(sim)
        await sim.start()
        assert sim.port == port
        await connect(sim)


async def test_query_and_cancel_are_answered() -> None:
    async with running() as sim:
        client = await connect(sim)
        client.submit()
        await client.until(lambda: len(client.answers) == 1)
        client.link.request(p.Query("20261121"), client.now)
        client.link.request(p.Cancel(1), client.now)
        client.flush()
        found: Callable[[], list[Any]] = lambda: [  # noqa: E731 - evaluated again and again
            e.pdu
            for e in client.events
            if isinstance(e, Response) and isinstance(e.pdu, p.QueryResp | p.CancelResp)
        ]
        await client.until(lambda: len(found()) == 2)
        totals, cancelled = found()
        assert (totals.mt_messages, totals.mt_users) == (1, 1)
        assert cancelled == p.CancelResp(1)


async def test_control_by_name() -> None:
    async with running() as sim:
        client = await connect(sim)
        assert (await sim.control("faults", {"refuse": {"139": 13}}))["refuse"] == {"139": 13}
        client.submit("13900139000")
        await client.until(lambda: len(client.answers) == 1)
        client.submit()
        mo = await sim.control("mo", {"sender": NUMBER, "destination": "10657", "text": "R"})
        assert mo["delivered"]
        journal = await sim.control("journal", {"limit": 1})
        assert journal["total"] == 1 and journal["counters"]["result_13"] == 1
        assert [e["recipient"] for e in journal["entries"]] == [NUMBER]
        assert await sim.control("unplug", {}) == {"cut": 1}
        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("faults", {"refused": {}}, "no such switch: refused"),
            ("faults", {"half_open": "perhaps"}, "half_open"),
            ("explode", {}, "no such command"),
            ("mo", {"sender": "1" * 22, "destination": "10657", "text": "R"}, "source"),
        ]
        for command, args, named in wrong:
            asked: Awaitable[Any] = sim.control(command, args)
            with pytest.raises(ValueError, match=named):
                await asked


async def drawn_stats(seed: int) -> list[str]:
    async with running(seed=seed) as sim:
        sim.faults.stats = {"DELIVRD": 0.7, "UNDELIV": 0.2, "EXPIRED": 0.1}
        client = await connect(sim)
        for _ in range(12):
            client.submit()
        await client.until(lambda: len(client.reports) == 12)
        return [r.stat for r in sorted(client.reports, key=lambda r: r.msg_id)]


async def test_same_seed_same_dice() -> None:
    first = await drawn_stats(42)
    assert first == await drawn_stats(42)
    assert len(set(first)) > 1


async def test_garbage_closes_only_its_own_connection() -> None:
    async with running() as sim:
        good = await connect(sim)
        bad = await connect(sim, login=False)
        bad.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(bad.closed.wait(), 5)
        good.submit()
        await good.until(lambda: bool(good.reports))
        assert sim.banner()[0].startswith("CMPP 3.0 gateway on 127.0.0.1:")


async def test_nothing_is_lost_or_made_up_while_everything_goes_wrong() -> None:
    """600 submits over 3 connections that are cut, with early, doubled, crossing reports and
    refused acknowledgements.
    """
    total = 600
    async with running(seed=5, deliver_tries=50, deliver_pause=0.001, unplug_every=37) as sim:
        sim.faults.change(
            {"report_jitter": 0.02, "response_jitter": 0.005, "early_reports": 0.2}
            | {"duplicate_reports": 0.2, "cross_reports": 0.5, "throttle_fraction": 0.1}
        )
        clients: list[Client] = []
        sent = 0
        async with asyncio.timeout(20):
            while sent < total:
                for n in range(3):
                    live = clients[n] if n < len(clients) else None
                    if live is None or live.closed.is_set() or not live.link.is_open:
                        fresh = await connect(sim)
                        fresh.deliver_results = [8, 0, 0] * 5
                        clients.insert(n, fresh)
                        live = fresh
                    while live.link.window_free and sent < total:
                        live.submit(f"138{sent:08d}", tag=sent)
                        sent += 1
                await asyncio.sleep(0.002)
            sim.faults.change({"unplug_every": 0})
            while any(c.link.in_flight for c in clients) or len(sim.outbox):
                if not sim.connections:
                    clients.append(await connect(sim))
                await asyncio.sleep(0.005)
        await eventually(lambda: sim.counters["reports"] == sim.counters["accepted"])
        answered = {e.tag: e.pdu for c in clients for e in c.events if isinstance(e, Response)}
        unknown = {e.tag for c in clients for e in c.events if isinstance(e, Unanswered)}
        assert len(answered) + len(unknown) == total and not set(answered) & unknown
        accepted = {s.msg_id: s.recipient for s in sim.submits}
        assert len(accepted) == len(sim.submits) == sim.journal.total == sim.counters["accepted"]
        confirmed = {a.msg_id for a in answered.values() if a.result == 0}  # type: ignore[union-attr]
        assert confirmed <= set(accepted)
        assert {int(entry["id"], 16) for entry in sim.journal.entries()} == set(accepted)
        assert sim.counters["unplugged"] >= 10 and sim.counters["result_8"] > 10

        def reported() -> dict[int, str]:
            return {r.msg_id: r.recipient for c in clients for r in c.reports}

        await eventually(lambda: len(reported()) >= len(accepted))  # the last are on their way
        assert reported() == accepted


@pytest.mark.parametrize(
    ("protocol", "field", "value"),
    [
        ("cmpp3", "account", "9012345"),
        ("smgp", "account", "901234567"),
        ("smpp", "secret", "ninechars"),
        ("sgip", "account", ""),
        ("sgip", "secret", "密" * 6),
    ],
)
def test_a_login_that_no_client_could_make_is_refused(
    protocol: str, field: str, value: str
) -> None:
    with pytest.raises(ValidationError, match=rf"{field}\n.*no client could log in: {protocol}"):
        Options.model_validate({"protocol": protocol, field: value})
