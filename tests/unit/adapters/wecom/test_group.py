"""wecom-group: made once whatever is lost, changed, written to, closed honestly."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from adapters.wecom.group import chat_id_of
from msgcenter.adapter import Dispatch, Malformed, Rejected, Retry, Sent, Unknown, Unreachable
from protocols.outcome import Outcome
from protocols.payload import (
    CreateGroup,
    DissolveGroup,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Text,
    UpdateGroup,
)
from tests.unit.adapters.wecom.parts import Corp, corp, one, to_group

GROUP = "grp_01jabcdefghjkmnpqrstvwxyz0"
CHAT = chat_id_of(GROUP)
MEMBERS = tuple(f"staff:staff{n:04d}" for n in range(1, 6))
CREATE = CreateGroup(GROUP, "武侯区值班群", "staff:staff0001", MEMBERS)


def command(payload: object, target: str = CHAT) -> Dispatch:
    return to_group(1, payload, GROUP, target)  # type: ignore[arg-type]


def chats(c: Corp) -> dict[str, dict[str, object]]:
    return {chat["chatid"]: chat for chat in c.far.appchats.appchats()["chats"]}


def test_a_chat_id_follows_from_ours_and_is_one_wecom_takes() -> None:
    assert chat_id_of(GROUP) == GROUP.replace("_", "")
    odd = chat_id_of("group with 字 and more than thirty-two characters")
    assert len(odd) == 32
    assert odd.isalnum()


async def test_a_group_is_made_written_to_changed_and_closed() -> None:
    async with corp() as c, c.group() as group:
        made = await one(group, command(CREATE, ""))
        assert made == Sent((CHAT,))
        assert chats(c)[CHAT]["owner"] == "staff0001"
        outcomes = await group.deliver(
            [to_group(n, Text(f"第{n}条"), GROUP, CHAT) for n in range(3)]
        )
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
        assert Counter(e["to"] for e in c.shown("appchat")) == {
            f"staff{n:04d}": 3 for n in range(1, 6)
        }
        texts = [e["text"] for e in c.shown("appchat") if e["to"] == "staff0002"]
        assert texts == ["第0条", "第1条", "第2条"]
        update = UpdateGroup(
            GROUP, "新名", "", ("staff:staff0009",), ("staff:staff0001", "staff0002")
        )
        for _ in range(2):
            assert isinstance(await one(group, command(update)), Sent)
        chat = chats(c)[CHAT]
        assert chat["members"] == ["staff0003", "staff0004", "staff0005", "staff0009"]
        assert (chat["owner"], chat["name"]) == ("staff0003", "新名"), "the owner left: another one"
        assert isinstance(await one(group, command(UpdateGroup(GROUP))), Sent), "nothing to change"
        await one(group, to_group(7, Text("好"), GROUP, CHAT))
        assert Counter(e["to"] for e in c.shown("appchat"))["staff0009"] == 1
        for _ in range(3):
            closed = await one(group, command(DissolveGroup(GROUP)))
            assert isinstance(closed, Sent)
            assert closed.detail
        assert chats(c)[CHAT]["members"] == ["staff0003", "staff0004"]
        assert chats(c)[CHAT]["name"] == "[已解散] 新名"
        c.far.appchats.appchat_dissolve(chatid=CHAT)
        gone = await one(group, command(DissolveGroup(GROUP)))
        assert isinstance(gone, Sent)
        assert "gone" in gone.detail


async def test_a_group_whose_answer_was_lost_is_not_made_twice() -> None:
    async with corp() as c, c.group() as group:
        c.far.faults.fault(endpoint="appchat/create", kind="timeout")
        assert isinstance(await one(group, command(CREATE, "")), Unknown)
        assert await group.resolve([command(CREATE, "")]) == [Sent((CHAT,), "it is there")]
        again = await one(group, command(CREATE, ""))
        assert isinstance(again, Sent)
        assert again.remote_ids == (CHAT,)
        assert len(chats(c)) == 1


async def test_an_unknown_command_is_asked_for() -> None:
    async with corp() as c, c.group() as group:
        commands = [command(CREATE, ""), command(DissolveGroup(GROUP)), command(Text("好"))]
        create, dissolve, text = await group.resolve(commands)
        assert isinstance(create, Retry), "WeCom knows no such group: it may be made"
        assert isinstance(dissolve, Sent), "nothing is there to be closed"
        assert isinstance(text, Unknown)
        await one(group, command(CREATE, ""))
        [open_] = await group.resolve([command(DissolveGroup(GROUP))])
        assert isinstance(open_, Retry)
        await c.far.stop()
        assert all(isinstance(o, Unknown) for o in await group.resolve(commands))
        with pytest.raises(Unreachable):
            await group.deliver([command(Text("好"))])


async def refused(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected), outcome
    return outcome.code


async def test_what_wecom_refuses_is_refused_with_its_reason() -> None:
    async with corp() as c, c.group() as group:
        unknown = await one(group, to_group(1, Text("好"), "grp_x", "nosuchchat"))
        assert await refused(unknown) == "wecom_86003"
        stranger = CreateGroup(GROUP, "群", "staff:staff0001", ("staff:staff0001", "staff:nobody"))
        assert await refused(await one(group, command(stranger, ""))) == "wecom_86216"
        c.far.tokens.app_add(agentid=1_000_009, secret="other")
        await one(group, command(CREATE, ""))
        c.far.appchats.chats[CHAT].agentid = 1_000_009
        assert await refused(await one(group, command(CREATE, ""))) == "wecom_86008"
        assert await refused(await one(group, command(Text("好")))) == "wecom_86008"


async def test_an_app_that_does_not_see_the_whole_corp_is_down_for_groups() -> None:
    async with corp() as c, c.group(port := c.port()) as group:
        c.far.tokens.app_change(agentid=c.far.options.agent, scope=["staff0001"])
        outcome = await one(group, command(CREATE, ""))
        assert isinstance(outcome, Retry)
        assert outcome.code == "wecom_48002"
        assert port.account_states[-1][:2] == ("staff-app", "down")
        await port.close()


@pytest.mark.parametrize(
    "payload",
    [
        CreateGroup(GROUP, "群", "staff:staff0001", ()),
        CreateGroup(GROUP, "名" * 51, "staff:staff0001", MEMBERS),
        UpdateGroup(GROUP, add=("not a userid",)),
        Native("template_card", '{"card_type":"text_notice"}'),
        MiniProgram("wx1", "p", "办理提醒"),
        Text(""),
    ],
)
async def test_what_no_group_takes_is_refused_before(payload: object) -> None:
    async with corp() as c, c.group() as group:
        with pytest.raises(Malformed):
            group.render(command(payload).envelope)
        assert c.calls("appchat/create") == 0


async def test_a_failing_message_holds_up_its_group_alone() -> None:
    async with corp() as c, c.group() as group:
        other = CreateGroup("grp_2", "另一群", "staff:staff0001", MEMBERS)
        assert isinstance(await one(group, command(CREATE, "")), Sent)
        assert isinstance(await one(group, to_group(1, other, "grp_2")), Sent)
        warm = [to_group(n, Markdown("好"), g, "") for n, g in enumerate((GROUP, "grp_2"))]
        await group.deliver(warm)
        c.far.faults.fault(endpoint="appchat/send", errcode=-1)
        first = [to_group(n, Text(f"{n}"), GROUP, CHAT) for n in range(3)]
        outcomes = await group.deliver(first)
        assert [type(o) for o in outcomes] == [Retry] * 3
        second = await group.deliver([*first, *(to_group(n, Text("x"), "grp_2") for n in range(2))])
        assert [type(o) for o in second] == [Sent] * 5


async def test_no_member_gets_more_than_wecom_shows() -> None:
    async with corp() as c, c.group() as group:
        await one(group, command(CREATE, ""))
        outcomes: list[Outcome] = []
        for start in range(0, 250, 50):
            batch = [to_group(n, Text(f"{n}"), GROUP, CHAT) for n in range(start, start + 50)]
            outcomes += await group.deliver(batch)
        assert Counter(type(o) for o in outcomes) == {Sent: 200, Retry: 50}
        assert c.dropped() == []
        [limited] = {o.code for o in outcomes if isinstance(o, Retry)} - {"waits"}
        assert limited == "wecom_member_limit"
        c.jump(90)
        assert isinstance(await one(group, command(Text("again"))), Sent)
        assert c.dropped() == []


async def test_what_is_not_begun_in_time_comes_again_and_is_not_unknown() -> None:
    async with corp() as c, c.group(slack_s=0.2) as group:
        await one(group, command(CREATE, ""))
        c.far.faults.fault(endpoint="appchat/send", kind="delay", seconds=0.06, times=-1)
        batch = [to_group(n, Text(f"{n}"), GROUP, CHAT) for n in range(10)]
        outcomes = await group.deliver(batch)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == sorted(kinds, key=lambda kind: kind is Retry), "in order"
        assert {Sent, Retry} == set(kinds)
        slow = {(o.scope, o.code) for o in outcomes if isinstance(o, Retry)}
        assert slow == {("channel", "wecom_slow")}
        assert len([e for e in c.shown("appchat") if e["to"] == "staff0001"]) == kinds.count(Sent)


async def test_files_are_uploaded_once_and_again_when_forgotten() -> None:
    async with corp() as c, c.group(port := c.port()) as group:
        await one(group, command(CREATE, ""))
        payload = Media("file", port.put_media(b"%PDF-1.7 text", "application/pdf", "表.pdf").id)
        assert isinstance(await one(group, command(payload)), Sent)
        c.far.media.media_expire()
        assert isinstance(await one(group, command(payload)), Sent)
        assert c.calls("media/upload") == 2
        article = {"title": "t", "url": "https://a.example"}
        news = Native("news", json.dumps({"articles": [article]}))
        assert isinstance(await one(group, command(news)), Sent)
        await port.close()
