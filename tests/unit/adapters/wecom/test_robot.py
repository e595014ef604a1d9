"""wecom-robot: every kind of content, 20 a minute, and a removed robot."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from msgcenter.adapter import Malformed, Rejected, Retry, Secret, Sent, Unknown
from protocols.payload import Card, Happening, Link, Markdown, Media, Native, Text
from tests.unit.adapters.wecom.parts import Corp, corp, one, to_group

JPG = b"\xff\xd8\xff" + b"picture" * 10


def robots(c: Corp) -> dict[str, Secret]:
    c.far.robots.robot_add(key="key-1", group="一群")
    c.far.robots.robot_add(key="key-2", group="二群")
    return {"one": Secret("key-1"), "two": Secret("key-2"), "gone": Secret("key-3")}


async def test_every_kind_of_content_arrives() -> None:
    card = {"card_type": "text_notice", "main_title": {"title": "t"}}
    card["card_action"] = {"type": 1, "url": "https://a.example"}
    async with corp() as c, c.robot(port := c.port(), robots=robots(c)) as robot:
        groups = [one.payload for one in port.received]
        assert [json.loads(g.body)["chat"] for g in groups if isinstance(g, Happening)] == [
            "one",
            "two",
            "gone",
        ]
        picture = port.put_media(JPG, "image/jpeg", "a.jpg").id
        paper = port.put_media(b"%PDF-1.7 text", "application/pdf", "表.pdf").id
        mention = {"content": "请看", "mentioned_list": ["@all"]}
        payloads = [
            Text("好"),
            Markdown("**好**"),
            Media("image", picture),
            Media("file", paper),
            Link("t", "https://a.example", "d", "https://a.example/p.png"),
            Card("t", "d", "https://a.example", "看"),
            Native("template_card", json.dumps(card)),
            Native("markdown_v2", json.dumps({"content": "|a|b|"})),
            Native("text", json.dumps(mention)),
        ]
        batch = [to_group(n, payload, "grp_r", "one") for n, payload in enumerate(payloads)]
        for item in batch:
            robot.render(item.envelope)
        outcomes = await robot.deliver(batch)
        assert all(isinstance(o, Sent) for o in outcomes), outcomes
        assert {entry["to"] for entry in c.shown("robot")} == {"一群"}
        types = Counter(entry["msgtype"] for entry in c.shown("robot"))
        assert types == {
            **{"text": 2, "template_card": 2},
            **dict.fromkeys(["markdown", "markdown_v2", "image", "file", "news"], 1),
        }
        c.far.media.media_expire()
        assert isinstance(await one(robot, batch[3]), Sent), "uploaded once more"
        assert c.calls("webhook/upload_media") == 2
        await port.close()


async def test_twenty_a_minute_and_each_robot_for_itself() -> None:
    async with corp() as c, c.robot(robots=robots(c)) as robot:
        batch = [to_group(n, Text(f"{n}"), "grp_r", "one") for n in range(30)]
        outcomes = await robot.deliver(batch)
        assert Counter(type(o) for o in outcomes) == {Sent: 20, Retry: 10}
        first = next(o for o in outcomes if isinstance(o, Retry))
        assert first.code == "wecom_robot_limit"
        assert first.scope == "recipient"
        assert c.far.gate.refused == {}, "WeCom was not asked"
        assert isinstance(await one(robot, to_group(50, Text("x"), "grp_q", "two")), Sent)
        c.jump(first.after + 0.01)
        rest = await robot.deliver(batch[20:])
        assert all(isinstance(o, Sent) for o in rest)


async def test_a_limit_somebody_else_used_up_is_waited_out() -> None:
    async with corp() as c, c.robot(port := c.port(), robots=robots(c)) as robot:
        c.far.faults.fault(endpoint="webhook/send", errcode=45009)
        for _ in range(3):
            outcome = await one(robot, to_group(1, Text("x"), "grp_r", "one"))
            assert isinstance(outcome, Retry)
            assert 55 < outcome.after <= 60
        assert c.calls("webhook/send") == 1
        assert isinstance(await one(robot, to_group(2, Text("x"), "grp_q", "two")), Sent)
        assert port.account_states == [("one", "limited", port.account_states[0][2])]
        c.jump(61)
        assert isinstance(await one(robot, to_group(1, Text("x"), "grp_r", "one")), Sent)
        await port.close()


async def test_removed_and_unknown_robots_and_lost_answers() -> None:
    async with corp() as c, c.robot(robots=robots(c)) as robot:
        gone = await one(robot, to_group(1, Text("x"), "grp_r", "gone"))
        assert isinstance(gone, Rejected)
        assert (gone.scope, gone.code) == ("recipient", "wecom_93000")
        unknown = await one(robot, to_group(1, Text("x"), "grp_r", "nobody"))
        assert isinstance(unknown, Rejected)
        assert unknown.code == "robot_unknown"
        c.far.faults.fault(endpoint="webhook/send", kind="timeout")
        batch = [to_group(n, Text(f"{n}"), "grp_r", "one") for n in range(2)]
        first, second = await robot.deliver(batch)
        assert isinstance(first, Unknown)
        assert isinstance(second, Retry)
        assert len(c.shown("robot")) == 1


@pytest.mark.parametrize(
    "payload",
    [
        Text("好" * 700),
        Media("video", "med_1"),
        Link("t", "https://a.example", picture="med_1"),
        Native("markdown_v2", '{"content":"<@u>"}'),
        Native("text", '{"content":"x","mentioned_list":"@all"}'),
        Native("dance", "{}"),
    ],
)
async def test_what_no_robot_sends_is_refused_before(payload: object) -> None:
    async with corp() as c, c.robot(robots=robots(c)) as robot:
        with pytest.raises(Malformed):
            robot.render(to_group(1, payload, "grp_r", "one").envelope)  # type: ignore[arg-type]
