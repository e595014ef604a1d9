"""Inheritance of customers (客户继承, docs 92125, 94088): on the job and after resignation, with what customers make of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint, paged
from adapters.sim.wecom.contacts import Contacts
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import Member, World

DONE, WAITING, REFUSED, FULL, NONE = range(1, 6)
_DAYS_90 = 90 * 86_400_000


@dataclass(slots=True)
class _Transfer:
    handover: str
    takeover: str
    external_userid: str
    started_ms: int
    resigned: bool
    status: int = WAITING
    done: int = 0


class Transfers:
    """A transfer completes after `transfer_wait` seconds unless the customer refuses."""

    def __init__(self, world: World, contacts: Contacts) -> None:
        self._world = world
        self._contacts = contacts
        self._all: list[_Transfer] = []

    def endpoints(self) -> dict[str, Endpoint]:
        posts = {
            "externalcontact/transfer_customer": self._onjob,
            "externalcontact/transfer_result": self._onjob_result,
            "externalcontact/resigned/transfer_customer": self._resigned,
            "externalcontact/resigned/transfer_result": self._resigned_result,
            "externalcontact/get_unassigned_list": self._unassigned,
        }
        return {name: Endpoint("POST", call, "contact") for name, call in posts.items()}

    async def _onjob(self, call: Call) -> Answer:
        call.fields.string("transfer_success_msg", chars=200, need=False)
        return self._start(call, resigned=False)

    async def _resigned(self, call: Call) -> Answer:
        return self._start(call, resigned=True)

    async def _onjob_result(self, call: Call) -> Answer:
        return self._results(call, resigned=False)

    async def _resigned_result(self, call: Call) -> Answer:
        return self._results(call, resigned=True)

    async def _unassigned(self, call: Call) -> Answer:
        fields = call.fields
        size = fields.number("page_size", 1000, 1, 1000)
        fields.values["limit"] = size
        under_way = {
            (one.handover, one.external_userid)
            for one in self._all
            if one.status in (WAITING, DONE)
        }
        rows = [
            {
                "handover_userid": one.userid,
                "external_userid": one.external_userid,
                "dimission_time": member.resigned_at,
            }
            for one in self._world.relations.values()
            if (member := self._world.members.get(one.userid.lower())) is not None
            and member.resigned
            and (one.userid, one.external_userid) not in under_way
        ]
        page, cursor = paged(rows, fields, size, 1000)
        return {"info": page, "is_last": not cursor, "next_cursor": cursor}

    def _people(self, call: Call, resigned: bool) -> tuple[Member, Member]:
        fields = call.fields
        handover = self._world.members.get(fields.string("handover_userid", empty=60111).lower())
        takeover = self._world.member(fields.string("takeover_userid", empty=60111))
        if handover is None or takeover is None:
            raise Refused(60111)
        if handover is takeover:
            raise Refused(40130)
        if resigned and not handover.resigned:
            raise Refused(40097)
        if not takeover.contact:
            raise Refused(84074)
        return handover, takeover

    def _start(self, call: Call, *, resigned: bool) -> dict[str, Any]:
        handover, takeover = self._people(call, resigned)
        asked = call.fields.strings("external_userid", most=100, need=True)
        rows = []
        for external_userid in asked:
            errcode = self._obstacle(handover.userid, external_userid)
            if not errcode:
                now = self._world.clock.now_ms()
                one = _Transfer(handover.userid, takeover.userid, external_userid, now, resigned)
                self._all.append(one)
                self._world.later(self._world.limits.transfer_wait, partial(self._complete, one))
            rows.append({"external_userid": external_userid, "errcode": errcode})
        return {"customer": rows}

    def _obstacle(self, handover: str, external_userid: str) -> int:
        if external_userid not in self._world.customers:
            return 40096
        relation = self._world.relation(handover, external_userid)
        if relation is None or relation.deleted_by == "member":
            return 40131
        before = [one for one in self._all if one.external_userid == external_userid]
        if any(one.status == WAITING for one in before):
            return 40129
        since = self._world.clock.now_ms() - _DAYS_90
        if sum(one.status == DONE and one.started_ms > since for one in before) >= 2:
            return 40128
        return 0

    def _results(self, call: Call, *, resigned: bool) -> dict[str, Any]:
        handover, takeover = self._people(call, resigned)
        rows: list[dict[str, Any]] = []
        for one in self._all:
            if (one.handover, one.takeover) == (handover.userid, takeover.userid):
                row: dict[str, Any] = {"external_userid": one.external_userid}
                row["status"] = one.status
                rows.append(row | ({"takeover_time": one.done} if one.done else {}))
        page, cursor = paged(rows, call.fields, 1000, 1000)
        return {"customer": page, "next_cursor": cursor}

    def _complete(self, one: _Transfer) -> None:
        if one.status != WAITING:
            return
        one.status, one.done = DONE, self._world.now()
        old = self._world.relation(one.handover, one.external_userid)
        if old is not None:
            old.deleted_by = "member"
        known = self._world.relation(one.takeover, one.external_userid)
        friends = known is not None and not known.deleted_by
        if not friends:
            self._world.relate(one.takeover, one.external_userid, add_way=202)
        if not one.resigned:
            self._contacts.event(
                "del_external_contact",
                one.handover,
                one.external_userid,
                Source="DELETE_BY_TRANSFER",
            )
        if not friends:
            self._contacts.event("add_external_contact", one.takeover, one.external_userid)

    # --- orders ---

    def transfer_refused(self, *, external_userid: str, full: bool = False) -> dict[str, Any]:
        """The customer refuses the transfer under way, or (`full`) the takeover has too many customers."""
        waiting = [
            one
            for one in self._all
            if one.external_userid == external_userid and one.status == WAITING
        ]
        if not waiting:
            raise ValueError(f"{external_userid} is not being transferred")
        waiting[0].status = FULL if full else REFUSED
        reason = "customer_limit_exceed" if full else "customer_refused"
        self._contacts.event(
            "transfer_fail", waiting[0].takeover, external_userid, FailReason=reason
        )
        return {"status": waiting[0].status}
