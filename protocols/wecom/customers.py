"""What happens between members and customers: the callbacks of customer contact, customer groups and customer tags, one dataclass each.

Source: docs 92130, 92277. What is changed through the API causes no callback.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.fields import number, text, texts
from protocols.wecom.inbound import Callback


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contact(Callback):
    user_id: str = text("UserID")
    external_user_id: str = text("ExternalUserID")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerAdded(_Contact):
    """`welcome_code`: good for one welcome message within 20 s; "" if there is a native welcome."""

    KINDS = (("change_external_contact", "add_external_contact"),)
    state: str = text("State")
    welcome_code: str = text("WelcomeCode")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerEdited(_Contact):
    KINDS = (("change_external_contact", "edit_external_contact"),)
    state: str = text("State")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerHalfAdded(_Contact):
    """The customer added the member without being asked (免验证); not mutual yet."""

    KINDS = (("change_external_contact", "add_half_external_contact"),)
    state: str = text("State")
    welcome_code: str = text("WelcomeCode")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDeleted(_Contact):
    """The member deleted the customer. `source`: DELETE_BY_TRANSFER after an on-job transfer."""

    KINDS = (("change_external_contact", "del_external_contact"),)
    source: str = text("Source")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDropped(_Contact):
    """The customer deleted the member."""

    KINDS = (("change_external_contact", "del_follow_user"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFailed(_Contact):
    """`reason`: customer_refused or customer_limit_exceed."""

    KINDS = (("change_external_contact", "transfer_fail"),)
    reason: str = text("FailReason")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditApproved(_Contact):
    """The customer consented to the archive."""

    KINDS = (("change_external_contact", "msg_audit_approved"),)
    welcome_code: str = text("WelcomeCode")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCreated(Callback):
    KINDS = (("change_external_chat", "create"),)
    chat_id: str = text("ChatId")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDismissed(Callback):
    KINDS = (("change_external_chat", "dismiss"),)
    chat_id: str = text("ChatId")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUpdated(Callback):
    """`detail`: add_member, del_member, change_owner, change_name, change_notice. The group's own details lag by about 2 s:
    ask again until `member_version` has arrived.
    """

    KINDS = (("change_external_chat", "update"),)
    chat_id: str = text("ChatId")
    detail: str = text("UpdateDetail")
    join_scene: str = text("JoinScene")
    quit_scene: str = text("QuitScene")
    """0 left, 1 removed; text, because 0 and not told differ."""
    member_count_change: int = number("MemChangeCnt")
    members: tuple[str, ...] = texts("MemChangeList/Item")
    last_member_version: str = text("LastMemVer")
    member_version: str = text("CurMemVer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag(Callback):
    """`tag_type`: tag or tag_group."""

    tag_id: str = text("Id")
    tag_type: str = text("TagType")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagCreated(_Tag):
    KINDS = (("change_external_tag", "create"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagUpdated(_Tag):
    KINDS = (("change_external_tag", "update"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagDeleted(_Tag):
    KINDS = (("change_external_tag", "delete"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsShuffled(_Tag):
    KINDS = (("change_external_tag", "shuffle"),)
