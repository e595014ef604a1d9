"""Inheritance (客户继承): customers and groups handed from one member to another, on the job or after one left, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.contact.settings import DAY_S, WeComContactSettings
from adapters.wecom.conversation import customer_address, order_key
from msgcenter.adapter import Malformed, Port, Received, Rejected, Retry, Sent, Unavailable, Unknown
from protocols.address import Address
from protocols.fields import as_list, as_text
from protocols.outcome import Outcome
from protocols.payload import Happening, Pull
from protocols.wecom import contact as requests
from protocols.wecom import contact_answers as answers
from protocols.wecom.errcodes import row_of

CUSTOMERS, RESIGNED = "transfer_customer", "resigned/transfer_customer"
GROUPS, ONJOB_GROUPS = "groupchat/transfer", "groupchat/onjob_transfer"
UNASSIGNED = "get_unassigned_list"
#: Kinds of `Native`, named as WeCom's calls; their bodies have WeCom's fields.
KINDS = frozenset({CUSTOMERS, RESIGNED, GROUPS, ONJOB_GROUPS, UNASSIGNED})
SOURCE = "transfer:"
WAITING, NO_RECORD = 2, 5
STATUS: Mapping[int, str] = {
    1: "done",
    WAITING: "waiting",
    3: "refused",
    4: "takeover_full",
    NO_RECORD: "no_record",
}
_PAGES = 200
_PAGE = 200


class Transfers:
    """`command` hands over, `poll` tells results; every item's own code stands in the outcome's detail as JSON."""

    def __init__(self, api: WeComApi, port: Port, settings: WeComContactSettings) -> None:
        self._api = api
        self._port = port
        self._settings = settings

    def checked(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        """The request. Raises Malformed."""
        get = fields.get
        match kind:
            case "transfer_customer" | "resigned/transfer_customer":
                return requests.transfer(
                    as_text(get("handover_userid")),
                    as_text(get("takeover_userid")),
                    _customers(fields),
                    as_text(get("transfer_success_msg")) if kind == CUSTOMERS else "",
                )
            case "groupchat/transfer" | "groupchat/onjob_transfer":
                return requests.transfer_groups(_chats(fields), as_text(get("new_owner")))
            case _:
                return requests.unassigned(_PAGE)

    async def command(self, kind: str, fields: Mapping[str, Any], token: str) -> Outcome:
        """Raises Refusal, Malformed."""
        if kind == UNASSIGNED:
            return await self._unassigned(token)
        body = self.checked(kind, fields)
        if kind in (GROUPS, ONJOB_GROUPS):
            answer = await self._api.post(f"externalcontact/{kind}", body)
            failed = {one.chat_id: one.errcode for one in answers.GroupTransfers.of(answer).failed}
            return _outcome("chat_id", {chat: failed.get(chat, 0) for chat in _chats(fields)})
        # Before the call: should its answer be lost, what came of it is told all the same.
        with nothing_left("watch of a transfer"):
            await self._begin(kind, fields, token)
        try:
            answer = await self._api.post(f"externalcontact/{kind}", body)
        except Refusal as refusal:
            if not isinstance(refusal.outcome, Unknown):
                await self._note(token, [])
            raise
        codes = {one.external_userid: one.errcode for one in answers.Transfers.of(answer).customers}
        await self._note(token, [customer for customer, code in codes.items() if not code])
        return _outcome("external_userid", codes)

    async def resolve(self, kind: str, fields: Mapping[str, Any]) -> Outcome:
        """What became of a transfer whose answer was lost. A repeat does no harm: WeCom begins none twice. Raises Refusal."""
        again = Retry("message", "a transfer may be asked for again", 0.0, "not_begun")
        if kind not in (CUSTOMERS, RESIGNED):
            return again
        asked = set(_customers(fields))
        rows = await self._results(
            kind, as_text(fields.get("handover_userid")), as_text(fields.get("takeover_userid"))
        )
        under_way = {one.external_userid for one in rows if one.status != NO_RECORD}
        return Sent(detail="WeCom has it on record") if asked <= under_way else again

    # -- results ---------------------------------------------------------------------------------------------------------------

    async def _begin(self, kind: str, fields: Mapping[str, Any], token: str) -> None:
        now = self._port.clock.now_ms()
        ticket = {
            "kind": kind,
            "handover": as_text(fields.get("handover_userid")),
            "takeover": as_text(fields.get("takeover_userid")),
            "customers": _customers(fields),
            "due": now + round(self._settings.transfer_poll_s * 1000),
            "ends": now + round(self._settings.transfer_s * 1000),
        }
        pull = Pull(f"{SOURCE}{token}", json.dumps(ticket))
        await self._port.ring(pull, delay_s=self._settings.transfer_poll_s)

    async def _note(self, token: str, begun: Sequence[str]) -> None:
        try:
            value = json.dumps(list(begun)).encode()
            await self._port.remember(
                f"transfer:{token}", value, self._settings.transfer_s + 2 * DAY_S
            )
        except Unavailable as error:  # the outcome stands; all that were asked for are watched
            self._port.log.warning("transfer_not_noted", error=type(error).__name__)

    async def poll(self, pull: Pull) -> None:
        """Tell what is new of a transfer, and look again later. Raises Malformed for a doorbell that is none of ours."""
        try:
            ticket = json.loads(pull.token)
            kind, due, ends = str(ticket["kind"]), int(ticket["due"]), int(ticket["ends"])
            handover, takeover = str(ticket["handover"]), str(ticket["takeover"])
            waiting = [str(one) for one in ticket["customers"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(f"doorbell of a transfer: {type(error).__name__}") from None
        token, now = pull.source.removeprefix(SOURCE), self._port.clock.now_ms()
        if now < due:  # a ring waits ten minutes at most
            await self._port.ring(pull, delay_s=(due - now) / 1000)
            return
        begun = await self._port.memo(f"transfer:{token}")
        if begun is not None:
            waiting = [one for one in waiting if one in json.loads(begun)]
        if not waiting:
            return
        try:
            rows = await self._results(kind, handover, takeover)
        except Refusal as refusal:
            self._port.log.info("transfer_results_later", detail=str(refusal))
            if isinstance(refusal.outcome, Rejected):
                rows, ends = [], 0
            else:
                rows = []
        newest = {one.external_userid: one for one in rows}  # the last of several is the latest
        told: list[Received] = []
        left: list[str] = []
        for customer in waiting:
            one = newest.get(customer)
            if one is not None and one.status not in (WAITING, NO_RECORD):
                told.append(self._told(token, ticket, customer, one.status, one.taken_over_at))
            elif now >= ends:
                told.append(self._told(token, ticket, customer, one.status if one else 0, 0))
            else:
                left.append(customer)
        if told:
            await self._port.emit(told)
        if left:
            wait = self._settings.transfer_poll_s
            ticket |= {"customers": left, "due": now + round(wait * 1000)}
            await self._port.ring(Pull(pull.source, json.dumps(ticket)), delay_s=wait)

    async def _results(self, kind: str, handover: str, takeover: str) -> list[answers.Transferred]:
        found: list[answers.Transferred] = []
        api = "externalcontact/" + kind.replace("transfer_customer", "transfer_result")
        cursor = ""
        for _ in range(_PAGES):
            body = requests.transfer_result(handover, takeover, cursor)
            page = answers.Transfers.of(await self._api.post(api, body, sends=False))
            found += page.customers
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    def _told(
        self, token: str, ticket: Mapping[str, Any], customer: str, status: int, at: int
    ) -> Received:
        body = {
            "kind": ticket["kind"],
            "handover_userid": ticket["handover"],
            "takeover_userid": ticket["takeover"],
            "external_userid": customer,
            "status": status,
            "result": STATUS.get(status, "no_result"),
            "takeover_time": at,
        }
        corp, takeover = self._settings.corp, str(ticket["takeover"])
        return Received(
            customer_address(corp, customer),
            takeover,
            Happening("wecom_transfer_result", json.dumps(body, sort_keys=True)),
            f"transfer:{token}:{customer}",
            self._port.clock.now_ms(),
            order_key(corp, takeover, customer),
        )

    async def _unassigned(self, token: str) -> Outcome:
        """Emit `wecom_unassigned`, page by page; Sent says how many there are. Raises Refusal."""
        cursor, count = "", 0
        for number in range(_PAGES * 10):
            body = requests.unassigned(_PAGE, cursor)
            page = answers.UnassignedPage.of(
                await self._api.post("externalcontact/get_unassigned_list", body, sends=False)
            )
            count += len(page.customers)
            told = {
                "page": number,
                "is_last": page.is_last or not page.next_cursor,
                "customers": [asdict(one) for one in page.customers],
            }
            with nothing_left("list of unassigned customers"):
                await self._port.emit(
                    [
                        Received(
                            Address("staff", "sys"),
                            str(self._settings.agent_id),
                            Happening("wecom_unassigned", json.dumps(told, sort_keys=True)),
                            f"unassigned:{token}:{number}",
                            self._port.clock.now_ms(),
                        )
                    ]
                )
            cursor = page.next_cursor
            if page.is_last or not cursor:
                break
        return Sent(detail=json.dumps({"customers": count}))


def _outcome(name: str, codes: Mapping[str, int]) -> Outcome:
    """One outcome for several items: each item's code in the detail; refused only if every one was."""
    items = [
        {name: item, "errcode": code, "words": row_of(code).words} for item, code in codes.items()
    ]
    detail = json.dumps({"items": items}, ensure_ascii=False, sort_keys=True)
    if codes and all(codes.values()):
        row = row_of(next(iter(codes.values())))
        return Rejected("recipient", detail, row.code)
    return Sent(detail=detail)


def _customers(fields: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(as_text(one) for one in as_list(fields.get("external_userid"))))


def _chats(fields: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(as_text(one) for one in as_list(fields.get("chat_id_list"))))
