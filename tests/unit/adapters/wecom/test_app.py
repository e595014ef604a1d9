"""wecom-app: every kind of content, one outcome for each recipient, no silent drop, repeats, recall, cards and files.

Long because each type, limit and fault is a short test on one stand.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import pytest

from adapters.wecom import WeComApp
from msgcenter.adapter import (
    Dispatch,
    Malformed,
    Rejected,
    Retry,
    Secret,
    Sent,
    Unavailable,
    Unknown,
    Unreachable,
)
from msgcenter.state.memory import MemoryState
from protocols.outcome import Outcome
from protocols.payload import (
    Card,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Recall,
    Text,
)
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp, corp, one, to_staff

JPG = b"\xff\xd8\xff" + b"picture" * 10
BUTTONS = {
    "card_type": "button_interaction",
    "task_id": "task-1",
    "main_title": {"title": "工单"},
    "button_list": [{"text": "接单", "key": "take"}],
}


async def test_every_kind_of_content_arrives() -> None:
    notice = {
        "card_type": "text_notice",
        "main_title": {"title": "通知"},
        "card_action": {"type": 1, "url": "https://example.com"},
    }
    async with corp() as c, c.app(port := c.port()) as app:
        picture = port.put_media(JPG, "image/jpeg", "图.jpg").id
        clip = port.put_media(b"\0\0\0\x18ftypmp42" + b"\0" * 20, "video/mp4", "a.mp4").id
        amr = port.put_media(b"#!AMR\n" + b"\x3c" + b"\0" * 31, "audio/amr", "a.amr").id
        paper = port.put_media(b"%PDF-1.7 something", "application/pdf", "说明.pdf").id
        page = {"title": "文", "thumb_media_id": picture, "content": "<p>好</p>"}
        payloads = [
            Text("您好"),
            Markdown("**好**"),
            Media("image", picture),
            Media("video", clip, title="片", description="说明"),
            Media("voice", amr),
            Media("file", paper),
            Link("标题", "https://example.com/a", "说明", "https://example.com/a.png"),
            Link("标题", "https://example.com/b", "", picture),
            MiniProgram("wx123", "pages/a", "办理提醒"),
            Card("标题", "说明", "https://example.com", "去看"),
            Native("template_card", json.dumps(notice)),
            Native("mpnews", json.dumps({"articles": [page]})),
            Native("news", json.dumps({"articles": [{"title": "x", "url": "https://a.example"}]})),
            Native("miniprogram_notice", json.dumps({"appid": "wx1", "title": "办理提醒"})),
        ]
        batch = [to_staff(number, payload) for number, payload in enumerate(payloads)]
        for item in batch:
            app.render(item.envelope)
        outcomes = await app.deliver(batch)
        assert [type(outcome) for outcome in outcomes] == [Sent] * len(batch), outcomes
        types = Counter(entry["msgtype"] for entry in c.shown())
        assert types == {
            **dict.fromkeys(["text", "markdown", "image", "video", "voice", "file"], 1),
            **dict.fromkeys(["textcard", "template_card", "mpnews"], 1),
            **{"news": 3, "miniprogram_notice": 2},
        }
        [file] = [entry for entry in c.shown() if entry["msgtype"] == "file"]
        assert file["body"]["name"] == "说明.pdf"
        pictures = [
            e["body"]["articles"][0].get("picurl") for e in c.shown() if e["msgtype"] == "news"
        ]
        assert any(str(url).startswith(c.far.url) for url in pictures), "our picture got an address"
        await port.close()


@pytest.mark.parametrize(
    "payload",
    [
        Text("好" * 700),
        Text(""),
        MiniProgram("wx1", "p", "短"),
        Native("dance", "{}"),
        Native("template_card", "[]"),
        Link("标题", "https://example.com", picture="file.png"),
        Card("标题", "说明", "https://example.com", "五个字太长"),
    ],
)
async def test_what_wecom_would_cut_or_refuse_is_refused_before(payload: object) -> None:
    async with corp() as c, c.app() as app:
        item = to_staff(1, payload)  # type: ignore[arg-type]
        with pytest.raises(Malformed):
            app.render(item.envelope)
        outcome = await one(app, item)
        assert isinstance(outcome, Rejected)
        assert outcome.code == "malformed"
        assert c.calls("message/send") == 0


async def test_one_call_for_many_and_an_outcome_for_each() -> None:
    async with corp() as c, c.app() as app:
        c.far.world.members["staff0007"].licensed = False
        text = Text("资费调整通知")
        batch = [to_staff(n, text, tier=5, category="marketing", order_key="") for n in range(10)]
        batch.append(to_staff(10, text, "Nobody", tier=5, category="marketing", order_key=""))
        batch.append(to_staff(11, text, "STAFF0001", tier=5, category="marketing", order_key=""))
        outcomes = await app.deliver(batch)
        expected = [Sent] * 10 + [Rejected, Sent]
        expected[6] = Rejected
        assert [type(outcome) for outcome in outcomes] == expected
        assert isinstance(outcomes[6], Rejected)
        assert outcomes[6].code == "wecom_unlicensed"
        assert isinstance(outcomes[10], Rejected)
        assert (outcomes[10].scope, outcomes[10].code) == ("recipient", "wecom_invalid_user")
        assert c.calls("message/send") == 2, "one for all, one for the second message to one member"
        ids = [o.remote_ids[0] for o in outcomes if isinstance(o, Sent)]
        assert len(set(ids)) == len(ids), "every message can be told apart"
        gone = [to_staff(n, Text("x"), f"no{n}", tier=5, order_key="") for n in range(3)]
        refused = await app.deliver(gone)
        assert all(isinstance(o, Rejected) and o.code == "wecom_81013" for o in refused)


async def test_messages_that_ask_for_order_or_answers_are_not_joined() -> None:
    async with corp() as c, c.app() as app:
        await app.deliver([to_staff(n, Text("一样"), tier=2, order_key="") for n in range(5)])
        assert c.calls("message/send") == 5
        await app.deliver([to_staff(n, Text("一样"), tier=5) for n in range(5)])
        assert c.calls("message/send") == 10, "each has a conversation of its own"
        cards = [
            to_staff(n, Native("template_card", json.dumps(BUTTONS | {"task_id": f"t{n}"})), tier=5)
            for n in range(3)
        ]
        outcomes = await app.deliver(cards)
        assert all(isinstance(o, Sent) and "response_code=" in o.detail for o in outcomes)


async def test_equal_words_twice_are_two_messages_and_a_repeat_is_none() -> None:
    async with corp() as c, c.app() as app:
        batch = [to_staff(n, Text("您有新的工单"), "staff0001") for n in range(10)]
        for _ in range(2):
            outcomes = await app.deliver(batch)
            assert all(isinstance(outcome, Sent) for outcome in outcomes)
        assert len(c.shown()) == 10
        assert all(entry["dropped"] == "duplicate" for entry in c.dropped())


async def test_the_repeat_of_a_shared_call_repeats_it_as_it_was() -> None:
    async with corp() as c, c.app(port := c.port()) as app:
        text = Text("维护通知")
        batch = [to_staff(n, text, tier=5, order_key="") for n in range(6)]
        c.far.faults.fault(endpoint="message/send", kind="timeout", times=1)
        outcomes = await app.deliver(batch)
        assert all(isinstance(outcome, Unknown) for outcome in outcomes)
        assert len(c.shown()) == 6
        fresh = to_staff(50, text, tier=5, order_key="")
        again = [
            Dispatch(e := item.envelope.again(counts=True, token_of=0), e.token())
            for item in batch[:3]
        ]
        assert [item.token for item in again] == [item.token for item in batch[:3]]
        other = c.port(port.channel)  # another process takes it up
        async with c.app(other) as successor:
            outcomes = await successor.deliver([*again, fresh])
        assert all(isinstance(outcome, Sent) for outcome in outcomes), outcomes
        assert Counter(e["to"] for e in c.shown()) == {
            **{f"staff{n + 1:04d}": 1 for n in range(6)},
            "staff0051": 1,
        }
        c.jump(3 * 3600)
        late = await one(app, again[0])
        assert isinstance(late, Unknown), "WeCom would not recognise it any more"
        await port.close()
        await other.close()


async def test_one_conversation_stays_in_order() -> None:
    async with corp() as c, c.app() as app:
        batch = [
            to_staff(n, user=f"staff{n % 3 + 1:04d}", order_key=f"talk-{n % 3}") for n in range(30)
        ]
        c.far.faults.fault(endpoint="message/send", kind="delay", seconds=0.05, share=0.3, times=-1)
        outcomes = await app.deliver(batch)
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
        for member in range(3):
            texts = [e["text"] for e in c.shown() if e["to"] == f"staff{member + 1:04d}"]
            assert texts == [f"第{n}条" for n in range(member, 30, 3)]
        c.far.faults.faults_clear()
        c.far.faults.fault(endpoint="message/send", errcode=-1)
        late = [to_staff(n, user="staff0009", order_key="talk-9") for n in range(100, 104)]
        outcomes = await app.deliver(late)
        assert all(isinstance(outcome, Retry) for outcome in outcomes)
        assert [o.code for o in outcomes[1:] if isinstance(o, Retry)] == ["waits"] * 3
        c.far.faults.fault(endpoint="message/send", kind="timeout")
        first, *rest = await app.deliver(late)
        assert isinstance(first, Unknown), "what follows waits for its repeat"
        assert [o.code for o in rest if isinstance(o, Retry)] == ["waits"] * 3
        assert [e["text"] for e in c.shown() if e["to"] == "staff0009"] == ["第100条"]


async def no_silent_drop(messages: int, members: int) -> Corp:
    """Send as the core would, jumping over every wait; answers the corp for a last look."""
    async with corp(limits={"app_seats": 100_000}) as c, c.app() as app:
        left = [
            to_staff(
                n,
                Text("同一段话") if n % 2 else None,
                f"staff{n % members + 1:04d}",
                tier=5 if n % 2 else 2,
                order_key="",
            )
            for n in range(messages)
        ]
        waited = 0
        for _ in range(400):
            outcomes: list[Outcome] = []
            for start in range(0, len(left), 250):
                outcomes += await app.deliver(left[start : start + 250])
            pairs = list(zip(left, outcomes, strict=True))
            again = [(item, o) for item, o in pairs if isinstance(o, Retry)]
            assert all(isinstance(o, Sent | Retry) for o in outcomes)
            limited = [o for _, o in again if o.code == "wecom_member_limit"]
            assert all(o.scope == "recipient" and o.after > 0 for o in limited)
            waited += len(limited)
            left = [item for item, _ in again]
            if not left:
                break
            c.jump(min((o.after for o in limited), default=1.0) + 0.01)
        assert not left
        assert waited > 0, "nothing was ever over the limit: this proves nothing"
        assert c.dropped() == []
        assert len(c.shown()) == messages
        assert c.far.gate.refused == {}
        return c


async def test_more_than_a_member_may_get_waits_and_nothing_vanishes() -> None:
    await no_silent_drop(200, 4)


@pytest.mark.fault
@pytest.mark.timeout(900)
async def test_ten_thousand_messages_none_vanishes() -> None:
    await no_silent_drop(10_000, 8)


async def test_several_processes_keep_one_limit() -> None:
    async with corp() as c:
        ports = [c.port() for _ in range(3)]
        async with c.app(ports[0]) as a, c.app(ports[1]) as b, c.app(ports[2]) as d:
            outcomes = await asyncio.gather(
                *[
                    one(app, to_staff(n * 3 + k, user="staff0001"))
                    for n in range(20)
                    for k, app in enumerate((a, b, d))
                ]
            )
        assert Counter(type(outcome) for outcome in outcomes) == {Sent: 30, Retry: 30}
        assert c.dropped() == []
        for port in ports:
            await port.close()


async def test_a_member_is_one_however_the_name_is_written() -> None:
    async with corp() as c, c.app() as app:
        batch = [to_staff(n, user="staff0001", order_key="") for n in range(25)]
        batch += [to_staff(n, user="STAFF0001", order_key="") for n in range(25, 35)]
        outcomes = await app.deliver(batch)
        assert Counter(type(outcome) for outcome in outcomes) == {Sent: 30, Retry: 5}
        assert c.dropped() == []


async def test_what_is_long_on_its_way_is_counted_until_it_has_been_there_a_minute() -> None:
    """WeCom's minute begins when the first one arrives there, which is later than when it was counted here."""
    async with corp() as c, c.app(at_once=30) as app:
        c.far.faults.fault(endpoint="message/send", kind="delay", seconds=13.0, times=30)
        first = [to_staff(n, user="staff0001", order_key="") for n in range(30)]
        sending = asyncio.create_task(app.deliver(first))
        async with asyncio.timeout(5):
            while c.calls("message/send") < 30:
                await asyncio.sleep(0.01)
        c.jump(13.1)
        assert all(isinstance(outcome, Sent) for outcome in await sending)
        c.jump(53)  # 66 s after they were counted, 53 s after they arrived
        second = [to_staff(n, user="staff0001", order_key="") for n in range(30, 60)]
        assert all(isinstance(outcome, Retry) for outcome in await app.deliver(second))
        c.jump(30)
        assert all(isinstance(outcome, Sent) for outcome in await app.deliver(second))
        assert c.dropped() == []


async def test_a_conversation_waits_for_its_message_that_is_over_a_limit_whoever_it_is_to() -> None:
    async with corp() as c, c.app() as app:
        await app.deliver([to_staff(n, user="staff0001", order_key="") for n in range(30)])
        batch = [
            to_staff(30, user="staff0001", order_key="order-7"),
            to_staff(31, user="staff0002", order_key="order-7"),
            to_staff(32, user="staff0003", order_key="order-8"),
        ]
        over, behind, other = await app.deliver(batch)
        assert isinstance(over, Retry)
        assert isinstance(behind, Retry)
        assert behind.after >= over.after > 0
        assert isinstance(other, Sent)
        assert [e["to"] for e in c.shown()][30:] == ["staff0003"]


async def test_what_could_not_be_begun_in_time_comes_again_and_is_not_unknown() -> None:
    async with corp() as c, c.app(at_once=1, slack_s=0.05) as app:
        c.far.faults.fault(endpoint="message/send", kind="delay", seconds=0.2, times=1)
        batch = [to_staff(n, order_key="") for n in range(3)]
        first, *rest = await app.deliver(batch)
        assert isinstance(first, Sent)
        assert all(isinstance(outcome, Retry) for outcome in rest), rest
        assert c.calls("message/send") == 1, "nobody waits for an answer that the core gave up"
        assert all(isinstance(outcome, Sent) for outcome in await app.deliver(batch[1:2]))


async def test_recall() -> None:
    async with corp() as c, c.app() as app:
        sent = await one(app, to_staff(1))
        assert isinstance(sent, Sent)
        recall = Recall("msg_1", sent.remote_ids)
        for _ in range(2):
            assert isinstance(await one(app, to_staff(2, recall)), Sent)
        assert [entry["to"] for entry in c.shown("recall")] == ["staff0002"]
        unknown = await one(app, to_staff(3, Recall("msg_2", ("no-such-id",))))
        assert isinstance(unknown, Rejected)
        assert unknown.code == "wecom_40058"
        joint = await app.deliver([to_staff(n, Text("同"), tier=5, order_key="") for n in (5, 6)])
        assert isinstance(joint[0], Sent)
        shared = await one(app, to_staff(7, Recall("msg_3", joint[0].remote_ids)))
        assert isinstance(shared, Rejected)
        assert shared.code == "sent_jointly", "nobody else loses a message"
        c.jump(25 * 3600)
        late = await one(app, to_staff(8, recall))
        assert isinstance(late, Rejected)
        assert late.code == "wecom_42052"


async def test_a_card_is_answered_and_changed_once() -> None:
    async with corp() as c, c.app() as app:
        sent = await one(app, to_staff(1, Native("template_card", json.dumps(BUTTONS))))
        assert isinstance(sent, Sent)
        code = sent.detail.removeprefix("response_code=")
        change = {"response_code": code, "button": {"replace_name": "已接单"}}
        update = Native("update_template_card", json.dumps(change))
        app.render(to_staff(1, update).envelope)
        assert isinstance(await one(app, to_staff(1, update)), Sent)
        assert [entry["text"] for entry in c.shown("card_update")] == ["已接单"]
        again = await one(app, to_staff(1, update))
        assert isinstance(again, Rejected)
        assert again.code == "wecom_60140"


async def test_a_file_is_uploaded_once_and_again_before_it_ends() -> None:
    async with corp() as c:
        ports = [c.port(), c.port()]
        picture = [port.put_media(JPG, "image/jpeg", "a.jpg").id for port in ports].pop()
        async with c.app(ports[0]) as a, c.app(ports[1]) as b:
            payload = Media("image", picture)
            outcomes = await asyncio.gather(
                *[
                    one(app, to_staff(n * 2 + k, payload))
                    for n in range(10)
                    for k, app in enumerate((a, b))
                ]
            )
            assert all(isinstance(outcome, Sent) for outcome in outcomes)
            assert c.calls("media/upload") == 1
            c.jump(3 * 86_400 - 7 * 3600)
            assert isinstance(await one(a, to_staff(90, payload)), Sent)
            assert c.calls("media/upload") == 1
            c.jump(2 * 3600)
            assert isinstance(await one(b, to_staff(91, payload)), Sent)
            assert c.calls("media/upload") == 2, "before WeCom forgets it"
            assert ("message/send", 40007) not in c.far.gate.refused
        for port in ports:
            await port.close()


async def test_a_file_that_wecom_forgot_is_uploaded_once_more() -> None:
    async with corp() as c, c.app(port := c.port()) as app:
        payload = Media("image", port.put_media(JPG, "image/jpeg", "a.jpg").id)
        assert isinstance(await one(app, to_staff(1, payload)), Sent)
        c.far.media.media_expire()
        assert isinstance(await one(app, to_staff(2, payload)), Sent)
        assert c.calls("media/upload") == 2
        assert c.far.gate.refused["message/send", 40007] == 1
        c.far.faults.fault(endpoint="message/send", errcode=40007, times=2)
        stubborn = await one(app, to_staff(3, payload))
        assert isinstance(stubborn, Rejected)
        assert stubborn.code == "wecom_40007"
        missing = await one(app, to_staff(4, Media("image", "med_none")))
        assert isinstance(missing, Rejected)
        assert missing.code == "media_refused"
        text = port.put_media(b"no picture at all", "image/jpeg", "b.jpg").id
        wrong = await one(app, to_staff(5, Media("image", text)))
        assert isinstance(wrong, Rejected)
        assert wrong.code == "wecom_40005"
        await port.close()


def test_the_settings_want_both_callback_secrets_or_none() -> None:
    known = {"corp": "ww1", "agent_id": 1, "secret": "x"}
    with pytest.raises(ValueError, match="go together"):
        WeComApp.Settings.model_validate(
            known | {"secret": Secret("a"), "callback_token": Secret("t")}
        )


class Away(FakePort):
    """The shared memory answers nothing while `away`."""

    away = False

    async def memo(self, key: str) -> bytes | None:
        if self.away:
            raise Unavailable("state is away")
        return await super().memo(key)

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        if self.away:
            raise Unavailable("state is away")
        await super().remember(key, value, ttl_s)

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        if self.away:
            raise Unavailable("state is away")
        return await super().allow(keys, limits)


async def test_without_shared_memory_nothing_leaves_and_nothing_is_called_unknown() -> None:
    async with corp() as c:
        port = Away("wecom", c.clock)
        async with c.app(port) as app:
            port.away = True
            with pytest.raises(Unreachable):
                await app.deliver([to_staff(1), to_staff(2)])
            assert c.calls("message/send") == 0
            recall = await one(app, to_staff(3, Recall("msg_1", ("x",))))
            assert isinstance(recall, Retry), "no token to be had"
            port.away = False
            assert isinstance(await one(app, to_staff(1)), Sent)
            c.far.faults.fault(endpoint="message/send", kind="timeout")
            port.state, kept = MemoryState(c.clock), port.state
            lost = await one(app, to_staff(2))
            assert isinstance(lost, Unknown)
            port.state = kept
        await port.close()


async def test_what_waits_comes_back_when_its_turn_is_due() -> None:
    async with corp() as c, c.app() as app:
        batch = [to_staff(n, user="staff0001", order_key="") for n in range(100)]
        outcomes = await app.deliver(batch)
        waits = sorted(o.after for o in outcomes if isinstance(o, Retry))
        assert len(waits) == 70
        assert waits[29] < 90
        assert 90 < waits[30] < 170
        assert 170 < waits[60] < 250
