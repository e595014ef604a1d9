"""kf pages: every message and event of sync_msg read into its value, unknown and odd ones without harm."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from protocols.fields import load
from protocols.wecom import kf_items

I = kf_items  # noqa: E741
KF = [
    ("text", {"content": "hi", "menu_id": "1"}, I.Text(content="hi", menu_id="1")),
    ("image", {"media_id": "M"}, I.Media(kind="image", media_id="M")),
    ("voice", {"media_id": "M"}, I.Media(kind="voice", media_id="M")),
    ("video", {"media_id": "M"}, I.Media(kind="video", media_id="M")),
    ("file", {"media_id": "M"}, I.Media(kind="file", media_id="M")),
    (
        "location",
        {"latitude": 23.1, "longitude": "113.3", "name": "n", "address": "a"},
        I.Location(latitude=23.1, longitude=113.3, name="n", address="a"),
    ),
    (
        "link",
        {"title": "t", "desc": "d", "url": "u", "pic_url": "p"},
        I.Link(title="t", desc="d", url="u", pic_url="p"),
    ),
    ("business_card", {"userid": "u"}, I.BusinessCard(userid="u")),
    (
        "miniprogram",
        {"title": "t", "appid": "wx", "pagepath": "p", "thumb_media_id": "M"},
        I.MiniProgram(title="t", app_id="wx", page_path="p", thumb_media_id="M"),
    ),
    (
        "msgmenu",
        {
            "head_content": "h",
            "list": [
                {"type": "click", "click": {"id": "1", "content": "a"}},
                {"type": "view", "view": {"url": "u", "content": "b"}},
            ],
        },
        I.Menu(
            head="h",
            items=(
                I.MenuItem(kind="click", id="1", content="a"),
                I.MenuItem(kind="view", url="u", content="b"),
            ),
        ),
    ),
    (
        "channels_shop_product",
        {"product_id": "p", "sales_price": "1.00"},
        I.ShopProduct(product_id="p", sales_price="1.00"),
    ),
    (
        "channels_shop_order",
        {"order_id": "o", "state": "paid"},
        I.ShopOrder(order_id="o", state="paid"),
    ),
    (
        "merged_msg",
        {
            "title": "t",
            "item": [
                {
                    "send_time": 1,
                    "msgtype": "text",
                    "sender_name": "n",
                    "msg_content": '{"text":{}}',
                }
            ],
        },
        I.Merged(
            title="t",
            items=(
                I.MergedItem(sent_at=1, msgtype="text", sender_name="n", content='{"text":{}}'),
            ),
        ),
    ),
    (
        "channels",
        {"sub_type": 1, "nickname": "n", "title": "t"},
        I.VideoChannel(sub_type=1, nickname="n", title="t"),
    ),
    (
        "meeting",
        {"topic": "t", "who": ["a", "b"]},
        I.Opaque(kind="meeting", fields=(("topic", "t"), ("who[0]", "a"), ("who[1]", "b"))),
    ),
]
KF_EVENTS = [
    (
        "enter_session",
        {
            "scene": "s",
            "scene_param": "p",
            "welcome_code": "WC",
            "wechat_channels": {"nickname": "n", "scene": 3},
        },
        I.EnterSession(
            scene="s", scene_param="p", welcome_code="WC", channel_nickname="n", channel_scene=3
        ),
    ),
    ("msg_send_fail", {"fail_msgid": "m", "fail_type": 4}, I.SendFailed(msgid="m", fail_type=4)),
    (
        "session_status_change",
        {"change_type": 2, "old_servicer_userid": "a", "new_servicer_userid": "b", "msg_code": "c"},
        I.SessionChanged(change_type=2, old_servicer="a", new_servicer="b", msg_code="c"),
    ),
    (
        "servicer_status_change",
        {"servicer_userid": "a", "status": 2, "stop_type": 1},
        I.ServicerChanged(servicer="a", status=2, stop_type=1),
    ),
    ("user_recall_msg", {"recall_msgid": "m"}, I.Recalled(msgid="m")),
    (
        "servicer_recall_msg",
        {"recall_msgid": "m", "servicer_userid": "a"},
        I.Recalled(msgid="m", servicer="a"),
    ),
    (
        "reject_customer_msg_switch_change",
        {"servicer_userid": "a", "reject_switch": 1},
        I.RefusalChanged(servicer="a", refuses=True),
    ),
    (
        "brand_new",
        {"x": 1},
        I.Opaque(
            kind="brand_new",
            fields=(
                ("event_type", "brand_new"),
                ("external_userid", "wm"),
                ("open_kfid", "wk"),
                ("x", "1"),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("msgtype", "fields", "wanted"), KF, ids=[each[0] for each in KF])
def test_kf_messages(msgtype: str, fields: dict[str, Any], wanted: Any) -> None:
    found = kf_items.item(
        {
            "msgid": "1",
            "open_kfid": "wk",
            "external_userid": "wm",
            "send_time": 7,
            "origin": 3,
            "msgtype": msgtype,
            msgtype: fields,
        }
    )
    assert found.content == wanted
    assert (found.msgid, found.open_kfid, found.external_userid, found.sent_at, found.origin) == (
        "1",
        "wk",
        "wm",
        7,
        3,
    )


@pytest.mark.parametrize(
    ("name", "fields", "wanted"), KF_EVENTS, ids=[each[0] for each in KF_EVENTS]
)
def test_kf_events(name: str, fields: dict[str, Any], wanted: Any) -> None:
    event = {"event_type": name, "open_kfid": "wk", "external_userid": "wm", **fields}
    found = kf_items.item(
        {"msgid": "1", "send_time": 7, "origin": 4, "msgtype": "event", "event": event}
    )
    assert found.content == wanted
    assert (found.event_type, found.open_kfid, found.external_userid) == (name, "wk", "wm")


def test_kf_pages() -> None:
    page = load(kf_items.Page, {"next_cursor": "c", "has_more": 1, "msg_list": []})
    assert (page.next_cursor, page.has_more, page.items) == ("c", True, ())
    page = load(
        kf_items.Page,
        {"next_cursor": "c", "has_more": 0, "msg_list": [{"msgtype": "text"}, 7, None, "x"]},
    )
    assert not page.has_more
    assert [each.content for each in page.items] == [kf_items.Text()]
    assert load(kf_items.Page, {}) == kf_items.Page()


def test_fuzz_20000() -> None:
    """Whatever stands in a field, the page is read."""
    rng = Random(3)
    odd: list[Any] = [
        None,
        True,
        -1,
        10**30,
        1.5,
        "",
        "x",
        "９",
        [],
        [[]],
        {},
        {"a": [{}]},
        [None, {"content": 1}],
        "1" * 5000,
    ]
    trees = [{"msgid": "1", "msgtype": kind, kind: dict(fields)} for kind, fields, _ in KF]
    trees += [
        {"msgid": "1", "msgtype": "event", "event": {"event_type": kind, **fields}}
        for kind, fields, _ in KF_EVENTS
    ]
    for _ in range(20_000):
        tree: dict[str, Any] = json.loads(json.dumps(rng.choice(trees)))
        place = tree
        while True:
            name = rng.choice(list(place))
            if isinstance(place[name], dict) and place[name] and rng.random() < 0.7:
                place = place[name]
                continue
            place[name] = rng.choice(odd)
            break
        assert len(load(kf_items.Page, {"msg_list": [tree]}).items) == 1
