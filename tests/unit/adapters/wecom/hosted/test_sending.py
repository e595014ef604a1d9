"""wecom-hosted, outwards: every content, groups made once whatever is lost, paced and bounded account by account.

Long because each content and fault is a short test on one stand.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from adapters.sim.hosted.rigs import WeComHostedRig
from msgcenter.adapter import (
    Dispatch,
    Malformed,
    Rejected,
    Request,
    Retry,
    Sent,
    Unknown,
    Unreachable,
)
from protocols.address import Address
from protocols.hosted.answers import CODES
from protocols.payload import (
    Card,
    CreateGroup,
    DissolveGroup,
    Link,
    Media,
    MiniProgram,
    Native,
    Payload,
    Recall,
    Text,
    UpdateGroup,
)
from tests.port import FakePort
from tests.unit.adapters.wecom.hosted.parts import (
    ACCOUNT,
    CORP,
    customer,
    hosting,
    one,
    to_customer,
    to_group,
)

MEMBERS = (str(customer(1)), "wm0003", "staff:staff0002", f"wecom:{CORP}/app/wm0004")
CREATE = CreateGroup("grp_1", "天河网格服务群", f"staff:{ACCOUNT}", MEMBERS)


# -- contents --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (Text("您好"), {"type": "text", "text": "您好"}),
        (
            Link("账单", "https://m.example.com/bill", "11 月", "https://m.example.com/p.png"),
            {
                "type": "link",
                "title": "账单",
                "url": "https://m.example.com/bill",
                "description": "11 月",
                "image_url": "https://m.example.com/p.png",
            },
        ),
        (
            MiniProgram("wx1", "pages/index", "网上厅"),
            {
                "type": "miniprogram",
                "app_id": "wx1",
                "page": "pages/index",
                "title": "网上厅",
            },
        ),
        (Native("business_card", '{"user_id":"lisi"}'), {"type": "card", "user_id": "lisi"}),
    ],
)
async def test_what_is_said_is_what_the_gateway_reads(payload: Payload, body: Any) -> None:
    async with hosting() as h, h.adapter() as adapter:
        item = to_customer(1, payload)
        adapter.render(item.envelope)
        assert await one(adapter, item) == Sent((item.token,), "done")
        [entry] = h.said()
        assert (entry["body"], entry["from"], entry["to"]) == (body, ACCOUNT, "wm0002")
        assert entry["command"] == item.token


@pytest.mark.parametrize("kind", ["image", "voice", "video", "file"])
async def test_files_are_links_that_end(kind: Any) -> None:
    async with hosting() as h:
        port = h.port()
        async with h.adapter(port, public_url="https://msg.example.com/", link_for="1h") as adapter:
            file = port.put_media(b"%PDF-1.7 text", "application/pdf", "资费.pdf")
            item = to_customer(1, Media(kind, file.id))
            adapter.render(item.envelope)
            assert isinstance(await one(adapter, item), Sent)
            body = h.said()[0]["body"]
            assert (body["type"], body["name"], body["mime"], body["size"]) == (
                kind,
                "资费.pdf",
                "application/pdf",
                file.size,
            )
            start = "https://msg.example.com/hooks/hosted/file?"
            assert body["url"].startswith(start)
            query = dict(part.split("=", 1) for part in body["url"][len(start) :].split("&"))

            async def status(**changed: str) -> int:
                asked = Request("GET", "/", query | changed, {}, b"")
                return (await adapter.webhooks()["file"](asked)).status

            answer = await adapter.webhooks()["file"](Request("GET", "/", query, {}, b""))
            assert (answer.status, answer.body) == (200, b"%PDF-1.7 text")
            assert await status(mark="x") == 404
            assert await status(media="med_other") == 404
            assert await status(ends=str(int(query["ends"]) + 1)) == 404
            assert await status(ends="", mark="") == 404
            h.clock.jump(3601)
            assert await status() == 404
            gone = await one(adapter, to_customer(2, Media(kind, "med_none")))
            assert isinstance(gone, Rejected)
            assert gone.code == "media_refused"
        await port.close()


def checked(to: Address, payload: Payload, number: int = 1) -> Dispatch:
    item = to_customer(number, payload)
    object.__setattr__(item.envelope, "to", to)
    return item


@pytest.mark.parametrize(
    ("to", "payload", "why"),
    [
        (customer(1), Text("x" * 4097), "text: 4097 octets"),
        (customer(1), Card("a", "b", "https://a.example"), "Card is not a message"),
        (customer(1), Native("menu", "{}"), "business_card"),
        (customer(1), Native("mention", '{"text":"a","mention":["wm1"]}'), "groups only"),
        (customer(1), Media("image", "med_1"), "public_url"),
        (Address("wecom", "wwother/wm1"), Text("x"), "wwother"),
        (Address("wecom", "wm1"), Text("x"), "<corp>/<external_userid>"),
        (Address("staff", "lisi"), Text("x"), "wecom: and group:"),
        (Address("group", "g"), CreateGroup("g", "名" * 51, "", ("wm1",)), "51 characters"),
        (Address("group", "g"), CreateGroup("g", "n", "", ()), "0 items"),
        (Address("group", "g"), CreateGroup("g", "n", "wm1", ("wm1",)), "owner"),
        (Address("group", "g"), CreateGroup("g", "n", "", ("tel:+8613800138000",)), "member"),
        (Address("group", "g"), UpdateGroup("g", owner="lisi"), "handed over"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before(
    to: Address, payload: Payload, why: str
) -> None:
    async with hosting() as h, h.adapter() as adapter:
        with pytest.raises(Malformed, match=why):
            adapter.render(checked(to, payload).envelope)


# -- what the gateway answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(CODES))
async def test_refusals_follow_the_table(code: str) -> None:
    async with hosting() as h, h.adapter() as adapter:
        h.far.faults.refuse_next = [code]
        outcome = await one(adapter, to_customer(1))
        rule = CODES[code]
        assert isinstance(outcome, Retry if rule.retry else Rejected)
        assert (outcome.scope, outcome.code) == (rule.scope, f"hosted_{code}")
        again = await one(adapter, to_customer(1))
        assert isinstance(again, Sent) == rule.retry, "what may pass is done anew"


async def test_queued_unknown_and_lost_answers_keep_the_commands_id() -> None:
    async with hosting() as h:
        port = h.port()
        async with h.adapter(port) as adapter:
            h.far.faults.answer = "queued"
            first = to_customer(1)
            assert await one(adapter, first) == Sent((first.token,), "queued")
            await port.until(lambda: len(port.reports) >= 2)
            assert {report.report.remote_id for report in port.reports} == {first.token}
            h.far.faults.unknown = 1.0
            second = to_customer(2)
            outcome = await one(adapter, second)
            assert isinstance(outcome, Unknown)
            assert outcome.remote_ids == (second.token,)
            h.far.faults.unknown = 0.0
            h.far.faults.timeout_next = 1
            third = to_customer(3)
            outcome = await one(adapter, third)
            assert isinstance(outcome, Unknown)
            assert outcome.remote_ids == (third.token,)
            assert isinstance(await one(adapter, third), Sent)
            assert len(h.said()) == 3
            known, unseen = await adapter.resolve([third, to_customer(9)])
            assert known == Sent((third.token,), "queued")
            assert isinstance(unseen, Retry)
            assert unseen.code == "not_seen"
            await h.far.stop()
            [lost] = await adapter.resolve([third])
            assert isinstance(lost, Unknown)
            with pytest.raises(Unreachable):
                await adapter.deliver([to_customer(4), to_customer(5)])
        await port.close()


async def test_a_wrong_secret_comes_again_and_a_message_without_account_is_refused() -> None:
    async with hosting() as h, h.adapter() as adapter:
        assert isinstance(await one(adapter, to_customer(1, account="")), Rejected)
        h.far.secrets = h.far.event_secrets
        outcome = await one(adapter, to_customer(2))
        assert isinstance(outcome, Retry)
        assert (outcome.scope, outcome.code) == ("channel", "hosted_http")


async def test_a_message_is_taken_back_while_there_is_time() -> None:
    async with hosting() as h, h.adapter() as adapter:
        first, second = to_customer(1), to_customer(2)
        await adapter.deliver([first, second])
        back = Recall(first.envelope.id, (first.token,))
        outcome = await one(adapter, checked(customer(1), back, 5))
        assert isinstance(outcome, Sent)
        assert [entry["to"] for entry in h.said("recall")] == ["wm0002"]
        h.clock.jump(121)
        late = checked(customer(2), Recall("m", (second.token,)), 7)
        outcome = await one(adapter, late)
        assert isinstance(outcome, Rejected)
        assert outcome.code == "hosted_recall_too_late"
        never = await one(adapter, to_customer(8, Recall("m", ("never",))))
        assert isinstance(never, Rejected)
        assert never.code == "hosted_command_unknown"


# -- groups ----------------------------------------------------------------------------------------------------------------


async def test_a_group_is_made_written_to_changed_and_dissolved() -> None:
    async with hosting() as h, h.adapter() as adapter:
        adapter.render(to_group(1, CREATE).envelope)
        made = await one(adapter, to_group(1, CREATE))
        assert isinstance(made, Sent)
        [chat] = made.remote_ids
        group = h.far.world.groups[chat]
        assert (group.name, group.owner) == ("天河网格服务群", ACCOUNT)
        assert group.members == [ACCOUNT, "wm0002", "wm0003", "staff0002", "wm0004"]
        mention = Native("mention", json.dumps({"text": "请看", "mention": ["wm0003", "@all"]}))
        batch = [to_group(n, p, chat) for n, p in ((2, Text("一")), (3, Text("二")), (4, mention))]
        assert all(isinstance(outcome, Sent) for outcome in await adapter.deliver(batch))
        said = h.said("hosted_group")
        assert [entry["text"] for entry in said] == ["一", "二", "请看"]
        assert said[2]["mention"] == ["wm0003", "@all"]
        update = UpdateGroup(
            "grp_1", "新名", "", ("wm0009", "wm0004"), (str(customer(1)), "wm0004")
        )
        for _ in range(2):
            assert isinstance(await one(adapter, to_group(5, update, chat)), Sent)
        assert (group.name, group.members) == (
            "新名",
            [ACCOUNT, "wm0003", "staff0002", "wm0004", "wm0009"],
        )
        assert isinstance(await one(adapter, to_group(6, UpdateGroup("grp_1"), chat)), Sent)
        for number in (7, 8):
            dissolved = await one(adapter, to_group(number, DissolveGroup("grp_1"), chat))
            assert isinstance(dissolved, Sent), "one that is gone counts as dissolved"
        assert group.dissolved
        gone = await one(adapter, to_group(9, Text("三"), chat))
        assert isinstance(gone, Rejected)
        assert gone.code == "hosted_group_gone"


async def test_half_a_change_is_neither_done_nor_refused() -> None:
    async with hosting() as h, h.adapter() as adapter:
        made = await one(adapter, to_group(1, CREATE))
        assert isinstance(made, Sent)
        [chat] = made.remote_ids
        update = UpdateGroup("grp_1", "新名", "", ("wm0009",))
        real, calls = adapter.gateway.run, []

        async def run(command: Any, command_id: str) -> Any:
            calls.append(command_id)
            if len(calls) == 2:
                h.far.faults.refuse_next = ["busy"]
            return await real(command, command_id)

        adapter.gateway.run = run  # type: ignore[method-assign]
        assert isinstance(await one(adapter, to_group(2, update, chat)), Unknown)
        assert isinstance(await one(adapter, to_group(2, update, chat)), Sent)
        assert h.far.world.groups[chat].name == "新名"
        changes = [entry["text"] for entry in h.said("group")]
        assert changes == ["created", "members_added", "renamed"]


async def test_a_repeated_creation_finds_the_first_group() -> None:
    port = FakePort("wecom-hosted")
    async with WeComHostedRig().run(port) as rig:
        await rig.lose_answer()
        lost = await one(rig.adapter, rig.create(1))
        assert isinstance(lost, Unknown)
        again = [await one(rig.adapter, rig.create(1)) for _ in range(2)]
        assert again[0] == again[1]
        assert isinstance(again[0], Sent)
        assert [again[0].remote_ids[0]] == list(rig.far.world.groups)
        [asked] = await rig.adapter.resolve([rig.create(1)])
        assert asked == again[0]
        other = await one(rig.adapter, rig.create(2))
        assert isinstance(other, Sent)
        assert len(rig.far.world.groups) == 2
    await port.close()


# -- one account and the others --------------------------------------------------------------------------------------------


async def test_each_account_keeps_its_pace_over_all_processes() -> None:
    async with hosting() as h:
        ports = h.port(), h.port()
        async with (
            h.adapter(ports[0], messages_per_minute=4, groups_per_hour=2) as first,
            h.adapter(ports[1], messages_per_minute=4, groups_per_hour=2) as second,
        ):
            batches = [[to_customer(n + 10 * p) for n in range(5)] for p in range(2)]
            outcomes = await first.deliver(batches[0]) + await second.deliver(batches[1])
            assert [type(outcome) for outcome in outcomes] == [Sent] * 4 + [Retry] * 6
            for paced in outcomes[4:]:
                assert isinstance(paced, Retry)
                assert (paced.scope, paced.code) == ("account", "account_paced")
                assert 0 < paced.after <= 130
            others = [to_customer(50 + n, account="staff0002") for n in range(4)]
            assert all(isinstance(one_, Sent) for one_ in await second.deliver(others))
            commands = [
                Dispatch(
                    to_group(n, CreateGroup(f"g{n}", "n", "", ("wm1",))).envelope, f"c{n}", ACCOUNT
                )
                for n in range(70, 73)
            ]
            for item in commands:
                object.__setattr__(item.envelope, "order_key", item.token)
            states = [type(outcome) for outcome in await first.deliver(commands)]
            assert states[2] is Retry
            h.clock.jump(65)
            assert isinstance(await one(second, to_customer(99)), Sent)
        for port in ports:
            await port.close()


async def test_a_conversation_stays_in_order_when_its_pace_is_used_up() -> None:
    async with hosting() as h, h.adapter(messages_per_minute=2) as adapter:
        batch = [to_group(n, Text(f"{n}"), "none") for n in range(3)]
        outcomes = await adapter.deliver(batch)
        assert [type(outcome) for outcome in outcomes] == [Rejected, Rejected, Retry]
        h.far.faults.refuse_next = ["busy"]
        h.clock.jump(65)
        first, second = await adapter.deliver([to_group(n, Text(f"{n}"), "none") for n in (4, 5)])
        assert isinstance(first, Retry)
        assert first.code == "hosted_busy"
        assert second == Retry(
            "recipient", "an earlier one of this conversation was not taken", 0.0, "waits"
        )


async def test_an_account_whose_calls_hang_delays_no_other() -> None:
    async with hosting() as h, h.adapter(patience=0.3, total=30.0, at_once=2) as adapter:
        h.far.faults.hang = [ACCOUNT]
        stuck = [to_customer(n) for n in range(6)]
        others = [to_customer(n, account=f"staff{n % 19 + 2:04d}") for n in range(100, 140)]
        mixed = [item for pair in zip(others, [*stuck, *others[6:]], strict=False) for item in pair]
        batch = list({id(item): item for item in mixed}.values())
        async with asyncio.timeout(10):  # a hanging call may take thirty seconds
            outcomes = await adapter.deliver(batch)
        by_account: dict[bool, list[Any]] = {True: [], False: []}
        for item, outcome in zip(batch, outcomes, strict=True):
            by_account[item.sender == ACCOUNT].append(outcome)
        assert all(isinstance(outcome, Sent) for outcome in by_account[False])
        kinds = [type(outcome) for outcome in by_account[True]]
        assert sorted(kinds, key=str) == sorted([Unknown] * 2 + [Retry] * 4, key=str)
        busy = {(o.scope, o.code) for o in by_account[True] if isinstance(o, Retry)}
        assert busy == {("account", "account_silent")}
        h.far.faults.hang = []
        async with asyncio.timeout(10):
            while not all(isinstance(o, Sent) for o in await adapter.deliver(stuck)):
                await asyncio.sleep(0.05)
        assert len(h.said()) == len(batch), "repeats have their first id"


async def test_files_of_other_hosts_are_never_asked_for() -> None:
    async with hosting() as h, h.adapter(media_hosts=["files.example.com", "10.0.0.8:8443"]) as a:
        may = a.files._may_fetch
        assert may("https://files.example.com/a")
        assert may("https://FILES.example.com:443/a")
        assert may("https://10.0.0.8:8443/a")
        for url in (
            "https://files.example.com:8443/a",
            "https://10.0.0.8/a",
            "http://169.254.169.254/latest",
            "https://user@files.example.com/a",
            "https://files.example.com.evil.example/a",
            "file:///etc/passwd",
            "https://[::1]/a",
            "https:///a",
            "https://files.example.com:x/a",
        ):
            assert not may(url), url
