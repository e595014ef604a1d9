"""What customers and servicers say reaches the platform: every type, each once, in order, from a cursor that never runs ahead."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from msgcenter.adapter import Account, Retry, Sent
from protocols.address import Address
from protocols.payload import Link, Media, MiniProgram, Native, Payload, Pull, Text
from tests.unit.adapters.wecom.kf.parts import FREE, KF, Service, beside, service
from tests.unit.adapters.wecom.parts import corp

JPG = b"\xff\xd8\xff" + b"picture" * 10
B64 = base64.b64encode(JPG).decode()
TALK = f"kf|{KF}|kf:{KF}/wm0001"


def native(kind: str, body: dict[str, Any]) -> Payload:
    return Native(kind, json.dumps(body, ensure_ascii=False, sort_keys=True))


MERGED = {"title": "聊天记录", "item": [{"msgtype": "text", "msg_content": '{"text":{}}'}]}
SHOP = {"product_id": "1", "head_img": "https://x", "title": "卡", "sales_price": "9"}
ORDER = {"order_id": "1", "product_titles": "卡", "state": "已发货"}
MENU = {"head_content": "选", "list": [{"type": "click", "click": {"content": "a"}}]}

#: msgtype, body as it stands in the log, what the platform is told.
TYPES: list[tuple[str, dict[str, Any], Payload]] = [
    ("text", {"content": "查话费"}, Text("查话费")),
    ("text", {"content": "一", "menu_id": "m1"}, native("text", {"content": "一", "menu_id": "m1"})),
    ("location", (place := {"latitude": 30.5, "longitude": 104.1, "name": "厅"}), native("location", place)),
    ("link", {"title": "t", "desc": "d", "url": "https://a", "pic_url": "https://p"}, Link("t", "https://a", "d", "https://p")),
    ("business_card", {"userid": "staff0002"}, native("business_card", {"userid": "staff0002"})),
    ("miniprogram", {"title": "t", "appid": "wx1", "pagepath": "p", "thumb_media_id": ""}, MiniProgram("wx1", "p", "t")),
    ("msgmenu", MENU, native("msgmenu", MENU)),
    ("channels_shop_product", SHOP, native("channels_shop_product", SHOP)),
    ("channels_shop_order", ORDER, native("channels_shop_order", ORDER)),
    ("merged_msg", MERGED, native("merged_msg", MERGED)),
    ("channels", {"sub_type": 1, "nickname": "n"}, native("channels", {"sub_type": 1, "nickname": "n"})),
    ("meeting", {"subject": "周会"}, native("meeting", {"subject": "周会"})),
    ("brand_new", {"a": {"b": [1, None]}}, native("brand_new", {"a": {"b": [1, None]}})),
    ("image", {}, native("image", {})),
]  # fmt: skip


async def test_every_type_is_told_in_its_order() -> None:
    async with service() as it:
        ids = [it.writes(msgtype=kind, body=body) for kind, body, _ in TYPES]
        assert all(isinstance(one, Sent) for one in await it.answered())
        assert [one.payload for one in it.port.received] == [payload for _, _, payload in TYPES]
        assert [one.remote_id for one in it.port.received] == ids
        for one in it.port.received:
            assert str(one.sender) == f"kf:{KF}/wm0001"
            assert (one.account_number, one.order_key, one.recipient) == (KF, TALK, None)
            assert abs(one.at - it.c.clock.now_ms()) < 10_000
        times = [one.at for one in it.port.received]
        assert times == sorted(set(times)), "WeCom's seconds do not put a talk out of order"


async def test_files_are_fetched_at_once_and_keep_their_place() -> None:
    async with service() as it:
        it.writes("前")
        for kind in ("image", "voice", "video", "file"):
            it.writes(msgtype=kind, data=B64, name=f"现场.{kind}")
        thumb = it.far.media.add("image", "t.jpg", JPG).media_id
        card = {"title": "t", "appid": "wx1", "pagepath": "p", "thumb_media_id": thumb}
        it.writes(msgtype="miniprogram", body=card)
        it.writes("后")
        await it.answered()
        first, *files, mini, last = [one.payload for one in it.port.received]
        assert (first, last) == (Text("前"), Text("后"))
        assert [one.kind for one in files if isinstance(one, Media)] == [
            *("image", "voice", "video", "file"),
        ]
        assert isinstance(mini, MiniProgram)
        for file in [one.media for one in files if isinstance(one, Media)] + [mini.picture]:
            assert it.port.files[file].path.read_bytes() == JPG


async def test_a_file_that_is_gone_is_told_in_its_place() -> None:
    async with service() as it:
        it.writes(msgtype="image", data=B64)
        it.far.media.media_expire()
        it.port.unwanted = frozenset({"audio/amr"})
        it.writes(msgtype="voice", data=B64, name="a.amr")
        it.writes("后")
        await it.answered()
        codes = [json.loads(one.body)["code"] for one in it.happened()]
        assert codes in (["wecom_40007", "not_kept"], ["wecom_40007"])
        assert it.texts() == ["后"]


async def test_a_file_that_cannot_be_had_yet_holds_up_only_its_conversation() -> None:
    async with service() as it:
        it.far.faults.fault(endpoint="media/get", errcode=-1, times=-1)
        it.writes("一")
        it.writes(msgtype="image", data=B64)
        it.writes("三")
        it.writes("别人", customer="wm0002")
        await it.far.pusher.drained()
        pull, _ = it.port.rung[-1]
        it.port.rung.clear()
        cursor = it.port.checkpoints[f"kf:{KF}"]
        assert isinstance(await it.pull(token=pull.token), Retry)
        assert it.texts() == ["一", "别人"]
        assert it.port.checkpoints[f"kf:{KF}"] == cursor
        it.far.faults.faults_clear()
        assert isinstance(await it.pull(token=pull.token), Sent)
        told = {one.remote_id: one for one in it.port.received}  # repeats are known by their ids
        mine = [one.payload for one in told.values() if one.sender.value.endswith("wm0001")]
        assert [type(one) for one in mine] == [Text, Media, Text]
        assert it.port.checkpoints[f"kf:{KF}"] != cursor


async def test_patience_with_a_file_ends_and_it_follows_when_it_can_be_had() -> None:
    async with service(FREE, {"file_patience": 60}) as it:
        it.far.faults.fault(endpoint="media/get", errcode=-1, times=-1)
        it.writes(msgtype="image", data=B64)
        it.writes("后")
        await it.far.pusher.drained()
        it.port.rung.clear()
        assert isinstance(await it.pull(), Retry)
        it.c.jump(61)
        assert isinstance(await it.pull(), Sent)
        [late] = it.happened()
        assert (late.kind, json.loads(late.body)["kind"]) == ("kf_file_late", "image")
        assert it.texts() == ["后"]
        [(pull, _)] = it.port.rung
        assert pull.source.startswith("late:")
        [again] = await it.adapter.deliver([it.message(pull)])
        assert isinstance(again, Retry)
        it.far.faults.faults_clear()
        await it.answered()
        told = it.port.received[-1]
        assert isinstance(told.payload, Media)
        assert it.port.files[told.payload.media].path.read_bytes() == JPG
        assert (told.order_key, told.remote_id) == (TALK, f"{pull.source[5:]}-file")


async def test_what_a_servicer_types_is_the_accounts_own_side_of_the_conversation() -> None:
    async with service() as it:
        it.writes("人工")
        transfer = Native("session_transfer", '{"service_state": 2}')
        assert isinstance(await it.send(transfer), Sent)
        who = {"open_kfid": KF, "userid": "staff0001", "external_userid": "wm0001"}
        it.far.kf.servicer(**who, action="takes")
        said = it.far.kf.servicer(**who, action="says", text="我是张三")["msgid"]
        it.far.kf.servicer(**who, action="recalls", msgid=said)
        it.far.kf.customer_recalls(open_kfid=KF, external_userid="wm0001", msgid="m9")
        it.far.kf.servicer(**who, action="ends")
        it.far.kf.servicer(open_kfid=KF, userid="staff0001", action="stops")
        it.far.kf.servicer(**who, action="refuses")
        await it.answered()
        [typed] = [one for one in it.port.received if one.recipient is not None]
        assert typed.sender == Address("staff", "staff0001")
        assert typed.recipient == Address("kf", f"{KF}/wm0001")
        assert (typed.payload, typed.remote_id) == (Text("我是张三"), said)
        assert (typed.order_key, typed.account_number) == (TALK, KF)
        kinds = [one.kind for one in it.happened()]
        assert kinds == [
            "kf_session_status_change",
            "kf_servicer_recall_msg",
            "kf_user_recall_msg",
            "kf_session_status_change",
            "kf_servicer_status_change",
            "kf_reject_customer_msg_switch_change",
        ]
        bodies = [json.loads(one.body) for one in it.happened()]
        assert bodies[1]["recall_msgid"] == said
        assert bodies[2]["recall_msgid"] == "m9"
        assert (bodies[3]["occasion"], bool(bodies[3]["msg_code"])) == ("ended", True)
        assert 0 < bodies[3]["deadline"] - it.c.clock.now_ms() <= 20_000
        assert (bodies[4]["status"], bodies[4]["servicer_userid"]) == (2, "staff0001")
        assert all(one.order_key == TALK for one in it.port.received if "wm" in str(one.sender))


@pytest.mark.parametrize("fail_type", [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 77])
async def test_what_did_not_arrive_is_reported(fail_type: int) -> None:
    async with service(kf_fail_delay=0.0) as it:
        it.writes()
        await it.answered()
        it.far.kf_sessions.kf_fail_next(fail_type=fail_type)
        sent = await it.send()
        assert isinstance(sent, Sent)
        await it.far.world.settled()
        await it.answered()
        [report] = it.port.reports
        assert (report.report.remote_id, report.report.state) == (sent.remote_ids[0], "undelivered")
        assert report.report.code == ("kf_fail" if fail_type == 77 else f"kf_fail_{fail_type}")
        assert report.recipient == Address("kf", f"{KF}/wm0001")


async def test_a_callback_only_rings_and_is_answered_when_the_doorbell_is_durable() -> None:
    async with service() as it:
        it.far.faults.callback_fault(kind="duplicate")
        calls = it.c.calls("kf/sync_msg")
        it.port.refuse = 1
        it.writes()
        await it.far.pusher.drained()
        assert sorted(s for push in it.far.pusher.pushes for s in push.statuses) == [200, 200, 503]
        assert {pull.source for pull, _ in it.port.rung} == {f"kf:{KF}"}
        assert all(pull.token.startswith("ENC") for pull, _ in it.port.rung)
        assert (it.port.emitted, it.c.calls("kf/sync_msg")) == ([], calls)
        await it.answered()
        assert it.texts() == ["您好"]


async def test_empty_and_short_pages_are_read_to_the_end() -> None:
    async with service(FREE, kf_short_pages=0.5, kf_empty_pages=1.0) as it:
        for number in range(300):
            it.writes(f"{number}", customer=f"wm{number % 7 + 1:04d}")
        it.port.rung.clear()
        assert isinstance(await it.pull(), Sent)
        assert it.texts() == [str(number) for number in range(300)]
        assert it.c.calls("kf/sync_msg") >= 3


async def test_the_cursor_moves_only_once_a_page_is_durable() -> None:
    async with service() as it:
        cursor = it.port.checkpoints[f"kf:{KF}"]
        it.writes("一")
        await it.far.pusher.drained()
        it.port.rung.clear()
        it.port.refuse = 1
        outcome = await it.pull()
        assert isinstance(outcome, Retry)
        assert (outcome.scope, outcome.code) == ("message", "not_ready")
        assert it.port.checkpoints[f"kf:{KF}"] == cursor
        it.writes("二")
        await it.answered()
        assert it.texts() == ["一", "二"]
        assert it.port.checkpoints[f"kf:{KF}"] != cursor


async def test_a_failed_read_costs_no_message_of_the_same_batch() -> None:
    async with service() as it:
        it.writes()
        await it.answered()
        it.writes("二")
        await it.far.pusher.drained()
        it.port.refuse = 1
        batch = [it.message(Pull(f"kf:{KF}")), it.message(Text("好"))]
        pulled, sent = await it.adapter.deliver(batch)
        assert isinstance(pulled, Retry)
        assert isinstance(sent, Sent)


async def test_an_expired_token_is_done_without() -> None:
    async with service() as it:
        it.writes()
        await it.far.pusher.drained()
        it.far.kf_log.kf_tokens_expire()
        await it.answered()
        assert it.texts() == ["您好"]
        assert await it.port.memo(f"ring:{KF}") is None


async def test_reading_without_a_token_is_rare_and_a_token_serves_ten_minutes() -> None:
    async with service({"kf_bare_minute": 3}, {"bare_per_minute": 3}) as it:
        bare = [await it.pull() for _ in range(3)]  # one was used when it started
        assert [type(one) for one in bare] == [Sent, Sent, Retry]
        assert isinstance(bare[2], Retry)
        assert (bare[2].code, bare[2].after > 0) == ("kf_bare_limit", True)
        it.writes()
        await it.answered()
        assert {type(await it.pull()) for _ in range(10)} == {Sent}
        assert it.texts() == ["您好"]
        it.c.jump(601)
        assert isinstance(await it.pull(), Sent)


async def test_a_limit_on_bare_reads_does_not_stop_those_with_a_token() -> None:
    async with service({"kf_bare_minute": 1}) as it:
        refused = await it.pull()
        assert isinstance(refused, Retry)
        assert (refused.code, refused.after) == ("wecom_45009", 60.0)
        it.writes()
        assert [type(one) for one in await it.answered()] == [Sent]
        assert it.texts() == ["您好"]


async def test_a_cursor_that_wecom_no_longer_knows_begins_anew_and_loses_nothing() -> None:
    async with service() as it:
        it.writes("一")
        await it.answered()
        it.port.checkpoints[f"kf:{KF}"] = "nonsense"
        it.writes("二")
        await it.answered()
        assert it.texts() == ["一", "一", "二"], "the core knows the repeat by its id"


async def test_one_account_in_trouble_is_told_and_harms_no_other() -> None:
    async with service(accounts=(KF, "wk0002")) as it:
        it.far.kf_log.kf_grant(remove=[KF])
        for _ in range(2):
            assert isinstance(await it.pull(), Retry)
        assert it.port.account_states[-1][:2] == (f"desk-{KF}", "down")
        it.writes("二号", open_kfid="wk0002")
        assert isinstance(await it.pull("wk0002"), Sent)
        assert isinstance(await it.send("好", "wm0001", "wk0002"), Sent)
        assert it.texts() == ["二号"]
        it.far.kf_log.kf_grant(add=[KF])
        it.c.jump(700)
        assert isinstance(await it.pull(), Sent)
        assert it.port.account_states[-1][:2] == (f"desk-{KF}", "up")
        unknown = await it.pull("wk9999")
        assert isinstance(unknown, Retry)
        assert unknown.code == "wecom_95000"


async def test_lost_callbacks_are_caught_up_by_one_process_now_and_then() -> None:
    async with corp() as c:
        first, second = c.port("kf"), c.port("kf")
        first.known_accounts = second.known_accounts = [Account("desk", KF)]
        second.checkpoints = first.checkpoints
        async with beside(c, first) as it, beside(c, second) as other:
            await first.until(lambda: len(first.rung) + len(second.rung) == 2)
            await it.answered()
            await other.answered()
            c.far.kf_log.kf_mute(open_kfid=KF)
            it.writes("没人听见")
            rung = []
            for _ in range(3):
                c.jump(140)
                await first.until(lambda: bool(first.rung or second.rung))
                rung.append(len(first.rung) + len(second.rung))
                await it.answered()
                await other.answered()
            assert rung == [1, 1, 1]
            assert len({one.remote_id for one in [*first.received, *second.received]}) == 1


async def test_how_far_behind_it_is_can_be_seen() -> None:
    async with service(FREE, {"pull": 0.0}) as it:
        assert it.port.gauges["source_lag"] == 0
        began = it.c.clock.now_ms()
        for number in range(1500):
            it.writes(f"{number}")
        await it.far.pusher.drained()
        it.port.rung.clear()
        it.c.jump(100)
        outcome = await it.pull()
        assert isinstance(outcome, Sent)
        assert outcome.detail, "its time was over: the rest rings again"
        assert len(it.port.received) == 1000
        passed = (it.c.clock.now_ms() - began) / 1000
        assert 99 <= it.port.gauges["source_lag"] <= passed + 1
        await it.answered()
        assert len(it.port.received) == 1500
        assert it.port.gauges["source_lag"] == 0
        it.far.faults.fault(endpoint="kf/sync_msg", errcode=-1, times=2)
        await it.pull()
        it.c.jump(50)
        await it.pull()
        assert it.port.gauges["source_lag"] >= 50


async def test_what_fits_into_no_message_holds_nothing_up() -> None:
    async with service() as it:
        long = {"title": "记录", "item": [{"msg_content": "话" * 40_000}]}
        it.writes(msgtype="merged_msg", body=long)
        it.writes("半个字\ud83d")
        it.writes("后")
        await it.answered()
        file, half, last = [one.payload for one in it.port.received]
        assert isinstance(file, Media)
        kept = it.port.files[file.media]
        assert json.loads(kept.path.read_bytes()) == long
        assert half == Text("半个字?")
        assert last == Text("后")


async def test_a_doorbell_that_names_no_account_rings_for_all() -> None:
    async with service(accounts=(KF, "wk0002")) as it:
        assert isinstance(await it.pull("", "T"), Sent)
        assert {pull for pull, _ in it.port.rung} == {
            Pull("kf:wk0001", "T"),
            Pull("kf:wk0002", "T"),
        }


async def test_more_that_never_comes_is_not_waited_for_in_a_circle() -> None:
    async with service() as it:
        assert isinstance(it, Service)
        body = {"errcode": 0, "errmsg": "ok", "next_cursor": "", "has_more": 1, "msg_list": []}
        endpoint = it.far.gate

        async def stuck(call: Any) -> dict[str, Any]:
            del call
            return dict(body)

        it.far.kf_log._sync = stuck  # type: ignore[method-assign]
        endpoint.add(it.far.kf_log.endpoints())
        outcome = await it.pull()
        assert isinstance(outcome, Retry)
        assert outcome.code == "wecom_no_progress"
