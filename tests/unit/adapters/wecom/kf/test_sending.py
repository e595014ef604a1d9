"""What callers send to customers of kf accounts: every type, inside the window, once, and the welcomes in their twenty seconds.

Long because each type and limit is a short test on one stand.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.wecom.kf.windows import Taken, Windows
from msgcenter.adapter import Malformed, Rejected, Retry, Sent, Unknown, Unreachable
from msgcenter.state.memory import MemoryState
from protocols.outcome import Outcome
from protocols.payload import Card, Link, Media, MiniProgram, Native, Payload, Text
from protocols.wecom.errcodes import row_of
from tests.unit.adapters.wecom.kf.parts import FREE, KF, Service, beside, service
from tests.unit.adapters.wecom.parts import corp

JPG = b"\xff\xd8\xff" + b"picture" * 10


def code_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Rejected | Retry), outcome
    return outcome.code


def on_event(code: str, occasion: str = "welcome", **body: Any) -> Native:
    said = body or {"text": {"content": "欢迎"}}
    return Native("event_message", json.dumps({"occasion": occasion, "code": code, **said}))


async def asked(it: Service, customer: str = "wm0001") -> None:
    """The customer writes, and it is read."""
    it.writes(customer=customer)
    await it.answered()


async def test_every_type_goes_out() -> None:
    async with service() as it:
        picture = it.port.put_media(JPG, "image/jpeg", "a.jpg").id
        amr = it.port.put_media(b"#!AMR\n" + b"x" * 50, "audio/amr", "a.amr").id
        file = it.port.put_media(b"%PDF-1.7" + b"x" * 50, "application/pdf", "合同.pdf").id
        film = it.port.put_media(b"\0\0\0\x18ftypmp42" + b"x" * 50, "video/mp4", "a.mp4").id
        menu = {
            "head_content": "您想办理？",
            "list": [
                {"type": "click", "click": {"id": "1", "content": "查话费"}},
                {"type": "view", "view": {"url": "https://a.example", "content": "网厅"}},
                {"type": "miniprogram", "miniprogram": {"appid": "wx1", "pagepath": "p", "content": "c"}},
                {"type": "text", "text": {"content": "或拨打", "no_newline": True}},
            ],
            "tail_content": "谢谢",
        }  # fmt: skip
        sent: list[tuple[Payload, str]] = [
            (Text("您好"), "text"),
            (Media("image", picture), "image"),
            (Media("voice", amr), "voice"),
            (Media("video", film), "video"),
            (Media("file", file), "file"),
            (Link("t", "https://a.example", "d", picture), "link"),
            (MiniProgram("wx1", "pages/a", "t", picture), "miniprogram"),
            (Native("msgmenu", json.dumps(menu)), "msgmenu"),
            (Native("location", '{"latitude": 30.5, "longitude": 104, "name": "厅"}'), "location"),
            (Native("business_card", '{"userid": "staff0001"}'), "business_card"),
            (Native("ca_link", '{"link_url": "https://work.weixin.qq.com/ca/x"}'), "ca_link"),
            (Native("text", '{"content": "好", "menu_id": "m"}'), "text"),
        ]
        for number, (payload, _) in enumerate(sent):
            customer = f"wm{number // 5 + 1:04d}"
            if number % 5 == 0:
                await asked(it, customer)
            message = it.message(payload, customer)
            it.adapter.render(message.envelope)
            [outcome] = await it.adapter.deliver([message])
            assert outcome == Sent((message.token,)), payload
        shown = it.c.shown("kf")
        assert [entry["msgtype"] for entry in shown] == [msgtype for _, msgtype in sent]
        assert shown[7]["body"]["list"][0]["click"] == {"id": "1", "content": "查话费"}
        uploads = it.c.calls("media/upload")
        assert uploads == 4, "one file is brought there once"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (Text(""), "kf.text.content"),
        (Text("话" * 700), "2100 octets, at most 2048"),
        (Link("t", "https://a", "", ""), "picture"),
        (Link("t", "https://a", "", "https://p"), "picture"),
        (MiniProgram("wx1", "p", "t", ""), "picture"),
        (Native("poll", "{}"), "native 'poll'"),
        (Native("location", '{"latitude": "north"}'), "kf.location.latitude"),
        (Native("location", '{"latitude": 91, "longitude": 0}'), "latitude -90"),
        (Native("msgmenu", '{"list": [{"type": "odd", "odd": {}}]}'), "type 'odd'"),
        (Native("msgmenu", '{"list": [{"type": "click"}]}'), "without an object"),
        (Native("msgmenu", '{"list": 3}'), "a list of objects"),
        (Native("msgmenu", '{"list": []}'), "empty"),
        (Native("business_card", "{}"), "userid"),
        (Native("event_message", '{"occasion": "welcome", "code": "c"}'), "`text` or `msgmenu`"),
        (on_event("", text={"content": "x"}), "kf.code"),
        (on_event("c", "birthday"), "kf occasion"),
        (on_event("c", "queued", msgmenu={"head_content": "x"}), "may not be sent when queued"),
        (on_event("c", deadline="soon", text={"content": "x"}), "deadline"),
        (Native("session_transfer", "{}"), "service_state"),
        (Native("session_transfer", '{"service_state": 3}'), "servicer_userid"),
        (Native("session_transfer", '{"service_state": 9}'), "0 to 4"),
        (Card("t", "d", "https://a"), "Card is not a message"),
    ],
)
async def test_what_wecom_would_refuse_is_refused_before_anything_is_claimed(
    payload: Payload, words: str
) -> None:
    async with service() as it:
        with pytest.raises(Malformed, match=words):
            it.adapter.render(it.message(payload).envelope)


async def test_an_address_is_an_account_and_a_customer() -> None:
    async with service() as it:
        for value in ("wk0001", "wk0001/", "/wm0001"):
            message = it.message(Text("x"))
            object.__setattr__(message.envelope.to, "value", value)
            with pytest.raises(Malformed, match="kf:<open_kfid>/<external_userid>"):
                it.adapter.render(message.envelope)
        await asked(it)
        other = it.message(Text("x"))
        object.__setattr__(other, "sender", "wk0002")
        [outcome] = await it.adapter.deliver([other])
        assert code_of(outcome) == "malformed"
        assert "but wk0001 is written to" in str(outcome)


# -- the window ---------------------------------------------------------------------------------------------------------


async def test_five_messages_after_each_of_his_and_the_sixth_never_leaves() -> None:
    async with service() as it:
        await asked(it)
        batch = [it.message(Text(f"{n}")) for n in range(7)]
        outcomes = await it.adapter.deliver(batch)
        assert [type(one) for one in outcomes] == [Sent] * 5 + [Rejected] * 2
        assert outcomes[5] == outcomes[6]
        assert isinstance(outcomes[5], Rejected)
        assert (outcomes[5].scope, outcomes[5].code) == ("recipient", "kf_window_used")
        assert it.c.calls("kf/send_msg") == 5
        await asked(it)
        assert isinstance(await it.send(), Sent), "his next message starts the count anew"


async def test_forty_eight_hours_and_those_who_never_wrote() -> None:
    async with service({"token_life": 10**6}) as it:
        await asked(it)
        assert code_of(await it.send("好", "wm0002")) == "kf_window_closed"
        it.c.jump(48 * 3600 - 60)
        assert isinstance(await it.send(), Sent)
        it.c.jump(61)
        assert code_of(await it.send()) == "kf_window_closed"
        assert it.c.calls("kf/send_msg") == 1
        it.writes()
        await it.answered()
        assert isinstance(await it.send(), Sent)


async def test_the_count_is_one_for_all_processes() -> None:
    async with corp() as c:
        async with beside(c, c.port("kf")) as it, beside(c, c.port("kf")) as other:
            it.writes()
            assert isinstance(await it.pull(), Sent)
            for number in range(5):
                assert isinstance(await (it, other)[number % 2].send(f"{number}"), Sent)
            assert code_of(await other.send()) == "kf_window_used"
        async with beside(c, c.port("kf")) as it:
            assert code_of(await it.send()) == "kf_window_used", "a restart does not forget"


async def test_where_it_cannot_be_known_wecom_decides() -> None:
    async with corp({"kf_bare_minute": 0}) as c:
        async with beside(c, c.port("kf")) as it:
            it.writes()
            assert isinstance(await it.send(), Sent), "nothing was read yet"
            assert isinstance(await it.pull(), Sent)
            assert code_of(await it.send("好", "wm0002")) == "kf_window_closed"
            checkpoints = it.port.checkpoints
        c.state = MemoryState(c.clock)  # what was remembered is lost, the cursor is not
        port = c.port("kf")
        port.checkpoints = checkpoints
        async with beside(c, port) as it:
            assert isinstance(await it.pull(), Sent)
            assert isinstance(await it.send(), Sent)
            assert code_of(await it.send("好", "wm0002")) == "wecom_95002"
            c.jump(48 * 3600 + 1)
            assert code_of(await it.send("好", "wm0003")) == "kf_window_closed"


async def test_what_was_not_sent_is_not_counted() -> None:
    async with service() as it:
        await asked(it)
        human = Native("session_transfer", '{"service_state": 3, "servicer_userid": "staff0001"}')
        assert isinstance(await it.send(human), Sent)
        for _ in range(6):
            assert code_of(await it.send()) == "wecom_95018"
        it.far.faults.fault(endpoint="kf/send_msg", errcode=-1, times=3)
        for _ in range(3):
            assert code_of(await it.send()) == "wecom_-1"
        talk = it.far.kf_sessions.conversation(KF, "wm0001")
        talk.state = 1
        assert [type(await it.send(f"{n}")) for n in range(6)] == [Sent] * 5 + [Rejected]


async def test_an_older_message_of_his_that_is_read_again_gives_no_new_allowance() -> None:
    async with corp() as c:
        port = c.port("kf")
        windows, now = Windows(port), c.clock.now_ms()
        await windows.opened({f"{KF}/wm0001": (now, "second")})
        for _ in range(5):
            assert isinstance(await windows.take(KF, "wm0001"), Taken)
        await windows.opened({f"{KF}/wm0001": (now - 1000, "first")})
        used = await windows.take(KF, "wm0001")
        assert isinstance(used, Rejected)
        assert used.code == "kf_window_used"
        await windows.opened({f"{KF}/wm0001": (now + 1000, "third")})
        assert isinstance(await windows.take(KF, "wm0001"), Taken)
        await port.close()


# -- repeats ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errcode", [40058, 95099, 40035])
async def test_a_repeat_that_is_refused_for_its_id_is_there(errcode: int) -> None:
    async with service(kf_duplicate_errcode=errcode) as it:
        await asked(it)
        message = it.message(Text("一次"))
        it.far.faults.fault(endpoint="kf/send_msg", kind="timeout", times=1)
        [lost] = await it.adapter.deliver([message])
        assert isinstance(lost, Unknown)
        for _ in range(2):
            [again] = await it.adapter.deliver([message])
            assert isinstance(again, Sent)
            assert again.remote_ids == (message.token,)
        assert [entry["text"] for entry in it.c.shown("kf")] == ["一次"]
        # Our process ended before it could note anything: the core marks its repeat.
        other = it.message(Text("二"))
        await it.adapter.deliver([other])
        await it.port.remember(f"tried:{other.token}", b"", 0.0)
        object.__setattr__(other.envelope, "token_of", 0)
        [again] = await it.adapter.deliver([other])
        assert isinstance(again, Sent)
        assert [type(await it.send(f"{n}")) for n in range(4)] == [Sent] * 3 + [Rejected]


async def test_a_repeat_of_what_never_arrived_is_sent_then() -> None:
    async with service() as it:
        await asked(it)
        message = it.message(Text("一次"))
        it.far.faults.fault(endpoint="kf/send_msg", kind="lost", times=1)
        [lost] = await it.adapter.deliver([message])
        assert isinstance(lost, Unknown)
        [again] = await it.adapter.deliver([message])
        assert isinstance(again, Sent)
        assert len(it.c.shown("kf")) == 1


async def test_a_repeat_refused_for_the_session_stays_unknown() -> None:
    async with service() as it:
        await asked(it)
        message = it.message(Text("一次"))
        it.far.faults.fault(endpoint="kf/send_msg", kind="lost", times=1)
        await it.adapter.deliver([message])
        it.far.faults.fault(endpoint="kf/send_msg", errcode=95018)
        [again] = await it.adapter.deliver([message])
        assert isinstance(again, Unknown)
        it.far.faults.fault(endpoint="kf/send_msg", errcode=-1)
        [again] = await it.adapter.deliver([message])
        assert isinstance(again, Retry)


async def test_a_first_message_refused_for_its_content_is_refused() -> None:
    async with service() as it:
        await asked(it)
        it.far.faults.fault(endpoint="kf/send_msg", errcode=40058)
        assert code_of(await it.send()) == "wecom_40058"


@pytest.mark.parametrize(
    "errcode",
    [
        *(-1, 6000, 45033, 45009, 40058, 40096, 44004, 45002, 48002, 48007, 60020, 60111),
        *(95000, 95001, 95002, 95003, 95004, 95007, 95008, 95009, 95011, 95012, 95013, 95014),
        *(95016, 95017, 95018, 95019, 95022, 95023, 95030, 95031, 40201, 77777),
    ],
)
async def test_every_errcode_has_its_outcome(errcode: int) -> None:
    async with service() as it:
        await asked(it)
        it.far.faults.fault(endpoint="kf/send_msg", errcode=errcode)
        outcome = await it.send()
        row = row_of(errcode)
        gone = {"recipient", "content", "window", "abuse"}
        assert isinstance(outcome, Rejected if row.cls in gone else Retry)
        assert (outcome.scope, outcome.code) == (row.scope, row.code)
        if errcode == 95018:
            assert isinstance(await it.send("下一条"), Sent)


async def test_what_wecom_forgot_is_uploaded_once_more() -> None:
    async with service() as it:
        await asked(it)
        picture = it.port.put_media(JPG, "image/jpeg", "a.jpg").id
        assert isinstance(await it.send(Media("image", picture)), Sent)
        it.far.media.media_expire()
        assert isinstance(await it.send(Media("image", picture)), Sent)
        assert it.c.calls("media/upload") == 2
        assert code_of(await it.send(Media("image", "med_none"))) == "media_refused"


async def test_order_in_a_conversation_and_nothing_left_when_unplugged() -> None:
    async with service() as it:
        await asked(it)
        await asked(it, "wm0002")
        it.far.faults.fault(endpoint="kf/send_msg", errcode=-1)
        batch = [it.message(Text(f"{n}")) for n in range(3)]
        outcomes = await it.adapter.deliver([*batch, it.message(Text("x"), "wm0002")])
        kinds = [code_of(one) if isinstance(one, Retry) else "" for one in outcomes]
        assert kinds in (["wecom_-1", "waits", "waits", ""], ["", "", "", "wecom_-1"])
        it.far.faults.fault(endpoint="kf/send_msg", kind="timeout")
        lost, *rest = await it.adapter.deliver([it.message(Text(f"{n}")) for n in range(3)])
        assert isinstance(lost, Unknown), "what follows waits for its repeat"
        assert [code_of(one) for one in rest] == ["waits", "waits"]
        await it.far.stop()
        with pytest.raises(Unreachable):
            await it.adapter.deliver(batch)
        await it.far.start()


# -- sessions and answers to events -------------------------------------------------------------------------------------


async def test_a_session_is_moved_and_asked_for() -> None:
    async with service() as it:
        await asked(it)
        queue = await it.send(Native("session_transfer", '{"service_state": 2}'))
        assert isinstance(queue, Sent)
        told = json.loads(queue.detail)
        assert (told["service_state"], told["occasion"]) == (2, "queued")
        answer = on_event(told["msg_code"], "queued", text={"content": "排队中"})
        assert isinstance(await it.send(answer), Sent)
        state = await it.send(Native("session_state", "{}"))
        assert isinstance(state, Sent)
        assert json.loads(state.detail) == {"service_state": 2, "servicer_userid": ""}
        wrong = Native("session_transfer", '{"service_state": 1}')
        assert code_of(await it.send(wrong)) == "wecom_95016"
        nobody = Native("session_transfer", '{"service_state": 3, "servicer_userid": "staff0020"}')
        assert code_of(await it.send(nobody)) == "wecom_95014"
        end = await it.send(Native("session_transfer", '{"service_state": 4}'))
        assert isinstance(end, Sent)
        told = json.loads(end.detail)
        it.c.jump(21)
        late = on_event(told["msg_code"], "ended", text={"content": "再见"})
        assert code_of(await it.send(late)) == "event_code_late"
        assert [entry["text"] for entry in it.c.shown("kf_event")] == ["排队中"]


def enters(it: Service, customer: str = "wm0005") -> str:
    code: str = it.far.kf.customer_enters(open_kfid=KF, external_userid=customer)["welcome_code"]
    return code


async def test_a_caller_welcomes_within_twenty_seconds() -> None:
    async with service() as it:
        code = enters(it)
        await it.answered()
        [entered] = it.happened()
        told = json.loads(entered.body)
        assert entered.kind == "kf_enter_session"
        assert (told["welcome_code"], told["occasion"]) == (code, "welcome")
        assert 18_000 <= told["deadline"] - it.c.clock.now_ms() <= 20_000
        menu = {
            "head_content": "欢迎",
            "list": [{"type": "click", "click": {"id": "1", "content": "查"}}],
        }
        sent = await it.send(on_event(code, msgmenu=menu), "wm0005")
        assert isinstance(sent, Sent)
        assert [entry["msgtype"] for entry in it.c.shown("kf_event")] == ["msgmenu"]
        assert code_of(await it.send(on_event(code), "wm0005")) == "wecom_41049"


async def test_a_late_welcome_is_marked_and_never_sent() -> None:
    async with service() as it:
        code = enters(it)
        await it.answered()
        it.c.jump(20)
        calls = it.c.calls("kf/send_msg_on_event")
        outcome = await it.send(on_event(code), "wm0005")
        assert isinstance(outcome, Rejected)
        assert (outcome.scope, outcome.code) == ("recipient", "welcome_late")
        unread = enters(it, "wm0006")
        past = it.c.clock.now_ms() - 1
        given = on_event(unread, text={"content": "x"}, deadline=past)
        assert code_of(await it.send(given, "wm0006")) == "welcome_late"
        assert it.c.calls("kf/send_msg_on_event") == calls
        it.c.jump(21)
        assert code_of(await it.send(on_event(unread), "wm0006")) == "welcome_late"
        assert it.c.shown("kf_event") == it.c.shown("kf") == []


async def test_a_welcome_whose_answer_was_lost_is_not_sent_twice() -> None:
    async with service() as it:
        code = enters(it)
        await it.answered()
        message = it.message(on_event(code), "wm0005")
        it.far.faults.fault(endpoint="kf/send_msg_on_event", kind="timeout", times=1)
        [lost] = await it.adapter.deliver([message])
        assert isinstance(lost, Unknown)
        [again] = await it.adapter.deliver([message])
        assert isinstance(again, Sent)
        assert len(it.c.shown("kf_event")) == 1


GREETINGS = {
    "greetings": {
        KF: {"text": "欢迎光临", "menu": [{"id": "1", "content": "查话费"}]},
        "*": {"text": "您好"},
    }
}


async def test_a_configured_welcome_goes_out_by_itself_once() -> None:
    async with service(settings=GREETINGS, accounts=(KF, "wk0002")) as it:
        it.far.faults.fault(endpoint="kf/send_msg_on_event", kind="timeout", times=1)
        enters(it)
        it.far.kf.customer_enters(open_kfid="wk0002", external_userid="wm0006")
        it.port.refuse = 0
        await it.answered()
        shown = it.c.shown("kf_event")
        assert sorted((e["from"], e["msgtype"]) for e in shown) == [
            (KF, "msgmenu"),
            ("wk0002", "text"),
        ]
        greeted = [json.loads(one.body)["greeting"] for one in it.happened()]
        assert {one["result"] for one in greeted} == {"sent"}
        assert {one["msgid"] for one in greeted} == {e["msgid"] for e in shown}


async def test_a_welcome_is_not_repeated_when_a_page_is_read_again() -> None:
    async with service(FREE, GREETINGS) as it:
        enters(it)
        await it.far.pusher.drained()
        it.port.rung.clear()
        it.port.refuse = 1  # sent, but what was read could not be made durable
        assert isinstance(await it.pull(), Retry)
        assert isinstance(await it.pull(), Sent)
        assert len(it.c.shown("kf_event")) == 1
        [entered] = it.happened()
        assert json.loads(entered.body)["greeting"]["result"] == "sent"


async def test_a_configured_welcome_that_comes_too_late_is_marked() -> None:
    async with service(FREE, GREETINGS) as it:
        enters(it)
        await it.far.pusher.drained()
        it.port.rung.clear()
        it.c.jump(20)
        assert isinstance(await it.pull(), Sent)
        assert json.loads(it.happened()[0].body)["greeting"]["result"] == "welcome_late"
        assert it.c.calls("kf/send_msg_on_event") == 0
        it.far.faults.fault(endpoint="kf/send_msg_on_event", errcode=95017, times=-1)
        enters(it, "wm0007")
        assert isinstance(await it.pull(), Sent)
        assert json.loads(it.happened()[1].body)["greeting"]["result"] == "wecom_95017"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"greetings": {"*": {"text": "x" * 3000}}}, "kf.text.content"),
        ({"greetings": {"*": {"text": "x", "menu": [{"id": "", "content": "c"}]}}}, "click.id"),
        ({"poll": "1s"}, "poll is too often"),
        ({"bare_per_minute": 0}, "bare_per_minute"),
    ],
)
async def test_settings_that_wecom_would_refuse(settings: dict[str, Any], words: str) -> None:
    async with corp() as c:
        with pytest.raises(ValueError, match=words):
            async with beside(c, c.port("kf"), settings):
                pass
