"""Answers: documented examples read into values, odd ones without harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocols.errors import Malformed
from protocols.wecom import answers
from protocols.wecom import contact_answers as ca


def answer(**fields: Any) -> answers.Answer:
    return answers.read(json.dumps({"errcode": 0, "errmsg": "ok", **fields}).encode())


def test_errcode_and_errmsg() -> None:
    found = answers.read(b'{"errcode":40014,"errmsg":"invalid access_token, hint: [1]"}')
    assert (found.errcode, found.errmsg[:20]) == (40014, "invalid access_token")
    assert answers.read(b'{"errcode":"-1"}').errcode == -1
    assert answers.read(b'{"media":1}').errcode == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"<html>",
        b'{"errcode":null}',
        b'{"errcode":true}',
        b'{"errcode":"x"}',
        b'{"errcode":1.5}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(Malformed):
        answers.read(body)


def test_partial_failure_comes_with_errcode_0_and_in_lower_case() -> None:
    sent = answers.Sending.of(
        answer(
            invaliduser="zhangsan|lisi",
            invalidparty="1",
            unlicenseduser="wangwu",
            msgid="m1",
            response_code="RC",
        )
    )
    assert sent.invalid_users == ("zhangsan", "lisi")
    assert (sent.invalid_parties, sent.invalid_tags, sent.unlicensed_users) == (
        ("1",),
        (),
        ("wangwu",),
    )
    assert (sent.msgid, sent.response_code) == ("m1", "RC")
    assert sent.refuses("ZhangSan")
    assert sent.refuses("WangWu")
    assert not sent.refuses("zhang")
    assert answers.Sending.of(answer(invaliduser=["a", "b"])).invalid_users == ("a", "b")
    assert answers.Sending.of(answer(invaliduser="")).invalid_users == ()
    assert answers.Sending.of(answer()).invalid_users == ()


def test_tokens_and_media() -> None:
    assert answers.Token.of(answer(access_token="T", expires_in=7200)) == answers.Token(
        access_token="T", expires_in=7200
    )
    media = answers.Media.of(answer(type="image", media_id="M", created_at="1380000000"))
    assert (media.media_id, media.created_at) == ("M", 1380000000)
    job = answers.UploadJob.of(answer(status=2, detail={"media_id": "M", "errcode": 0}))
    assert (job.status, job.media_id) == (2, "M")


def test_groups_and_kf() -> None:
    chat = answers.Chat.of(
        answer(chat_info={"chatid": "C", "name": "n", "owner": "a", "userlist": ["a", "b"]})
    )
    assert (chat.chat_id, chat.users) == ("C", ("a", "b"))
    assert answers.Chat.of(answer(chatid="C")).chat_id == "C"
    for name in ("servicer_userid", "service_userid"):
        assert answers.KfState.of(answer(service_state=3, **{name: "u"})).servicer == "u"
    found = answers.KfCustomers.of(
        answer(
            customer_list=[{"external_userid": "wm", "enter_session_context": {"scene": "s"}}],
            invalid_external_userid=["x"],
        )
    )
    assert (found.customers[0].scene, found.invalid) == ("s", ("x",))
    assert (
        answers.Servicers.of(answer(result_list=[{"userid": "u", "errcode": 95014}]))
        .servicers[0]
        .errcode
        == 95014
    )
    consent = answers.Consents.of(
        answer(agreeinfo=[{"exteranalopenid": "wm", "agree_status": "Agree"}])
    ).consents[0]
    assert (consent.external_userid, consent.status) == ("wm", "Agree")


def test_contacts() -> None:
    detail = ca.CustomerDetail.of(
        answer(
            external_contact={"external_userid": "wm", "name": "李四", "type": 1, "unionid": "un"},
            follow_user=[
                {
                    "userid": "u",
                    "tags": [{"tag_id": "et", "tag_name": "n"}],
                    "remark_mobiles": ["138"],
                    "add_way": 1,
                }
            ],
            next_cursor="c",
        )
    )
    assert (detail.external_userid, detail.name, detail.kind, detail.next_cursor) == (
        "wm",
        "李四",
        1,
        "c",
    )
    assert (detail.follows[0].tags[0].tag_id, detail.follows[0].remark_mobiles) == ("et", ("138",))
    page = ca.CustomersOf.of(
        answer(
            external_contact_list=[
                {
                    "external_contact": {"external_userid": "wm"},
                    "follow_info": {"userid": "u", "tag_id": ["a"]},
                }
            ],
            fail_info={"unlicensed_userid_list": ["x"]},
        )
    )
    assert (page.customers[0].external_userid, page.customers[0].userid, page.unlicensed) == (
        "wm",
        "u",
        ("x",),
    )
    group = ca.Group.of(
        answer(
            group_chat={
                "chat_id": "wr",
                "owner": "u",
                "member_list": [{"userid": "wm", "type": 2, "invitor": {"userid": "u"}}],
                "admin_list": [{"userid": "u"}],
                "member_version": "v",
            }
        )
    )
    assert (group.chat_id, group.members[0].kind, group.members[0].invited_by) == ("wr", 2, "u")
    assert (group.admins[0].userid, group.member_version) == ("u", "v")


def test_mass_messages_and_transfers() -> None:
    assert ca.MassTask.of(answer(msgid="m", fail_list=["wm"])).failed == ("wm",)
    results = ca.MassResults.of(
        answer(send_list=[{"external_userid": "wm", "status": 3}], next_cursor="c")
    )
    assert ca.RESULTS[results.results[0].status] == "already got another mass message"
    assert (
        ca.MassMembers.of(answer(task_list=[{"userid": "u", "status": 2, "send_time": 5}]))
        .members[0]
        .sent_at
        == 5
    )
    assert (
        ca.MassLines.of(answer(group_msg_list=[{"msgid": "m", "text": {"content": "a"}}]))
        .lines[0]
        .content
        == "a"
    )
    assert (
        ca.Transfers.of(answer(customer=[{"external_userid": "wm", "errcode": 40096}]))
        .customers[0]
        .errcode
        == 40096
    )
    assert ca.UnassignedPage.of(answer(info=[{"external_userid": "wm"}], is_last=True)).is_last
    assert (
        ca.GroupTransfers.of(answer(failed_chat_list=[{"chat_id": "wr", "errcode": 90500}]))
        .failed[0]
        .errcode
        == 90500
    )
