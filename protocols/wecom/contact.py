"""Requests of 客户联系: mass-message tasks, welcome messages, customers and groups, inheritance (docs 92135, 92137, 93338, 92125).

A mass message is a to-do for the member, not a send. All builders raise Malformed naming field and limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from protocols.errors import Malformed
from protocols.jsontext import write
from protocols.wecom.bodies import Body, needed, present
from protocols.wecom.limits import at_most, between, user_ids

# -- attachments --------------------------------------------------------------------------------------------------------


def image(media_id: str = "", pic_url: str = "") -> Body:
    if not (media_id or pic_url):
        raise Malformed("mass.image: media_id or pic_url")
    return Body("image", present(media_id=media_id, pic_url=pic_url))


def link(title: str, url: str, desc: str = "", pic_url: str = "") -> Body:
    at_most("mass.link.title", title)
    at_most("mass.link.url", url)
    at_most("mass.link.desc", desc)
    at_most("mass.link.picurl", pic_url)
    return Body("link", present(title=title, picurl=pic_url, desc=desc, url=url))


def miniprogram(title: str, pic_media_id: str, app_id: str, page: str) -> Body:
    at_most("mass.miniprogram.title", title)
    return Body(
        "miniprogram",
        {
            "title": title,
            "pic_media_id": needed("mass.miniprogram.pic_media_id", pic_media_id),
            "appid": needed("mass.miniprogram.appid", app_id),
            "page": needed("mass.miniprogram.page", page),
        },
    )


def video(media_id: str) -> Body:
    return Body("video", {"media_id": needed("mass.video.media_id", media_id)})


def file(media_id: str) -> Body:
    return Body("file", {"media_id": needed("mass.file.media_id", media_id)})


def _content(text: str, attachments: Sequence[Body]) -> dict[str, Any]:
    if not (text or attachments):
        raise Malformed("mass: text or attachments must be there")
    at_most("mass.text.content", text)
    between("mass.attachments", attachments)
    fields: dict[str, Any] = {}
    if text:
        fields["text"] = {"content": text}
    if attachments:
        fields["attachments"] = [
            {"msgtype": each.msgtype, each.msgtype: dict(each.fields)} for each in attachments
        ]
    return fields


# -- mass messages ------------------------------------------------------------------------------------------------------


def mass_to_customers(
    customers: Sequence[str],
    text: str = "",
    attachments: Sequence[Body] = (),
    *,
    sender: str = "",
    allow_select: bool = False,
    tags: Sequence[Sequence[str]] = (),
) -> bytes:
    """externalcontact/add_msg_template with chat_type single.

    `sender` "": for each customer the member who chatted last. `tags`: groups of tag ids; a customer needs one of each group.
    `allow_select`: the member may pick among the customers before sending.
    """
    between("mass.external_userid", customers)
    if not (customers or sender):
        raise Malformed("mass.external_userid, mass.sender: one of them")
    fields = {"chat_type": "single", **_content(text, attachments)}
    if tags:
        fields["tag_filter"] = {"group_list": [{"tag_list": list(group)} for group in tags]}
    if allow_select:
        fields["allow_select"] = True
    return write({**fields, **present(external_userid=list(customers), sender=sender)})


def mass_to_groups(
    sender: str,
    text: str = "",
    attachments: Sequence[Body] = (),
    *,
    chat_ids: Sequence[str] = (),
    allow_select: bool = False,
) -> bytes:
    """externalcontact/add_msg_template with chat_type group. `sender`: the owner; `chat_ids` none: all groups of the owner."""
    between("mass.chat_id_list", chat_ids)
    fields = {
        "chat_type": "group",
        "sender": needed("mass.sender", sender),
        **_content(text, attachments),
        **present(chat_id_list=list(chat_ids)),
    }
    return write({**fields, "allow_select": True} if allow_select else fields)


def mass_list(
    chat_type: Literal["single", "group"],
    start: int,
    end: int,
    *,
    creator: str = "",
    made_by: int = 2,
    limit: int = 50,
    cursor: str = "",
) -> bytes:
    """externalcontact/get_groupmsg_list_v2. `start`, `end`: seconds since the epoch, at most a month apart.
    `made_by`: 0 the corp, 1 members, 2 all.
    """
    between("mass.list.span", end - start)
    between("mass.list.limit", limit)
    fields = present(creator=creator, cursor=cursor)
    return write(
        {
            **fields,
            "chat_type": chat_type,
            "start_time": start,
            "end_time": end,
            "filter_type": made_by,
            "limit": limit,
        }
    )


def mass_task(msgid: str, limit: int = 500, cursor: str = "") -> bytes:
    """externalcontact/get_groupmsg_task: who has confirmed."""
    between("mass.task.limit", limit)
    return write({"msgid": needed("mass.msgid", msgid), "limit": limit, **present(cursor=cursor)})


def mass_result(msgid: str, userid: str, limit: int = 500, cursor: str = "") -> bytes:
    """externalcontact/get_groupmsg_send_result: what became of it for each customer or group of `userid`."""
    between("mass.task.limit", limit)
    return write(
        {
            "msgid": needed("mass.msgid", msgid),
            "userid": needed("mass.userid", userid),
            "limit": limit,
            **present(cursor=cursor),
        }
    )


def mass_id(msgid: str) -> bytes:
    """externalcontact/remind_groupmsg_send and cancel_groupmsg_send alike."""
    return write({"msgid": needed("mass.msgid", msgid)})


def welcome(code: str, text: str = "", attachments: Sequence[Body] = ()) -> bytes:
    """externalcontact/send_welcome_msg: within 20 s of the callback that brought the code, once."""
    return write({"welcome_code": needed("welcome_code", code), **_content(text, attachments)})


# -- reading ------------------------------------------------------------------------------------------------------------


def customers_of(userids: Sequence[str], limit: int = 50, cursor: str = "") -> bytes:
    """externalcontact/batch/get_by_user."""
    user_ids("contact.batch.userid_list", userids)
    between("contact.batch.limit", limit)
    return write({"userid_list": list(userids), "limit": limit, **present(cursor=cursor)})


def groups(
    owners: Sequence[str] = (), *, status: int = 0, limit: int = 1000, cursor: str = ""
) -> bytes:
    """externalcontact/groupchat/list. `status`: 0 all, 1 owner left, 2 being inherited, 3 inherited. Above 1,000 visible members
    the owners must be named (else 81017).
    """
    user_ids("contact.groups.owners", owners)
    between("contact.groups.limit", limit)
    if status not in (0, 1, 2, 3):
        raise Malformed("status_filter: 0 to 3")
    fields: dict[str, Any] = {"status_filter": status, "limit": limit, **present(cursor=cursor)}
    if owners:
        fields["owner_filter"] = {"userid_list": list(owners)}
    return write(fields)


def group(chat_id: str, with_names: bool = True) -> bytes:
    """externalcontact/groupchat/get."""
    return write({"chat_id": needed("chat_id", chat_id), "need_name": int(with_names)})


def unionid(unionid: str, openid: str) -> bytes:
    """externalcontact/unionid_to_external_userid."""
    return write({"unionid": needed("unionid", unionid), "openid": needed("openid", openid)})


def idconvert(unionid: str, openid: str, provider: bool = False) -> bytes:
    """idconvert/unionid_to_external_userid."""
    fields = {"unionid": needed("unionid", unionid), "openid": needed("openid", openid)}
    return write({**fields, "subject_type": int(provider)})


# -- notes on a customer ------------------------------------------------------------------------------------------------


def remark(
    userid: str,
    external_userid: str,
    *,
    remark: str | None = None,
    description: str | None = None,
    company: str | None = None,
    mobiles: Sequence[str] | None = None,
) -> bytes:
    """externalcontact/remark: what the member noted about a customer. None = leave it as it is, "" = clear it."""
    given = {"remark": remark, "description": description, "remark_company": company}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    at_most("contact.remark", remark or "")
    at_most("contact.remark.description", description or "")
    at_most("contact.remark.company", company or "")
    if mobiles is not None:
        # WeCom clears the list for one empty number, not for an empty list.
        fields["remark_mobiles"] = list(mobiles) or [""]
    if not fields:
        raise Malformed("contact.remark: nothing to change")
    return write({**_pair(userid, external_userid), **fields})


def mark_tag(
    userid: str, external_userid: str, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> bytes:
    """externalcontact/mark_tag: the corp's tags, by id, put on a customer of the member or taken off."""
    if not (add or remove):
        raise Malformed("mark_tag: add_tag or remove_tag must be there")
    fields = present(add_tag=list(add), remove_tag=list(remove))
    return write({**_pair(userid, external_userid), **fields})


def _pair(userid: str, external_userid: str) -> dict[str, str]:
    return {
        "userid": needed("userid", userid),
        "external_userid": needed("external_userid", external_userid),
    }


# -- inheritance --------------------------------------------------------------------------------------------------------


def transfer(handover: str, takeover: str, customers: Sequence[str], message: str = "") -> bytes:
    """externalcontact/transfer_customer (on the job, with a `message`) and resigned/transfer_customer (without)."""
    between("transfer.external_userid", customers)
    at_most("transfer.success_msg", message)
    if handover == takeover:
        raise Malformed("transfer: handover and takeover are the same")
    return write(
        {
            "handover_userid": needed("transfer.handover_userid", handover),
            "takeover_userid": needed("transfer.takeover_userid", takeover),
            "external_userid": list(customers),
            **present(transfer_success_msg=message),
        }
    )


def transfer_result(handover: str, takeover: str, cursor: str = "") -> bytes:
    """externalcontact/transfer_result and resigned/transfer_result alike."""
    return write(
        {
            "handover_userid": needed("transfer.handover_userid", handover),
            "takeover_userid": needed("transfer.takeover_userid", takeover),
            **present(cursor=cursor),
        }
    )


def unassigned(page_size: int = 1000, cursor: str = "") -> bytes:
    """externalcontact/get_unassigned_list: customers of members who left."""
    between("transfer.unassigned.page_size", page_size)
    return write({"page_size": page_size, **present(cursor=cursor)})


def transfer_groups(chat_ids: Sequence[str], new_owner: str) -> bytes:
    """externalcontact/groupchat/transfer (owner left) and groupchat/onjob_transfer alike."""
    between("transfer.chat_id_list", chat_ids)
    return write(
        {"chat_id_list": list(chat_ids), "new_owner": needed("transfer.new_owner", new_owner)}
    )
