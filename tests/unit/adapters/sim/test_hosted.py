"""The hosted-gateway simulator over HTTP: our protocol's commands in, events out that our protocol reads, and its failures."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from adapters.sim.hosted import HostedOptions, HostedSim
from adapters.sim.hosted.world import Account
from msgcenter.simulator import Journal
from protocols.hosted import answers, commands, content, events
from tests.unit.adapters.sim.wecomed import until

TO = content.Chat("customer", "wm0001")


class Caller:
    """Sends commands; hears events with the protocol's own reader. `statuses`: the next answers to events, else 200."""

    def __init__(self, sim: HostedSim, session: aiohttp.ClientSession) -> None:
        self.sim, self.session = sim, session
        self.heard: list[Any] = []
        self.forged = 0
        self.statuses: list[int] = []
        self._count = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        try:
            now = self.sim.clock.now_ms() // 1000
            event = events.verify(self.sim.event_secrets, request.headers, body, now)
        except ValueError:
            self.forged += 1
            return web.Response(status=401)
        self.heard.append(event)
        return web.Response()

    async def run(self, command: Any, command_id: str = "") -> answers.Answer:
        self._count += 1
        now = self.sim.clock.now_ms() // 1000
        call = commands.call(command, command_id or f"c-{self._count}", self.sim.secrets, now)
        url = f"{self.sim.url}{commands.PATH}"
        async with self.session.post(url, data=call.body, headers=call.headers) as response:
            assert response.status == 200, await response.text()
            return answers.read_answer(await response.read())

    async def say(self, text: str = "您好", command_id: str = "", **more: Any) -> answers.Answer:
        facts = {"account": "staff0001", "to": TO, "content": content.Text(text=text)} | more
        return await self.run(commands.Send(**facts), command_id)

    async def code(self, command: Any) -> str:
        answer = await self.run(command)
        return answer.code or answer.state

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]


@asynccontextmanager
async def hosted(**options: Any) -> AsyncIterator[tuple[HostedSim, Caller]]:
    sim = HostedSim(HostedOptions(**options), Journal())
    await sim.start()
    async with aiohttp.ClientSession() as session:
        caller = Caller(sim, session)
        app = web.Application()
        app.router.add_post("/events", caller.take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
        await sim.control("callback", {"url": url})
        try:
            yield sim, caller
        finally:
            await sim.stop()
            await runner.cleanup()


async def test_what_is_sent_arrives_and_comes_back_as_an_echo() -> None:
    async with hosted() as (sim, caller):
        answer = await caller.say("套餐已办理", "order-1")
        assert answer.state == "done"
        entry = sim.journal.entries()[-1]
        assert (entry["kind"], entry["to"], entry["from"]) == ("hosted", "wm0001", "staff0001")
        assert (entry["text"], entry["command"], entry["dropped"]) == ("套餐已办理", "order-1", "")
        await sim.outbox.drained()
        (echo,) = caller.of(events.Echo)
        assert (echo.command, echo.message_id, echo.chat) == ("order-1", answer.message_id, TO)
        assert echo.content == content.Text(text="套餐已办理")


async def test_one_id_is_done_once() -> None:
    async with hosted() as (sim, caller):
        first = await caller.say("a", "same")
        assert await caller.say("a", "same") == first
        assert sim.journal.total == 1
        asked = await caller.run(commands.Query("staff0001", "same"))
        assert asked == first
        assert await caller.code(commands.Query("staff0001", "never")) == "command_unknown"
        assert await caller.code(commands.Query("staff0002", "same")) == "command_unknown"
        await sim.control("advance", {"seconds": 48 * 3600})
        assert (await caller.say("a", "same")).message_id != first.message_id


async def test_every_content_is_taken() -> None:
    async with hosted() as (sim, caller):
        for one in (
            content.Text(text="x"),
            content.Media(kind="image", url="https://m/a.jpg", name="a.jpg"),
            content.Media(kind="voice", url="https://m/a.amr", play_s=3),
            content.Media(kind="video", url="https://m/a.mp4"),
            content.Media(kind="file", url="https://m/a.pdf", name="a.pdf", size=10),
            content.Link(title="t", url="https://m"),
            content.MiniProgram(app_id="wx", page="p", title="t"),
            content.Card(user_id="staff0002"),
        ):
            assert (await caller.say(content=one)).state == "done"
            assert sim.journal.entries()[-1]["msgtype"] == content.type_of(one)
        await sim.outbox.drained()
        assert len(caller.of(events.Echo)) == 8
        assert caller.forged == 0


def test_every_command_on_the_page_can_be_read() -> None:
    page = (Path(__file__).parents[4] / "docs" / "hosted-protocol.md").read_text()
    examples = re.findall(r"```json command\n(.+?)\n```", page, re.DOTALL)
    sim = HostedSim(HostedOptions(), Journal())
    sim.world.accounts["zhangsan"] = Account("zhangsan")
    kinds = set()
    for number, example in enumerate(examples):
        command = json.loads(example)
        answer, _ = sim.commands.run(f"c-{number}", command)
        assert answer.get("code") != "invalid", example
        kinds.add(command["type"])
    assert len(kinds) == 8


async def test_calls_that_are_forged_or_unreadable() -> None:
    async with hosted() as (sim, caller):
        url = f"{sim.url}{commands.PATH}"
        good = commands.call(
            commands.AccountStatus("staff0001"), "c", sim.secrets, sim.clock.now_ms() // 1000
        )
        async with caller.session.post(url, data=good.body + b" ", headers=good.headers) as answer:
            assert answer.status == 401
        sign = Webhook(sim.secrets[0]).sign
        for body in (
            b"[]",
            b"{",
            b'{"version":2,"type":"account.status","account":"a"}',
            b'{"version":1,"type":"nonsense","account":"staff0001"}',
            b'{"version":1,"type":"message.send","account":"staff0001"}',
            json.dumps(
                {
                    "version": 1,
                    "type": "message.send",
                    "account": "staff0001",
                    "to": {"kind": "customer", "id": "wm0001"},
                    "content": {"type": "text", "text": "x" * 4097},
                }
            ).encode(),
        ):
            now = dt.datetime.now(dt.UTC)
            headers = {
                "webhook-id": "c-x",
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": sign("c-x", now, body.decode()),
            }
            async with caller.session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 400, body
        async with caller.session.post(url, data=bytes(70_000)) as answer:
            assert answer.status == 413
        assert sim.journal.total == 0
        assert sim.counters["invalid"] == 6


async def test_an_account_sends_at_its_pace() -> None:
    async with hosted() as (sim, caller):
        await sim.control("faults", {"per_minute": 2})
        got = [await caller.say(command_id=f"m-{n}") for n in range(3)]
        assert [one.code or one.state for one in got] == ["done", "done", "paced"]
        assert got[2].retry_after_s == 60
        other = await caller.say(account="staff0002")
        assert other.state == "done"
        status = await caller.run(commands.AccountStatus("staff0001"))
        assert status.account is not None
        assert status.account.paused_s == 60
        await sim.control("advance", {"seconds": 61})
        assert (await caller.say(command_id="m-2")).state == "done"


@pytest.mark.parametrize("state", ["offline", "login_lost", "banned"])
async def test_an_account_that_cannot_work_says_why(state: str) -> None:
    async with hosted() as (sim, caller):
        args = {"account": "staff0001", "state": state, "reason": "扫码过期"}
        await sim.control("account_state", args)
        answer = await caller.say(command_id="x")
        assert (answer.state, answer.code) == ("refused", f"account_{state}")
        await sim.outbox.drained()
        (changed,) = caller.of(events.AccountChanged)
        assert (changed.status.state, changed.status.reason) == (state, "扫码过期")
        assert not changed.status.can_send
        status = await caller.run(commands.AccountStatus("staff0001"))
        assert status.account is not None
        assert status.account.state == state
        await sim.control("account_state", {"account": "staff0001", "state": "online"})
        again = (await caller.say(command_id="x")).state
        assert again == ("refused" if state == "banned" else "done")


async def test_recipients_that_cannot_be_reached() -> None:
    async with hosted() as (sim, caller):
        stranger = content.Chat("customer", "nobody")
        assert (await caller.say(to=stranger)).code == "customer_unknown"
        await sim.control("customer_deletes", {"account": "staff0001", "customer": "wm0001"})
        assert (await caller.say()).code == "not_a_contact"
        assert (await caller.say(account="nobody")).code == "account_unknown"
        assert (await caller.say(to=content.Chat("group", "hgX"))).code == "group_unknown"


async def test_a_group_from_its_making_to_its_end() -> None:
    async with hosted() as (sim, caller):
        members = ("wm0001", "staff0002")
        made = await caller.run(commands.CreateGroup("staff0001", "服务群", members), "g1")
        group = made.group_id
        assert group
        assert await caller.run(commands.CreateGroup("staff0001", "服务群", members), "g1") == made
        chat = content.Chat("group", group)
        said = await caller.say("大家好", to=chat, mention=("wm0001",))
        assert said.state == "done"
        assert (await caller.say(to=chat, mention=("wm0009",))).code == "member_refused"
        assert (await caller.say(to=chat, account="staff0003")).code == "not_in_group"
        assert await caller.code(commands.RenameGroup("staff0001", group, "新名")) == "done"
        change = commands.ChangeMembers("staff0001", group, ("wm0002", "staff0003"), ("wm0001",))
        assert await caller.code(change) == "done"
        taken = commands.ChangeMembers("staff0002", group, (), ("wm0002",))
        assert await caller.code(taken) == "not_owner"
        strange = commands.ChangeMembers("staff0001", group, ("nobody",))
        assert await caller.code(strange) == "member_refused"
        assert await caller.code(commands.DissolveGroup("staff0002", group)) == "not_owner"
        assert await caller.code(commands.DissolveGroup("staff0001", group)) == "done"
        assert await caller.code(commands.DissolveGroup("staff0001", group)) == "done"
        assert (await caller.say(to=chat)).code == "group_gone"
        assert await caller.code(commands.DissolveGroup("staff0001", "hgX")) == "group_unknown"
        await sim.outbox.drained()
        own = [one for one in caller.of(events.GroupChanged) if one.account == "staff0001"]
        assert [one.change for one in own] == [
            "created",
            "renamed",
            "members_added",
            "members_removed",
            "dissolved",
        ]
        assert own[0].members == ("staff0001", "wm0001", "staff0002")
        assert own[0].command == "g1"
        read = [one for one in caller.of(events.Received) if one.account == "staff0002"]
        assert [(one.sender, one.content.text) for one in read] == [("staff0001", "大家好")]
        (shown,) = (await sim.control("groups", {})).values()
        assert shown["dissolved"]
        assert [one["text"] for one in sim.journal.entries() if one["kind"] == "group"] == [
            one.change for one in own
        ]


async def test_limits_of_groups() -> None:
    async with hosted(group_size=3) as (sim, caller):
        many = ("wm0001", "wm0002", "wm0003")
        assert await caller.code(commands.CreateGroup("staff0001", "g", many)) == "group_full"
        limited = {"account": "staff0001", "state": "limited", "reason": "建群受限"}
        await sim.control("account_state", limited)
        few = commands.CreateGroup("staff0001", "g", many[:1])
        assert await caller.code(few) == "account_limited"
        assert (await caller.say()).state == "done"


async def test_groups_change_by_hand_too() -> None:
    async with hosted() as (sim, caller):
        made = await caller.run(commands.CreateGroup("staff0001", "g", ("wm0001",)))
        by = {"group": made.group_id, "by": "wm0001"}
        await sim.control("group_change", by | {"change": "renamed", "name": "别名"})
        await sim.control(
            "group_change", by | {"change": "members_added", "members": ["staff0002"]}
        )
        await sim.control("group_change", by | {"change": "owner_changed", "owner": "staff0002"})
        await sim.control("group_change", by | {"change": "dissolved"})
        with pytest.raises(ValueError, match="no such change"):
            await sim.control("group_change", by | {"change": "nonsense"})
        await sim.outbox.drained()
        own = [one for one in caller.of(events.GroupChanged) if one.account == "staff0001"]
        assert [(one.change, one.by, one.command) for one in own[1:]] == [
            ("renamed", "wm0001", ""),
            ("members_added", "wm0001", ""),
            ("owner_changed", "wm0001", ""),
            ("dissolved", "wm0001", ""),
        ]


async def test_a_message_can_be_recalled_for_two_minutes() -> None:
    async with hosted() as (sim, caller):
        first, second = await caller.say("a"), await caller.say("b")
        recall = commands.Recall("staff0001", TO, first.message_id)
        assert await caller.code(recall) == "done"
        assert await caller.code(commands.Recall("staff0002", TO, second.message_id)) == (
            "message_unknown"
        )
        await sim.control("advance", {"seconds": 121})
        late = commands.Recall("staff0001", TO, second.message_id)
        assert await caller.code(late) == "recall_too_late"
        await sim.outbox.drained()
        assert [one.message_id for one in caller.of(events.Recalled)] == [first.message_id]
        recalls = [one for one in sim.journal.entries() if one["kind"] == "recall"]
        assert [one["message_id"] for one in recalls] == [first.message_id]


async def test_people_write_on_both_ends() -> None:
    async with hosted() as (sim, caller):
        ends = {"account": "staff0001", "customer": "wm0001"}
        await sim.control("customer_writes", ends | {"text": "在吗", "archive_id": "7_external"})
        await sim.control("account_writes", ends | {"text": "在", "archive_id": "8_external"})
        await sim.outbox.drained()
        asked, typed = caller.heard
        assert isinstance(asked, events.Received)
        assert (asked.sender, asked.content.text, asked.archive_id) == (
            "wm0001",
            "在吗",
            "7_external",
        )
        assert isinstance(typed, events.Echo)
        assert (typed.command, typed.archive_id) == ("", "8_external")
        assert (asked.seq, typed.seq) == (1, 2)


async def test_events_are_sent_until_taken_in_order() -> None:
    async with hosted(pause=0.01) as (sim, caller):
        caller.statuses = [500, 503]
        ends = {"account": "staff0001", "customer": "wm0001"}
        for text in "abc":
            await sim.control("customer_writes", ends | {"text": text})
        await sim.outbox.drained()
        assert [one.content.text for one in caller.heard] == ["a", "b", "c"]
        assert sim.outbox.sent[0][1] == [500, 503, 200]
        await sim.control("faults", {"forge_next": 1, "repeat_events": 1.0})
        await sim.control("customer_writes", ends | {"text": "d"})
        await sim.outbox.drained()
        assert caller.forged == 1
        assert [one.seq for one in caller.heard] == [1, 2, 3, 4, 4]


async def test_five_percent_are_lost_and_nobody_is_told() -> None:
    async with hosted() as (sim, caller):
        await sim.control("faults", {"lose_events": 0.05})
        ends = {"account": "staff0001", "customer": "wm0001", "text": "x"}
        for _ in range(1000):
            await sim.control("customer_writes", ends)
        await sim.outbox.drained()
        lost = sim.outbox.counters["lost"]
        assert 20 < lost < 90
        assert len(caller.heard) == 1000 - lost
        assert [one.seq for one in caller.heard] == list(range(1, 1001 - lost))
        await sim.control("faults", {"lose_events": 0, "gap_events": 1.0})
        await sim.control("customer_writes", ends)
        await sim.control("faults", {"gap_events": 0})
        await sim.control("customer_writes", ends)
        await sim.outbox.drained()
        assert caller.heard[-1].seq - caller.heard[-2].seq == 2


async def test_answers_that_leave_open_what_happened() -> None:
    async with hosted() as (sim, caller):
        await sim.control("faults", {"timeout_next": 1})
        with pytest.raises(aiohttp.ClientError):
            await caller.say("a", "lost")
        assert sim.journal.total == 1
        assert (await caller.say("a", "lost")).state == "done"
        await sim.control("faults", {"unknown": 1.0})
        assert (await caller.say("b", "open")).state == "unknown"
        assert (await caller.run(commands.Query("staff0001", "open"))).state == "done"
        assert sim.journal.total == 2
        await sim.control("faults", {"unknown": 0.0, "lose_sends": 1.0})
        assert (await caller.say("c")).state == "done"
        assert sim.journal.entries()[-1]["dropped"] == "lost"
        await sim.control("faults", {"lose_sends": 0.0, "refuse_next": ["content_refused", "busy"]})
        assert (await caller.say("d", "r1")).code == "content_refused"
        assert (await caller.say("e", "r2")).code == "busy"
        assert (await caller.say("d", "r1")).code == "content_refused"
        assert (await caller.say("e", "r2")).state == "done"


async def test_queued_is_followed_by_a_receipt() -> None:
    async with hosted() as (sim, caller):
        await sim.control("faults", {"answer": "queued", "receipt_delay": 30})
        answer = await caller.say(command_id="q")
        assert answer.state == "queued"
        await sim.outbox.drained()
        assert not caller.of(events.Receipt)
        await sim.control("advance", {"seconds": 30})
        await until(lambda: bool(caller.of(events.Receipt)))
        (receipt,) = caller.of(events.Receipt)
        assert (receipt.command, receipt.state) == ("q", "delivered")
        assert receipt.message_id == answer.message_id


async def test_orders_that_make_no_sense() -> None:
    async with hosted() as (sim, _):
        for command, args in (
            ("nonsense", {}),
            ("faults", {"busy": 2}),
            ("faults", {"nonsense": 1}),
            ("account_state", {"account": "staff0001", "state": "happy"}),
            ("account_state", {"account": "nobody", "state": "online"}),
            ("customer_writes", {"account": "nobody", "customer": "wm0001", "text": "x"}),
        ):
            with pytest.raises(ValueError):
                await sim.control(command, args)
        assert (await sim.control("add", {"accounts": ["x"], "customers": ["y"]}))["accounts"] == 21
        assert any("secret" in line for line in sim.banner())
