"""What every errcode of WeCom means to us, as one table: errcode to class, scope and what to do; `outcome_of` applies it.

Source: section 2.1 of our WeCom reference (official page of global error codes, doc 90313). Only `errcode` decides; the text of
`errmsg` changes without notice and is quoted, never read. An answer with an errcode is a definite answer: nothing was done.
A code that is not listed is tried again, within the bounds of the retry policy: repeating what was refused cannot send twice,
while dropping it could lose a message to a code that is only new; an alarm asks for a new line here.

Long because it is one table, with a row for every code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from protocols.outcome import Outcome, Rejected, Retry, Scope, Sent, Unknown
from protocols.wecom.limits import windows_of

Class: TypeAlias = Literal[
    "ok",
    "transient",  # the same request again, backing off
    "not_ready",  # shortly again, fewer at once
    "token",  # fetch a token once, repeat once
    "rate",  # wait a whole window
    "setup",  # configuration, permission, licence: nothing goes until somebody mends it
    "recipient",  # this recipient never; another channel may
    "content",  # this message never
    "media",  # upload again once, repeat once
    "window",  # the occasion has passed; another channel may
    "transfer",  # one item of a transfer of customers
    "abuse",  # WeCom's anti-spam: never again as it is
    "unknown",
]


class Do(Enum):
    """What an adapter does itself before there is an outcome."""

    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - no password: the name of an action
    REUPLOAD_MEDIA = "reupload_media"
    WAIT_WINDOW = "wait_window"


@dataclass(frozen=True, slots=True)
class Action:
    """Do this once; if the call is refused again, or it cannot be done, the outcome is `otherwise`.

    `seconds`: how long no call of this API may be made (WAIT_WINDOW only). A day is told as 86,400 s: it ends at midnight UTC+8
    for windows of the calendar.
    """

    do: Do
    otherwise: Outcome
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One errcode. `alert`: somebody has to look. `after`: seconds before another try, 0 = the policy's own back-off."""

    errcode: int
    cls: Class
    scope: Scope
    words: str
    alert: bool = False
    after: float = 0.0

    @property
    def code(self) -> str:
        """The stable reason code: bounded, because the table is."""
        return "wecom_unlisted" if self.cls == "unknown" else f"wecom_{self.errcode}"


def _rows(
    cls: Class, scope: Scope, table: Mapping[int, str], alert: bool = False, after: float = 0.0
) -> list[Row]:
    return [Row(errcode, cls, scope, words, alert, after) for errcode, words in table.items()]


OK = Row(0, "ok", "message", "ok")
UNLISTED = Row(0, "unknown", "message", "a code not listed", alert=True)

ROWS: Mapping[int, Row] = {
    row.errcode: row
    for row in [
        OK,
        *_rows("transient", "message", {-1: "system busy", 6000: "data version conflict"}),
        *_rows(
            "not_ready",
            "message",
            {
                41063: "mass message still being dispatched",
                41079: "moments task still being dispatched",
                41096: "welcome message being sent by another app",
            },
            after=2.0,
        ),
        *_rows("not_ready", "channel", {45033: "too many concurrent calls of this API"}, after=2.0),
        *_rows(
            "token",
            "channel",
            {
                40001: "credential invalid",
                40014: "access token invalid",
                41001: "access token missing",
                42001: "access token expired",
                42009: "suite access token expired",
            },
        ),
        *_rows("rate", "channel", {45009: "call frequency limit", 81017: "request count exceeded"}),
        *_rows(
            "setup",
            "channel",
            {
                40013: "corp id wrong",
                40056: "agent id wrong",
                40091: "secret of another corp",
                41002: "corp id missing",
                41004: "corp secret missing",
                43004: "the app must be followed",
                43009: "corp not verified",
                43012: "a callback URL is needed",
                45031: "insecure secret",
                48001: "API not permitted",
                48002: "API forbidden to this app",
                48004: "API forbidden by a rule",
                48005: "API retired",
                48006: "permission withdrawn for inactivity",
                48007: "kf account not granted to this app",
                50001: "redirect domain not trusted",
                50003: "app disabled",
                60011: "no privilege",
                60020: "our IP is not allowed",
                60021: "outside the app's visible range",
                60031: "app forbidden",
                95003: "corp not verified, no more customers",
                95011: "kf is not managed by API",
                95012: "kf managed in another mode",
                95017: "kf API switched off",
                95023: "kf API held by another app",
                301002: "no permission for this agent",
                301007: "corp unavailable",
                301042: "our IP is not allowed to read the archive",
                301052: "archive licence expired",
                301053: "archive not enabled",
                610016: "corp not certified",
                701008: "no interoperation licence",
            },
            alert=True,
            after=600.0,
        ),
        *_rows(
            "recipient",
            "recipient",
            {
                40003: "userid invalid",
                40050: "chatid not found",
                40096: "external_userid invalid",
                41048: "no customer to send to",
                41054: "member not activated",
                46004: "user does not exist",
                50002: "member outside the app's scope",
                60003: "department does not exist",
                60111: "userid not found",
                81012: "no permission for any recipient",
                81013: "all recipients invalid",
                82001: "no recipient given",
                84061: "not a contact",
                84074: "member may not contact customers",
                84084: "member does not follow this customer",
                86001: "chatid invalid",
                86003: "chatid unknown",
                86004: "group name invalid",
                86005: "group owner invalid",
                86006: "group size outside its limits",
                86007: "group member invalid",
                86008: "group not created by this app",
                86101: "only the owner may do this",
                **dict.fromkeys(
                    range(86201, 86208), "group parameters missing, too long, or owner not listed"
                ),
                86215: "chatid already taken",
                86216: "group member invalid",
                86217: "sender not in the group",
                93000: "robot unknown or removed",
                93004: "robot disabled",
                93006: "robot's group invalid",
                93008: "robot not in this group",
                95000: "open_kfid invalid",
                95004: "open_kfid does not exist",
                95014: "not a servicer of this kf account",
                95031: "customer did not consult within 48 h",
                301061: "user does not exist",
            },
        ),
        *_rows(
            "content",
            "message",
            {
                40004: "media type invalid",
                40005: "file type invalid",
                40006: "file size invalid",
                40008: "msgtype invalid",
                40009: "image size invalid",
                40011: "video size invalid",
                40033: "characters not allowed",
                40035: "parameter invalid",
                40058: "parameter invalid or too long",
                40063: "parameter empty",
                40123: "media file invalid",
                40206: "request too large",
                41006: "media_id missing",
                41009: "content missing",
                41011: "recipient missing",
                41016: "title missing",
                41033: "description missing",
                41035: "url missing",
                41046: "mass message id invalid",
                41047: "mass message id of another app",
                41064: "too many attachments",
                41065: "attachment type invalid",
                41088: "attachments empty",
                42014: "card invalid",
                **dict.fromkeys(range(42015, 42052), "template card invalid"),
                44001: "media file empty",
                44004: "text empty",
                45001: "media file too large",
                45002: "content too long",
                45007: "voice longer than 60 s",
                45008: "more than 8 articles",
                45034: "URL scheme not allowed",
                82002: "more than 100 parties",
                82003: "more than 100 tags",
                82004: "too many recipients",
                95005: "too many kf accounts",
                95006: "kf account name invalid",
                95008: "more than 10 menu items",
                95009: "menu item type invalid",
                95022: "message type not allowed here",
                95026: "kf account used too little",
                95027: "corp not certified, no more kf accounts",
                95030: "message type banned by a component",
                301048: "sdkfileid missing or expired",
                301058: "archive page too large, ask for less",
                301059: "not an inner group",
                301060: "more than 100 consent items",
                610014: "unionid invalid",
                830002: "range needed above 20 MB",
            },
        ),
        *_rows("media", "message", {40007: "media_id invalid or expired"}),
        *_rows(
            "window",
            "recipient",
            {
                41049: "welcome code missing or expired",
                41050: "welcome code expired",
                41051: "chat has already started",
                41052: "send time invalid",
                41053: "customer did not consent to the archive",
                41093: "task cancelled",
                41094: "reminded too often",
                42052: "older than 24 h, cannot be recalled",
                60140: "response_code invalid or used",
                95001: "kf: 5 messages sent since the customer's last one",
                95002: "kf: customer wrote more than 48 h ago",
                95007: "kf: token invalid or expired",
                95013: "kf: session ended",
                95016: "kf: change of state not allowed",
                95018: "kf: session state does not allow sending",
                95019: "kf: servicer paused",
            },
        ),
        *_rows(
            "transfer",
            "recipient",
            {
                40097: "handover member has not resigned",
                40098: "takeover member without real name",
                40099: "takeover member is full",
                40100: "customer already in transfer",
                40128: "more than 2 transfers in 90 days",
                40129: "customer being transferred",
                40130: "handover and takeover are the same",
                40131: "handover member does not follow the customer",
                90500: "the owner has not resigned",
                90501: "not a customer group",
            },
        ),
        *_rows("abuse", "account", {40143: "takeover member banned"}, alert=True),
        *_rows(
            "abuse",
            "message",
            {40201: "content blocked by anti-spam", 40204: "content blocked by anti-spam"},
            alert=True,
        ),
    ]
}


def row_of(errcode: int) -> Row:
    """The line of an errcode; `UNLISTED` for one that has none."""
    return ROWS.get(errcode, UNLISTED)


def outcome_of(errcode: int, errmsg: str = "", api: str = "", strikes: int = 0) -> Outcome | Action:
    """What an answer means. `api`: the call, as in `message/send`. `strikes`: how often this call was refused by a limit
    already although a whole window had been waited: each time the next longer window of that API is assumed full.
    """
    row = row_of(errcode)
    told = f"WeCom {errcode}: {row.words}" + (f" ({errmsg[:120]})" if errmsg else "")
    match row.cls:
        case "ok":
            return Sent()
        case "transient" | "not_ready" | "setup" | "unknown":
            return Retry(row.scope, told, row.after, row.code)
        case "token":
            # A second refusal with a fresh token is a matter of set-up: the channel waits, no message is lost.
            return Action(Do.REFRESH_TOKEN, Retry("channel", told, 600.0, row.code))
        case "media":
            return Action(Do.REUPLOAD_MEDIA, Rejected(row.scope, told, row.code))
        case "rate":
            windows = windows_of(api)
            seconds = windows[min(strikes, len(windows) - 1)]
            return Action(Do.WAIT_WINDOW, Retry(row.scope, told, float(seconds), row.code), seconds)
        case "recipient" | "content" | "window" | "transfer" | "abuse":
            return Rejected(row.scope, told, row.code)


def outcome_of_status(status: int, sends: bool) -> Outcome:
    """What an HTTP answer without an errcode means. `sends`: the call causes something, so that a fault of the server leaves open
    whether it did.
    """
    told = f"WeCom answered HTTP {status} without an errcode"
    if sends and (status >= 500 or 200 <= status < 300):
        return Unknown(told)
    return Retry("channel", told, 0.0, "wecom_http")
