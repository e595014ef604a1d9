"""What WeCom's calls answer: errcode and errmsg of any, and the fields of those that say more, read leniently into values.

`read` first, then one of the models: `Sending.of(read(body))`. Only errcode decides; HTTP status is 200 for refusals too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from protocols.errors import Malformed
from protocols.fields import (
    as_int,
    as_list,
    as_text,
    flag,
    load,
    many,
    number,
    other,
    text,
    texts,
)
from protocols.jsontext import parse


@dataclass(frozen=True, slots=True)
class Answer:
    errcode: int
    errmsg: str
    fields: Mapping[str, Any]


def read(body: bytes) -> Answer:
    """Any answer. Raises Malformed when it is no JSON object, or its errcode is no whole number."""
    fields = parse(body)
    errcode = fields.get("errcode", 0)
    if isinstance(errcode, str) and errcode.removeprefix("-").isdigit():
        errcode = as_int(errcode)
    if isinstance(errcode, bool) or not isinstance(errcode, int):
        raise Malformed("answer: errcode is no number")
    return Answer(errcode, as_text(fields.get("errmsg")), fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Read with `of`; a field that is missing or odd is empty."""

    @classmethod
    def of(cls, answer: Answer) -> Self:
        return load(cls, answer.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Model):
    access_token: str = text("access_token")
    expires_in: int = number("expires_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackIps(Model):
    ips: tuple[str, ...] = texts("ip_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media(Model):
    """`created_at`: seconds; WeCom sends them as a text. The media_id lives 3 days from then."""

    kind: str = text("type")
    media_id: str = text("media_id")
    created_at: int = number("created_at")
    url: str = text("url")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadJob(Model):
    """`status`: 1 running, 2 done, 3 failed."""

    job_id: str = text("jobid")
    status: int = number("status")
    media_id: str = text("detail/media_id")
    errcode: int = number("detail/errcode")


# -- message/send and groups --------------------------------------------------------------------------------------------


def _ids(value: Any) -> tuple[str, ...]:
    """`a|b` in message/send, a list in update_template_card."""
    if isinstance(value, str):
        return tuple(part for part in value.split("|") if part)
    return tuple(as_text(each) for each in as_list(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending(Model):
    """message/send and update_template_card: errcode 0 with some recipients refused. WeCom answers ids in lower case."""

    msgid: str = text("msgid")
    response_code: str = text("response_code")
    invalid_users: tuple[str, ...] = other(_ids, (), "invaliduser")
    invalid_parties: tuple[str, ...] = other(_ids, (), "invalidparty")
    invalid_tags: tuple[str, ...] = other(_ids, (), "invalidtag")
    unlicensed_users: tuple[str, ...] = other(_ids, (), "unlicenseduser")

    def refuses(self, userid: str) -> bool:
        """Whether this recipient got nothing; upper and lower case are the same member."""
        refused = (*self.invalid_users, *self.unlicensed_users)
        return userid.lower() in {each.lower() for each in refused}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Model):
    """appchat/create (chat_id alone) and appchat/get."""

    chat_id: str = text("chatid", "chat_info/chatid")
    name: str = text("chat_info/name")
    owner: str = text("chat_info/owner")
    users: tuple[str, ...] = texts("chat_info/userlist")


# -- kf -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KfSent(Model):
    msgid: str = text("msgid")


@dataclass(frozen=True, slots=True, kw_only=True)
class KfState(Model):
    """service_state/get and /trans. One widespread client misnames the servicer; both names are read."""

    state: int = number("service_state")
    servicer: str = text("servicer_userid", "service_userid")
    msg_code: str = text("msg_code")


@dataclass(frozen=True, slots=True, kw_only=True)
class KfCustomer:
    external_userid: str = text("external_userid")
    nickname: str = text("nickname")
    avatar: str = text("avatar")
    gender: int = number("gender")
    unionid: str = text("unionid")
    scene: str = text("enter_session_context/scene")
    scene_param: str = text("enter_session_context/scene_param")


@dataclass(frozen=True, slots=True, kw_only=True)
class KfCustomers(Model):
    customers: tuple[KfCustomer, ...] = many(KfCustomer, "customer_list")
    invalid: tuple[str, ...] = texts("invalid_external_userid")


@dataclass(frozen=True, slots=True, kw_only=True)
class KfAccount:
    open_kfid: str = text("open_kfid")
    name: str = text("name")
    avatar: str = text("avatar")
    manage_privilege: bool = flag("manage_privilege")


@dataclass(frozen=True, slots=True, kw_only=True)
class KfAccounts(Model):
    """account/list, and account/add (open_kfid alone); add_contact_way answers `url`."""

    accounts: tuple[KfAccount, ...] = many(KfAccount, "account_list")
    open_kfid: str = text("open_kfid")
    url: str = text("url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servicer:
    """`status` here: 0 receiving, 1 stopped (other than in events). errcode and errmsg: in answers of add and del."""

    userid: str = text("userid")
    department_id: str = text("department_id")
    status: int = number("status")
    stop_type: int = number("stop_type")
    errcode: int = number("errcode")
    errmsg: str = text("errmsg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servicers(Model):
    servicers: tuple[Servicer, ...] = many(Servicer, "servicer_list", "result_list")


# -- archive helpers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """`status`: Agree, Disagree or Default_Agree. WeCom's key is misspelt `exteranalopenid`; the right one is read too."""

    userid: str = text("userid")
    external_userid: str = text("exteranalopenid", "externalopenid")
    status: str = text("agree_status")
    changed_at: int = number("status_change_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Consents(Model):
    consents: tuple[Consent, ...] = many(Consent, "agreeinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitUsers(Model):
    """Members whose chats are archived."""

    ids: tuple[str, ...] = texts("ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomMember:
    member_id: str = text("memberid")
    joined_at: int = number("jointime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room(Model):
    """msgaudit/groupchat/get, inner groups only."""

    name: str = text("roomname")
    creator: str = text("creator")
    created_at: int = number("room_create_time")
    notice: str = text("notice")
    members: tuple[RoomMember, ...] = many(RoomMember, "members")
