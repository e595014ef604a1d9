"""Requests of an app to members: message/send, recall, card update and internal groups (docs 90236, 94867, 94888, 90245, 98913, 90248).

The same values make the same bytes, names sorted and without a timestamp, so that WeCom's own duplicate check recognises a
repeat after a timeout. All builders raise Malformed naming field and limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.errors import Malformed
from protocols.jsontext import write
from protocols.wecom.bodies import APP_TYPES, APPCHAT_TYPES, Body, needed, present
from protocols.wecom.limits import at_most, between, user_ids

EVERYONE = "@all"
_CHAT_ID = re.compile(r"[0-9A-Za-z]{1,32}")


def message_send(
    agent_id: int,
    body: Body,
    users: Sequence[str] = (),
    parties: Sequence[str] = (),
    tags: Sequence[str] = (),
    *,
    everyone: bool = False,
    safe: int = 0,
    translate_ids: bool = False,
    duplicate_check_s: int = 0,
) -> bytes:
    """`duplicate_check_s`: an identical request within so many seconds is not delivered again, 0 = every one is (at most 4 h).

    `safe`: 1 = not to be passed on, 2 = only inside the corp (mpnews only). Partial failure is errcode 0: see `answers.Sending`.
    """
    if body.msgtype not in APP_TYPES:
        raise Malformed(f"message/send: msgtype {body.msgtype} is not for apps")
    if safe not in (0, 1) and not (safe == 2 and body.msgtype == "mpnews"):
        raise Malformed("safe: 0 or 1, 2 for mpnews only")
    user_ids("app.touser", users)
    _targets(parties, tags)
    if everyone and (users or parties or tags):
        raise Malformed("touser: @all makes WeCom ignore all others")
    if everyone and body.msgtype == "miniprogram_notice":
        raise Malformed("touser: miniprogram_notice cannot go to @all")
    if not (everyone or users or parties or tags):
        raise Malformed("touser, toparty, totag: at least one recipient")
    fields: dict[str, Any] = {
        "agentid": agent_id,
        "msgtype": body.msgtype,
        body.msgtype: dict(body.fields),
        **present(
            touser=EVERYONE if everyone else "|".join(users),
            toparty="|".join(parties),
            totag="|".join(tags),
        ),
    }
    if safe:
        fields["safe"] = safe
    if translate_ids:
        fields["enable_id_trans"] = 1
    if duplicate_check_s:
        between("app.duplicate_check_interval", duplicate_check_s)
        fields["enable_duplicate_check"] = 1
        fields["duplicate_check_interval"] = duplicate_check_s
    return write(fields)


def _targets(parties: Sequence[str], tags: Sequence[str]) -> None:
    between("app.toparty", parties)
    between("app.totag", tags)
    for name, ids in (("toparty", parties), ("totag", tags)):
        for each in ids:
            if not (each.isascii() and each.isdigit() and len(each) <= 20):
                raise Malformed(f"{name}: {each[:20]!r} is no number")


def recall(msgid: str) -> bytes:
    """Within 24 h, by the app that sent it; removes it in the WeCom client only."""
    return write({"msgid": needed("msgid", msgid)})


def update_card(
    agent_id: int,
    response_code: str,
    *,
    button: str = "",
    card: Mapping[str, Any] | None = None,
    users: Sequence[str] = (),
    parties: Sequence[int] = (),
    tags: Sequence[int] = (),
    everyone: bool = False,
) -> bytes:
    """Either grey buttons saying `button`, or another `card`. `response_code` is good for one update within 24 h."""
    if bool(button) == bool(card):
        raise Malformed("update_template_card: either button or template_card")
    between("app.card.update.userids", users)
    between("app.card.update.partyids", parties)
    between("app.card.update.tagids", tags)
    fields: dict[str, Any] = {
        "agentid": agent_id,
        "response_code": needed("response_code", response_code),
        **present(userids=list(users), partyids=list(parties), tagids=list(tags)),
    }
    if everyone:
        fields["atall"] = 1
    elif not (users or parties or tags):
        raise Malformed("userids, partyids, tagids, atall: at least one recipient")
    if card:
        fields["template_card"] = dict(card)
    else:
        fields["button"] = {"replace_name": button}
    return write(fields)


# -- internal groups ----------------------------------------------------------------------------------------------------


def _chat_id(chat_id: str) -> str:
    if not _CHAT_ID.fullmatch(chat_id):
        raise Malformed("appchat.chatid: 1-32 digits and letters")
    return chat_id


def appchat_create(
    users: Sequence[str], *, name: str = "", owner: str = "", chat_id: str = ""
) -> bytes:
    """`chat_id`: our own, unique in the corp: a repeat then answers 86215 instead of making a second group.

    The group is invisible in clients until something is sent into it. `owner` "": one of the members by chance.
    """
    user_ids("appchat.userlist", users)
    if len(set(users)) != len(users):
        raise Malformed("appchat.userlist: a member twice")
    at_most("appchat.name", name)
    if owner and owner not in users:
        raise Malformed("appchat.owner: not in the userlist")
    if chat_id:
        _chat_id(chat_id)
    return write(present(chatid=chat_id, name=name, owner=owner, userlist=list(users)))


def appchat_update(
    chat_id: str,
    *,
    name: str = "",
    owner: str = "",
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> bytes:
    """Whoever removes the owner names a new one in the same call."""
    at_most("appchat.name", name)
    for each in (add, remove):
        user_ids("appchat.update.list", each)
    if owner and owner in remove:
        raise Malformed("appchat.owner: being removed in the same call")
    fields = present(name=name, owner=owner, add_user_list=list(add), del_user_list=list(remove))
    if not fields:
        raise Malformed("appchat/update: nothing to change")
    return write({"chatid": _chat_id(chat_id), **fields})


def appchat_send(chat_id: str, body: Body, *, safe: int = 0) -> bytes:
    """The answer has no msgid: what was said in a group cannot be recalled."""
    if body.msgtype not in APPCHAT_TYPES:
        raise Malformed(f"appchat/send: msgtype {body.msgtype} is not for groups")
    if safe not in (0, 1):
        raise Malformed("safe: 0 or 1")
    fields = {
        "chatid": _chat_id(chat_id),
        "msgtype": body.msgtype,
        body.msgtype: dict(body.fields),
    }
    return write({**fields, "safe": safe} if safe else fields)
