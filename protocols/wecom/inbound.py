"""What members and apps cause: every message to an app and every app, directory, archive and kf callback of section 7.1, one dataclass each.

Long because it is a list of values, one for each callback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from protocols.fields import many, number, real, text, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What every callback has. `key`: equal for two deliveries of the same callback, see `callbacks.key_of`."""

    #: MsgType, or (Event, ChangeType) of an event; several where kinds differ in name only.
    KINDS: ClassVar[tuple[tuple[str, str], ...]] = ()

    key: str = ""
    kind: str = ""
    """MsgType or Event as it came: tells `scancode_push` from `scancode_waitmsg`."""
    corp: str = text("ToUserName", "AuthCorpId")
    sender: str = text("FromUserName")
    """The member's userid; `sys` for what nobody did."""
    created: int = number("CreateTime", "TimeStamp")
    """Seconds since the epoch."""
    agent_id: str = text("AgentID", "AgentId")


# -- messages from a member to an app -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Callback):
    msg_id: str = text("MsgId")
    """64 bits; text, because it is an id and no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage(Message):
    KINDS = (("text", ""),)
    content: str = text("Content")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMessage(Message):
    KINDS = (("image", ""),)
    pic_url: str = text("PicUrl")
    media_id: str = text("MediaId")


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMessage(Message):
    """`format`: amr or speex."""

    KINDS = (("voice", ""),)
    media_id: str = text("MediaId")
    format: str = text("Format")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMessage(Message):
    KINDS = (("video", ""),)
    media_id: str = text("MediaId")
    thumb_media_id: str = text("ThumbMediaId")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationMessage(Message):
    """`Location_X` is the latitude."""

    KINDS = (("location", ""),)
    latitude: float = real("Location_X")
    longitude: float = real("Location_Y")
    scale: int = number("Scale")
    label: str = text("Label")
    app_type: str = text("AppType")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMessage(Message):
    KINDS = (("link", ""),)
    title: str = text("Title")
    description: str = text("Description")
    url: str = text("Url")
    pic_url: str = text("PicUrl")


# -- what a member does in an app ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed(Callback):
    KINDS = (("subscribe", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribed(Callback):
    KINDS = (("unsubscribe", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntered(Callback):
    """`event_key` is empty today."""

    KINDS = (("enter_agent", ""),)
    event_key: str = text("EventKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationReported(Callback):
    KINDS = (("LOCATION", ""),)
    latitude: float = real("Latitude")
    longitude: float = real("Longitude")
    precision: float = real("Precision")
    app_type: str = text("AppType")


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuClicked(Callback):
    KINDS = (("click", ""),)
    event_key: str = text("EventKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuViewed(Callback):
    """`event_key`: the URL opened."""

    KINDS = (("view", ""),)
    event_key: str = text("EventKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned(Callback):
    KINDS = (("scancode_push", ""), ("scancode_waitmsg", ""))
    event_key: str = text("EventKey")
    scan_type: str = text("ScanCodeInfo/ScanType")
    scan_result: str = text("ScanCodeInfo/ScanResult")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    md5: str = text("PicMd5Sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesChosen(Callback):
    """Only their number and checksums; the pictures come as messages."""

    KINDS = (("pic_sysphoto", ""), ("pic_photo_or_album", ""), ("pic_weixin", ""))
    event_key: str = text("EventKey")
    count: int = number("SendPicsInfo/Count")
    pictures: tuple[Picture, ...] = many(Picture, "SendPicsInfo/PicList/item")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationChosen(Callback):
    KINDS = (("location_select", ""),)
    event_key: str = text("EventKey")
    latitude: float = real("SendLocationInfo/Location_X")
    longitude: float = real("SendLocationInfo/Location_Y")
    scale: int = number("SendLocationInfo/Scale")
    label: str = text("SendLocationInfo/Label")
    poi_name: str = text("SendLocationInfo/Poiname")
    app_type: str = text("AppType")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """One answered question of a card. The documentation once spelt the list `OpitonIds`."""

    question_key: str = text("QuestionKey")
    option_ids: tuple[str, ...] = texts(
        "OptionIds/OptionId", "OpitonIds/OpitonId", "OpitonIds/OptionId", "OptionIds/OpitonId"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardAnswered(Callback):
    """A button or vote on a template card. `response_code`: for one update of the card within 24 h."""

    KINDS = (("template_card_event", ""),)
    event_key: str = text("EventKey")
    task_id: str = text("TaskId")
    card_type: str = text("CardType")
    response_code: str = text("ResponseCode")
    selected: tuple[Selected, ...] = many(Selected, "SelectedItems/SelectedItem")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardMenuChosen(Callback):
    KINDS = (("template_card_menu_event", ""),)
    event_key: str = text("EventKey")
    task_id: str = text("TaskId")
    card_type: str = text("CardType")
    response_code: str = text("ResponseCode")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentClosed(Callback):
    KINDS = (("close_inactive_agent", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReopened(Callback):
    KINDS = (("reopen_inactive_agent", ""),)


# -- work that is done --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobDone(Callback):
    """`job_type`: sync_user, replace_user, invite_user, replace_party."""

    KINDS = (("batch_job_result", ""),)
    job_id: str = text("BatchJob/JobId")
    job_type: str = text("BatchJob/JobType")
    errcode: int = number("BatchJob/ErrCode")
    errmsg: str = text("BatchJob/ErrMsg")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUploaded(Callback):
    """A `media/upload_by_url` job is over; ask for its result."""

    KINDS = (("upload_media_job_finish", ""),)
    job_id: str = text("JobId")


# -- the directory ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _User(Callback):
    user_id: str = text("UserID")
    name: str = text("Name")
    departments: tuple[str, ...] = texts("Department", sep=",")
    main_department: str = text("MainDepartment")
    leads: tuple[str, ...] = texts("IsLeaderInDept", sep=",")
    """1 or 0 for each of `departments`."""
    direct_leaders: tuple[str, ...] = texts("DirectLeader", sep=",")
    position: str = text("Position")
    mobile: str = text("Mobile")
    gender: int = number("Gender")
    email: str = text("Email")
    biz_mail: str = text("BizMail")
    status: int = number("Status")
    """1 active, 2 disabled, 4 not activated, 5 left; 0 = not told."""
    avatar: str = text("Avatar")
    alias: str = text("Alias")
    telephone: str = text("Telephone")
    address: str = text("Address")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCreated(_User):
    KINDS = (("change_contact", "create_user"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUpdated(_User):
    """Only what changed is told. `new_user_id` is set when the id itself was changed."""

    KINDS = (("change_contact", "update_user"),)
    new_user_id: str = text("NewUserID")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDeleted(Callback):
    KINDS = (("change_contact", "delete_user"),)
    user_id: str = text("UserID")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyCreated(Callback):
    KINDS = (("change_contact", "create_party"),)
    party_id: str = text("Id")
    name: str = text("Name")
    parent_id: str = text("ParentId")
    order: int = number("Order")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyUpdated(Callback):
    KINDS = (("change_contact", "update_party"),)
    party_id: str = text("Id")
    name: str = text("Name")
    parent_id: str = text("ParentId")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyDeleted(Callback):
    KINDS = (("change_contact", "delete_party"),)
    party_id: str = text("Id")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberTagUpdated(Callback):
    KINDS = (("change_contact", "update_tag"),)
    tag_id: str = text("TagId")
    added_users: tuple[str, ...] = texts("AddUserItems", sep=",")
    removed_users: tuple[str, ...] = texts("DelUserItems", sep=",")
    added_parties: tuple[str, ...] = texts("AddPartyItems", sep=",")
    removed_parties: tuple[str, ...] = texts("DelPartyItems", sep=",")


# -- doorbells: something is there to be fetched ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveNotified(Callback):
    """New archive items, at most one callback in 15 s; no payload."""

    KINDS = (("msgaudit_notify", ""),)


@dataclass(frozen=True, slots=True, kw_only=True)
class KfNotified(Callback):
    """New kf messages of `open_kfid`; `token` lets sync_msg be called at the normal rate for 10 min."""

    KINDS = (("kf_msg_or_event", ""),)
    token: str = text("Token")
    open_kfid: str = text("OpenKfId")


@dataclass(frozen=True, slots=True, kw_only=True)
class KfAccountsChanged(Callback):
    """kf accounts this app was given or lost."""

    KINDS = (("kf_account_auth_change", ""),)
    added: tuple[str, ...] = texts("AuthAddOpenKfId")
    removed: tuple[str, ...] = texts("AuthDelOpenKfId")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramNotified(Callback):
    """The program inside the data zone has something to say (section 8.4)."""

    KINDS = (("program_notify", ""),)
    notify_id: str = text("NotifyId")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationsNew(Callback):
    """New conversations in the data zone (section 8.4)."""

    KINDS = (("conversation_new_message", ""),)
    token: str = text("Token")


# -- what has no kind of its own yet ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Callback):
    """An Event (or InfoType) this release does not know; every field is kept as (path, text)."""

    event: str = text("Event", "InfoType")
    change_type: str = text("ChangeType")
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMessage(Message):
    """A MsgType this release does not know; every field is kept as (path, text)."""

    fields: tuple[tuple[str, str], ...] = ()
