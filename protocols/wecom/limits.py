"""WeCom's limits as data: how often each call may be made (`RATES`), how large each field may be (`BOUNDS`), how long things last (`WINDOWS_S`).

Source: section 2.2 (docs 90454, 90312) and the page of each call. Sizes are octets of UTF-8 unless a bound says characters or items.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocols.errors import Malformed

MINUTE = 60
HOUR = 3600
DAY = 86_400
MONTH = 30 * DAY

Excess: TypeAlias = Literal["error", "silent"]
Per: TypeAlias = Literal[
    "corp", "app", "ip", "robot", "task", "member", "owner", "customer", "account"
]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` of `unit` in `seconds`, for each `per`; the excess is refused with `errcode`, or dropped without a word.

    `api`: the call, `*` = every one by itself. `count` 0: not a fixed number (the corp's account cap, the days of the month,
    unpublished). `calendar`: the window is the day or month of the calendar (UTC+8), not a rolling one.
    """

    name: str
    api: str
    per: Per
    count: int
    seconds: int
    unit: Literal["calls", "man-times", "messages", "groups", "accounts"] = "calls"
    excess: Excess = "error"
    calendar: bool = False
    errcode: int = 45009


RATES: Mapping[str, Rate] = {
    rate.name: rate
    for rate in (
        Rate("api.minute", "*", "corp", 10_000, MINUTE),
        Rate("api.hour", "*", "corp", 150_000, HOUR),
        Rate("ip.minute", "*", "ip", 20_000, MINUTE),
        Rate("ip.hour", "*", "ip", 600_000, HOUR),
        Rate("ip.provider.minute", "*", "ip", 40_000, MINUTE),
        Rate("ip.provider.hour", "*", "ip", 1_200_000, HOUR),
        Rate("debug.minute", "debug=1", "corp", 5, MINUTE),
        Rate("app.day", "message/send", "app", 0, DAY, "man-times", calendar=True),
        Rate("app.member.minute", "message/send", "member", 30, MINUTE, "messages", "silent"),
        Rate("app.member.hour", "message/send", "member", 1_000, HOUR, "messages", "silent"),
        Rate("appchat.create.day", "appchat/create", "corp", 1_000, DAY, calendar=True),
        Rate("appchat.update.hour", "appchat/update", "corp", 1_000, HOUR),
        Rate("appchat.minute", "appchat/send", "corp", 20_000, MINUTE, "man-times"),
        # The smallest of the three documented sizes of corps (150,000, 350,000, 700,000).
        Rate("appchat.hour", "appchat/send", "corp", 150_000, HOUR, "man-times"),
        Rate("appchat.member.minute", "appchat/send", "member", 200, MINUTE, "messages", "silent"),
        Rate("appchat.member.day", "appchat/send", "member", 10_000, DAY, "messages", "silent", True),
        Rate("robot.minute", "webhook/send", "robot", 20, MINUTE, "messages"),
        Rate("uploadimg.day", "media/uploadimg", "corp", 1_000, DAY, calendar=True),
        Rate("uploadimg.month", "media/uploadimg", "corp", 3_000, MONTH),
        Rate("archive.minute", "msgaudit/get_chat_data", "corp", 600, MINUTE),
        Rate("idconvert.hour", "idconvert/unionid_to_external_userid", "corp", 100_000, HOUR),
        Rate("idconvert.day", "idconvert/unionid_to_external_userid", "corp", 480_000, DAY, calendar=True),
        Rate("idconvert.month", "idconvert/unionid_to_external_userid", "corp", 7_500_000, MONTH),
        Rate("remind.day", "externalcontact/remind_groupmsg_send", "task", 3, DAY, errcode=41094),
        Rate("transfer.groups.day", "externalcontact/groupchat/onjob_transfer", "owner", 300, DAY, "groups", calendar=True),
        Rate("transfer.customer.quarter", "externalcontact/transfer_customer", "customer", 2, 90 * DAY, errcode=40128),
        Rate("transfer.group.quarter", "externalcontact/groupchat/onjob_transfer", "customer", 2, 90 * DAY, errcode=40128),
        # As many as the month has days; an admin may set 7 a week or 1 a day instead. Told as status 3 of the send result.
        Rate("mass.customer.month", "externalcontact/add_msg_template", "customer", 0, MONTH, "messages", "silent", True),
        # After each message of the customer; a new one starts the count again.
        Rate("kf.session", "kf/send_msg", "customer", 5, 48 * HOUR, "messages", errcode=95001),
        Rate("jsapi.corp.hour", "get_jsapi_ticket", "corp", 400, HOUR),
        Rate("jsapi.app.hour", "get_jsapi_ticket", "app", 100, HOUR),
        Rate("gettoken.ip.hour", "gettoken", "ip", 0, HOUR),
        # "Strict", number unpublished; with a fresh token of a callback the normal rates hold.
        Rate("kf.sync.bare", "kf/sync_msg", "corp", 0, MINUTE),
    )
}  # fmt: skip

#: Corp sizes and the man-times that appchat/send allows them in an hour (doc 90248, 2024-07-11).
APPCHAT_HOURLY: Mapping[str, int] = {"small": 150_000, "medium": 350_000, "large": 700_000}
#: Man-times a day of message/send for every account the corp may have.
APP_DAILY_PER_ACCOUNT = 200


#: Calls that have one window only: every other is also under the minute and the hour of the whole corp.
_ALONE = frozenset({"gettoken", "webhook/send"})


def windows_of(api: str) -> tuple[int, ...]:
    """The windows, in seconds and ascending, that a call of `api` refused with 45009 may have run full."""
    own = {
        rate.seconds
        for rate in RATES.values()
        if rate.api == api and rate.excess == "error" and rate.errcode == 45009
    }
    return tuple(sorted(own if api in _ALONE else own | {MINUTE, HOUR}))


WINDOWS_S: Mapping[str, int] = {
    "token": 7_200,
    "token.block": HOUR,
    "media": 3 * DAY,
    "recall": DAY,
    "card.response_code": DAY,
    "duplicate.default": 1_800,
    "duplicate.most": 4 * HOUR,
    "kf.history": 3 * DAY,
    "kf.token": 600,
    "kf.session": 48 * HOUR,
    "kf.welcome": 20,
    "kf.code.queue": 48 * HOUR,
    "kf.code.end": 20,
    "welcome": 20,
    "archive.history": 5 * DAY,
    "archive.notify": 15,
    "callback.answer": 5,
    "callback.verify": 1,
    "transfer.customer": DAY,
    "upload.job": 3_600,
    "pending_id": 90 * DAY,
    "group.details": 2,
}
#: Attempts that WeCom makes with one callback, the first included.
CALLBACK_ATTEMPTS = 3
#: Attempts that may be made with one request after errcode -1.
BUSY_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Bound:
    """`least` to `most` of `unit`."""

    name: str
    most: int
    unit: Literal["octets", "characters", "items", "seconds"] = "octets"
    least: int = 0


KB = 1024
MB = 1024 * KB

BOUNDS: Mapping[str, Bound] = {
    bound.name: bound
    for bound in (
        Bound("userid", 64, "characters", 1),
        # message/send (doc 90236) and, with the same bodies, appchat/send
        Bound("app.touser", 1_000, "items"),
        Bound("app.toparty", 100, "items"),
        Bound("app.totag", 100, "items"),
        Bound("app.duplicate_check_interval", 14_400, "seconds", 1),
        Bound("app.text.content", 2_048, least=1),
        Bound("app.markdown.content", 2_048, least=1),
        Bound("app.video.title", 128),
        Bound("app.video.description", 512),
        Bound("app.textcard.title", 128, least=1),
        Bound("app.textcard.description", 512, least=1),
        Bound("app.textcard.url", 2_048, least=1),
        Bound("app.textcard.btntxt", 4, "characters"),
        Bound("app.news.articles", 8, "items", 1),
        Bound("app.news.title", 128, least=1),
        Bound("app.news.description", 512),
        Bound("app.news.url", 2_048),
        Bound("app.mpnews.articles", 8, "items", 1),
        Bound("app.mpnews.title", 128, least=1),
        Bound("app.mpnews.author", 64),
        Bound("app.mpnews.content", 666 * KB, least=1),
        Bound("app.mpnews.digest", 512),
        Bound("app.miniprogram_notice.title", 12, "characters", 4),
        Bound("app.miniprogram_notice.description", 12, "characters"),
        Bound("app.miniprogram_notice.content_item", 10, "items"),
        Bound("app.miniprogram_notice.key", 10, "characters", 1),
        Bound("app.miniprogram_notice.value", 30, "characters", 1),
        Bound("app.card.horizontal_content_list", 6, "items"),
        Bound("app.card.jump_list", 3, "items"),
        Bound("app.card.button_list", 6, "items", 1),
        Bound("app.card.select_list", 3, "items", 1),
        Bound("app.card.update.userids", 1_000, "items"),
        Bound("app.card.update.partyids", 100, "items"),
        Bound("app.card.update.tagids", 100, "items"),
        # appchat
        Bound("appchat.name", 50, "characters"),
        Bound("appchat.userlist", 2_000, "items", 2),
        Bound("appchat.update.list", 2_000, "items"),
        Bound("appchat.chatid", 32, "characters", 1),
        # kf
        Bound("kf.msgid", 32, "octets", 1),
        Bound("kf.cursor", 64),
        Bound("kf.token", 128),
        Bound("kf.limit", 1_000, "items", 1),
        Bound("kf.text.content", 2_048, least=1),
        Bound("kf.link.title", 128, least=1),
        Bound("kf.link.desc", 512),
        Bound("kf.link.url", 2_048, least=1),
        Bound("kf.miniprogram.title", 64),
        Bound("kf.msgmenu.head_content", 1_024),
        Bound("kf.msgmenu.tail_content", 1_024),
        Bound("kf.msgmenu.list", 10, "items"),
        Bound("kf.msgmenu.click.id", 64, least=1),
        Bound("kf.msgmenu.click.content", 128, least=1),
        Bound("kf.account.name", 16, "characters", 1),
        Bound("kf.account.list.limit", 100, "items", 1),
        Bound("kf.scene", 32, "characters"),
        Bound("kf.scene_param", 128),
        Bound("kf.servicer.userid_list", 100, "items", 1),
        Bound("kf.customer.batchget", 100, "items", 1),
        # customer contact
        Bound("mass.external_userid", 10_000, "items"),
        Bound("mass.chat_id_list", 2_000, "items"),
        Bound("mass.text.content", 4_000),
        Bound("mass.attachments", 9, "items"),
        Bound("mass.link.title", 128, least=1),
        Bound("mass.link.picurl", 2_048),
        Bound("mass.link.desc", 512),
        Bound("mass.link.url", 2_048, least=1),
        Bound("mass.miniprogram.title", 64, least=1),
        Bound("mass.list.limit", 100, "items", 1),
        Bound("mass.task.limit", 1_000, "items", 1),
        Bound("mass.list.span", MONTH + DAY, "seconds"),
        Bound("contact.batch.userid_list", 100, "items", 1),
        Bound("contact.batch.limit", 100, "items", 1),
        Bound("contact.groups.limit", 1_000, "items", 1),
        Bound("contact.groups.owners", 100, "items"),
        Bound("contact.remark", 20, "characters"),
        Bound("contact.remark.description", 150, "characters"),
        Bound("contact.remark.company", 20, "characters"),
        Bound("transfer.external_userid", 100, "items", 1),
        Bound("transfer.success_msg", 200, "characters"),
        Bound("transfer.chat_id_list", 100, "items", 1),
        Bound("transfer.unassigned.page_size", 1_000, "items", 1),
        # archive
        Bound("archive.limit", 1_000, "items", 1),
        Bound("archive.chunk", 512 * KB),
        Bound("archive.consent", 100, "items", 1),
        # media
        Bound("media.any", 20 * MB, least=6),
        Bound("media.image", 10 * MB, least=6),
        Bound("media.kf.image", 2 * MB, least=6),
        Bound("media.voice", 2 * MB, least=6),
        Bound("media.voice.length", 60, "seconds"),
        Bound("media.video", 10 * MB, least=6),
        Bound("media.file", 20 * MB, least=6),
        Bound("media.range", 20 * MB),
        Bound("media.by_url", 200 * MB),
        Bound("media.by_url.filename", 128, least=1),
        Bound("media.by_url.url", 1_024, least=1),
        # robot
        Bound("robot.text.content", 2_048, least=1),
        Bound("robot.markdown.content", 4_096, least=1),
        Bound("robot.markdown_v2.content", 4_096, least=1),
        Bound("robot.image", 2 * MB, least=1),
        Bound("robot.news.articles", 8, "items", 1),
        Bound("robot.news.title", 128, least=1),
        Bound("robot.news.description", 512),
        Bound("robot.news.url", 2_048, least=1),
    )
}  # fmt: skip

_USERID = re.compile(r"[A-Za-z0-9@_.\-]{1,64}")


def at_most(name: str, value: str | bytes) -> None:
    """Check a text against `BOUNDS[name]` in that bound's own unit. Raises Malformed naming field, size and limit."""
    bound = BOUNDS[name]
    if isinstance(value, bytes) or bound.unit == "characters":
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise Malformed(f"{name}: not valid Unicode") from None
    _check(bound, size)


def between(name: str, value: Sequence[object] | int) -> None:
    """Check a number, or the length of a list, against `BOUNDS[name]`. Raises Malformed naming field, size and limit."""
    _check(BOUNDS[name], value if isinstance(value, int) else len(value))


def _check(bound: Bound, size: int) -> None:
    if not bound.least <= size <= bound.most:
        limit = f"at most {bound.most}" if size > bound.most else f"at least {bound.least}"
        raise Malformed(f"{bound.name}: {size} {bound.unit}, {limit}")


def user_ids(name: str, ids: Sequence[str]) -> None:
    """Check ids against `BOUNDS[name]` and that each is one. Raises Malformed."""
    between(name, ids)
    for each in ids:
        if not _USERID.fullmatch(each):
            raise Malformed(f"{name}: {each[:20]!r} is no userid")
