"""Commands of callers about customers and tasks (`Native` payloads): welcome, remark, tags, reminder, cancelling, inheritance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.contact.contents import content_in, customer_of
from adapters.wecom.contact.transfers import KINDS as TRANSFERS
from adapters.wecom.contact.transfers import Transfers
from adapters.wecom.contact.watch import Watch
from adapters.wecom.contact.welcome import Welcomes
from msgcenter.adapter import Dispatch, Malformed, Retry, Sent, Unknown
from protocols.fields import as_int, as_list, as_text
from protocols.jsontext import parse
from protocols.outcome import Outcome
from protocols.payload import Native
from protocols.wecom import contact as requests
from protocols.wecom.bodies import needed

WELCOME, REMARK, MARK_TAG, REMIND, CANCEL = (
    "welcome",
    "remark",
    "mark_tag",
    "remind_groupmsg_send",
    "cancel_groupmsg_send",
)
KINDS = TRANSFERS | {WELCOME, REMARK, MARK_TAG, REMIND, CANCEL}
"""`Native` kinds. `welcome` `{"code", "deadline"? (epoch ms), "text"?, "attachments"?}`, `remark` and `mark_tag` `{"userid"?
(else the account), …WeCom's fields}` go to the customer's address; the tasks' `{"msgid"}` (a remote id will do) and the
transfers, with WeCom's own fields, to `wecom:<corp>`, the corp itself."""


class Commands:
    """Each is one message with an outcome of its own, and comes again by itself when it has to."""

    def __init__(
        self, api: WeComApi, corp: str, welcomes: Welcomes, transfers: Transfers, watch: Watch
    ) -> None:
        self._api = api
        self._corp = corp
        self._welcomes = welcomes
        self._transfers = transfers
        self._watch = watch

    def check(self, item: Dispatch) -> None:
        """Raises Malformed. Whose remark it is may be known only by the account, which is not at hand yet."""
        kind, fields = _read(item)
        to = item.envelope.to
        if kind in (WELCOME, REMARK, MARK_TAG):
            customer_of(to, self._corp)
        elif to.scheme == "wecom" and to.value.partition("/")[0] != self._corp:
            raise Malformed(f"{kind} goes to wecom:{self._corp}, the corp itself")
        if kind == WELCOME:
            needed("code", as_text(fields.get("code")))
            content_in(fields).checked()
        elif kind in (REMARK, MARK_TAG):
            self._note_of(item, kind, {"userid": "checked", **fields})
        elif kind in (REMIND, CANCEL):
            requests.mass_id(_msgid(fields))
        else:
            self._transfers.checked(kind, fields)

    async def run(self, item: Dispatch) -> Outcome:
        """Raises Refusal, Malformed."""
        kind, fields = _read(item)
        if kind == WELCOME:
            deadline = as_int(fields.get("deadline"))
            return await self._welcomes.send(
                as_text(fields.get("code")), content_in(fields), deadline
            )
        if kind in (REMARK, MARK_TAG):
            await self._api.post(f"externalcontact/{kind}", self._note_of(item, kind, fields))
            return Sent(detail=kind)
        if kind == REMIND:
            await self._api.post(f"externalcontact/{kind}", requests.mass_id(_msgid(fields)))
            return Sent(detail="reminded")
        if kind == CANCEL:
            left = await self._watch.cancel(_msgid(fields))
            return Sent(detail=json.dumps({"cancelled": len(left)}))
        return await self._transfers.command(kind, fields, item.token)

    async def resolve(self, item: Dispatch) -> Outcome:
        """What a lost answer of a command means. Raises Refusal, Malformed."""
        kind, fields = _read(item)
        if kind in TRANSFERS:
            return await self._transfers.resolve(kind, fields)
        if kind in (REMARK, MARK_TAG, CANCEL):
            return Retry("message", "it may be done again", 0.0, "not_done")
        return Unknown("WeCom cannot be asked for it")

    def _note_of(self, item: Dispatch, kind: str, fields: Mapping[str, Any]) -> bytes:
        customer = customer_of(item.envelope.to, self._corp)
        userid = as_text(fields.get("userid")) or item.sender
        if kind == MARK_TAG:
            add = [as_text(one) for one in as_list(fields.get("add_tag"))]
            remove = [as_text(one) for one in as_list(fields.get("remove_tag"))]
            return requests.mark_tag(userid, customer, add, remove)
        mobiles = fields.get("remark_mobiles")
        return requests.remark(
            userid,
            customer,
            remark=_given(fields, "remark"),
            description=_given(fields, "description"),
            company=_given(fields, "remark_company"),
            mobiles=None if mobiles is None else [as_text(one) for one in as_list(mobiles)],
        )


def _read(item: Dispatch) -> tuple[str, dict[str, Any]]:
    payload = item.envelope.payload
    assert isinstance(payload, Native)
    return payload.kind, parse(payload.body.encode())


def _given(fields: Mapping[str, Any], name: str) -> str | None:
    return as_text(fields[name]) if name in fields else None


def _msgid(fields: Mapping[str, Any]) -> str:
    return as_text(fields.get("msgid")).partition("#")[0]
