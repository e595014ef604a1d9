"""What 客户联系 answers: customers, groups, mass-message tasks and their results, transfers, as values (docs 92135, 93338, 92125)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.fields import flag, many, number, text, texts
from protocols.wecom.answers import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUsers(Model):
    """get_follow_user_list."""

    userids: tuple[str, ...] = texts("follow_user")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerIds(Model):
    """externalcontact/list."""

    external_userids: tuple[str, ...] = texts("external_userid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """`kind`: 1 WeChat, 2 WeCom."""

    external_userid: str = text("external_contact/external_userid")
    name: str = text("external_contact/name")
    avatar: str = text("external_contact/avatar")
    kind: int = number("external_contact/type")
    gender: int = number("external_contact/gender")
    unionid: str = text("external_contact/unionid")
    position: str = text("external_contact/position")
    corp_name: str = text("external_contact/corp_name")
    corp_full_name: str = text("external_contact/corp_full_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    group_name: str = text("group_name")
    name: str = text("tag_name")
    tag_id: str = text("tag_id")
    kind: int = number("type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """What one member noted about a customer. `add_way`: WeCom's number for how they met."""

    userid: str = text("userid")
    remark: str = text("remark")
    description: str = text("description")
    created_at: int = number("createtime")
    tags: tuple[Tag, ...] = many(Tag, "tags")
    tag_ids: tuple[str, ...] = texts("tag_id")
    remark_corp_name: str = text("remark_corp_name")
    remark_mobiles: tuple[str, ...] = texts("remark_mobiles")
    add_way: int = number("add_way")
    added_by: str = text("oper_userid")
    state: str = text("state")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDetail(Model, Customer):
    """externalcontact/get. `next_cursor` is set above 500 followers."""

    follows: tuple[Follow, ...] = many(Follow, "follow_user")
    next_cursor: str = text("next_cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerOf(Customer):
    """One line of batch/get_by_user: a customer as one member sees it."""

    userid: str = text("follow_info/userid")
    remark: str = text("follow_info/remark")
    description: str = text("follow_info/description")
    created_at: int = number("follow_info/createtime")
    tag_ids: tuple[str, ...] = texts("follow_info/tag_id")
    remark_mobiles: tuple[str, ...] = texts("follow_info/remark_mobiles")
    add_way: int = number("follow_info/add_way")
    added_by: str = text("follow_info/oper_userid")
    state: str = text("follow_info/state")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomersOf(Model):
    """batch/get_by_user. `unlicensed`: members whose customers could not be read."""

    customers: tuple[CustomerOf, ...] = many(CustomerOf, "external_contact_list")
    next_cursor: str = text("next_cursor")
    unlicensed: tuple[str, ...] = texts("fail_info/unlicensed_userid_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """`status`: 0 normal, 1 owner left, 2 being inherited, 3 inherited."""

    chat_id: str = text("chat_id")
    status: int = number("status")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLines(Model):
    groups: tuple[GroupLine, ...] = many(GroupLine, "group_chat_list")
    next_cursor: str = text("next_cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """`kind`: 1 member, 2 external. `join_scene`: 1 by a member, 2 by a link, 3 by a QR code."""

    userid: str = text("userid")
    kind: int = number("type")
    unionid: str = text("unionid")
    joined_at: int = number("join_time")
    join_scene: int = number("join_scene")
    state: str = text("state")
    invited_by: str = text("invitor/userid")
    group_nickname: str = text("group_nickname")
    name: str = text("name")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAdmin:
    userid: str = text("userid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Model):
    """groupchat/get. `member_version`: compared with the one of the callback, see `customers.GroupUpdated`."""

    chat_id: str = text("group_chat/chat_id")
    name: str = text("group_chat/name")
    owner: str = text("group_chat/owner")
    created_at: int = number("group_chat/create_time")
    notice: str = text("group_chat/notice")
    members: tuple[GroupMember, ...] = many(GroupMember, "group_chat/member_list")
    admins: tuple[GroupAdmin, ...] = many(GroupAdmin, "group_chat/admin_list")
    member_version: str = text("group_chat/member_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalId(Model):
    """unionid_to_external_userid, both. `pending_id` (90 days) when not a contact yet."""

    external_userid: str = text("external_userid")
    pending_id: str = text("pending_id")


# -- mass messages ------------------------------------------------------------------------------------------------------

#: Status of a send result. 3: the month's allowance of that customer was used up.
RESULTS: Mapping[int, str] = {
    0: "not sent yet",
    1: "sent",
    2: "not a contact any more",
    3: "already got another mass message",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MassTask(Model):
    """add_msg_template: the task's id and the customers it leaves out."""

    msgid: str = text("msgid")
    failed: tuple[str, ...] = texts("fail_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassAttachment:
    kind: str = text("msgtype")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassLine:
    """`create_type`: 0 the corp, 1 a member."""

    msgid: str = text("msgid")
    creator: str = text("creator")
    created_at: int = number("create_time")
    create_type: int = number("create_type")
    content: str = text("text/content")
    attachments: tuple[MassAttachment, ...] = many(MassAttachment, "attachments")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassLines(Model):
    lines: tuple[MassLine, ...] = many(MassLine, "group_msg_list")
    next_cursor: str = text("next_cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassMember:
    """`status`: 0 has not confirmed, 2 has sent."""

    userid: str = text("userid")
    status: int = number("status")
    sent_at: int = number("send_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassMembers(Model):
    members: tuple[MassMember, ...] = many(MassMember, "task_list")
    next_cursor: str = text("next_cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassResult:
    """`status` as in RESULTS; a customer or a group."""

    external_userid: str = text("external_userid")
    chat_id: str = text("chat_id")
    userid: str = text("userid")
    status: int = number("status")
    sent_at: int = number("send_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class MassResults(Model):
    results: tuple[MassResult, ...] = many(MassResult, "send_list")
    next_cursor: str = text("next_cursor")


# -- inheritance --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """transfer_customer: errcode 0 = begun, see `errcodes`. transfer_result: `status` 1 done, 2 waiting, 3 refused,
    4 takeover full, 5 no record.
    """

    external_userid: str = text("external_userid")
    errcode: int = number("errcode")
    status: int = number("status")
    taken_over_at: int = number("takeover_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers(Model):
    customers: tuple[Transferred, ...] = many(Transferred, "customer")
    next_cursor: str = text("next_cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unassigned:
    handover: str = text("handover_userid")
    external_userid: str = text("external_userid")
    left_at: int = number("dimission_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnassignedPage(Model):
    customers: tuple[Unassigned, ...] = many(Unassigned, "info")
    is_last: bool = flag("is_last")
    next_cursor: str = text("next_cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFailure:
    chat_id: str = text("chat_id")
    errcode: int = number("errcode")
    errmsg: str = text("errmsg")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTransfers(Model):
    """Groups that were not transferred; all others were."""

    failed: tuple[GroupFailure, ...] = many(GroupFailure, "failed_chat_list")
