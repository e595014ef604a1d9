"""A mass-message task from before it is made until its end: which messages it carries, its msgid, and what became of each customer.

The watch begins *before* the call, so that a task whose answer was lost (by us or on the way) is looked for in WeCom's list of
tasks, and its results are told all the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contact.joint import ChatType
from adapters.wecom.contact.lists import SENT, STRANGER, USED_UP, Lists
from adapters.wecom.contact.settings import DAY_S, WeComContactSettings
from msgcenter.adapter import Malformed, Port, Rejected, Report
from protocols.address import Address
from protocols.payload import DeliveryReport, Pull
from protocols.wecom import contact as requests
from protocols.wecom import contact_answers as answers

SOURCE = "mass:"
CANCELLED = 41093
NO_TASK = "-"
"""In the place of a msgid: WeCom certainly made none."""
SEARCHES = 5
"""How often a task without a known msgid is looked for."""
#: Status of a send result -> (state, code). A code of ours, since WeCom's is a mere number.
STATES: Mapping[int, tuple[Any, str]] = {
    SENT: ("delivered", ""),
    STRANGER: ("undelivered", "not_a_contact"),
    USED_UP: ("undelivered", "mass_allowance_used"),
}


def remote_id(msgid: str, target: str) -> str:
    return f"{msgid}#{target}"


@dataclass(slots=True)
class Ticket:
    """What a doorbell of a task carries. `call`: our name of the task. Times are epoch milliseconds.

    `round`: looks so far. `done`: members whose part has been told in full.
    """

    call: str
    chat_type: ChatType
    sender: str
    digest: str
    left: int
    due: int
    ends: int
    round: int = 0
    done: tuple[str, ...] = ()

    @property
    def pull(self) -> Pull:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return Pull(f"{SOURCE}{self.call}", json.dumps(fields))

    @classmethod
    def of(cls, pull: Pull) -> Ticket:
        """Raises Malformed."""
        try:
            fields = json.loads(pull.token)
            return cls(**fields | {"done": tuple(fields["done"])})
        except (ValueError, TypeError, KeyError) as error:
            raise Malformed(f"doorbell of a task: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class Lost:
    """`msgid`: "" = not known, NO_TASK = certainly none was made. `left`: epoch milliseconds, 0 = not known."""

    call: str
    msgid: str
    left: int
    targets: frozenset[str]


class Watch:
    """`begin`, then `made` or `refused`; doorbells come to `poll` until the task is over."""

    def __init__(self, api: WeComApi, port: Port, settings: WeComContactSettings) -> None:
        self.lists = Lists(api)
        self._api = api
        self._port = port
        self._settings = settings
        self._kept_s = settings.confirm_s + 2 * DAY_S

    # -- the call ----------------------------------------------------------------------------------------------------------

    async def begin(
        self, ticket: Ticket, targets: Mapping[str, Address], tokens: Sequence[str]
    ) -> None:
        """Before the call leaves. `targets`: whom it is for; `tokens`: of the messages it carries."""
        # A pass that is made again has the token of the first, of which nothing left.
        await self._port.remember(f"task:{ticket.call}", b"", 0.0)
        kept = {"left": ticket.left, "targets": {to: str(at) for to, at in targets.items()}}
        await self._remember(f"call:{ticket.call}", json.dumps(kept))
        joined = [token for token in tokens if token != ticket.call]
        await asyncio.gather(*[self._remember(f"joined:{one}", ticket.call) for one in joined])
        await self._port.ring(ticket.pull, delay_s=self._settings.poll_s)

    def ticket(self, call: str, chat_type: ChatType, sender: str, digest: str) -> Ticket:
        now = self._port.clock.now_ms()
        due, ends = now + _ms(self._settings.poll_s), now + _ms(self._settings.confirm_s)
        return Ticket(call, chat_type, sender, digest, now, due, ends)

    async def made(self, call: str, msgid: str) -> None:
        await self._remember(f"of:{msgid}", call)
        await self._remember(f"task:{call}", msgid)

    async def refused(self, call: str) -> None:
        await self._remember(f"task:{call}", NO_TASK)

    async def _remember(self, key: str, value: str) -> None:
        await self._port.remember(key, value.encode(), self._kept_s)

    async def _memo(self, key: str) -> str:
        return (await self._port.memo(key) or b"").decode()

    # -- what became of a call whose answer was lost -------------------------------------------------------------------------

    async def of_message(self, token: str) -> Lost:
        """What is known of the call that a message left with."""
        call = await self._memo(f"joined:{token}") or token
        kept = json.loads(await self._memo(f"call:{call}") or "{}")
        targets = frozenset(kept.get("targets", ()))
        return Lost(call, await self._memo(f"task:{call}"), int(kept.get("left", 0)), targets)

    async def find(
        self,
        chat_type: ChatType,
        sender: str,
        digest: str,
        targets: Collection[str],
        since_ms: int,
        call: str = "",
    ) -> tuple[str, set[str]]:
        """The task that says this to some of `targets`, made since then and not known to be of another call: its msgid and
        everybody it is for; "" = WeCom lists none. Raises Refusal.
        """

        async def is_free(msgid: str) -> bool:
            return await self._memo(f"of:{msgid}") in ("", call or "?")

        times = since_ms, self._port.clock.now_ms()
        return await self.lists.find(chat_type, sender, digest, targets, times, is_free)

    # -- results -------------------------------------------------------------------------------------------------------------

    async def cancel(self, msgid: str) -> set[str]:
        """Stop what is unsent; answers (and reports) for whom. Raises Refusal."""
        left = await self.lists.unsent(msgid)
        await self._api.post("externalcontact/cancel_groupmsg_send", requests.mass_id(msgid))
        await self._end(msgid, left, await self._addresses(msgid), "task_cancelled")
        return left

    # -- doorbells -------------------------------------------------------------------------------------------------------------

    async def poll(self, pull: Pull) -> None:
        """Look once, tell what is new, and look again later. Raises Malformed for a doorbell that is none of ours."""
        ticket, now = Ticket.of(pull), self._port.clock.now_ms()
        if now < ticket.due:  # a ring waits ten minutes at most
            await self._port.ring(pull, delay_s=(ticket.due - now) / 1000)
            return
        try:
            over = await self._look(ticket)
        except Refusal as refusal:
            over = now >= ticket.ends + _ms(DAY_S)
            said = "mass_results_given_up" if over else "mass_results_later"
            self._port.log.warning(said, call=ticket.call, detail=str(refusal))
        if over:
            return
        wait = min(self._settings.poll_s * 2 ** min(ticket.round, 20), self._settings.poll_most_s)
        if now < ticket.ends:
            wait = min(wait, (ticket.ends - now) / 1000)
        ticket.round += 1
        ticket.due = now + _ms(wait)
        await self._port.ring(ticket.pull, delay_s=wait)

    async def _look(self, ticket: Ticket) -> bool:
        """Whether nothing more will come of this task. Raises Refusal."""
        kept = await self._memo(f"call:{ticket.call}")
        told = json.loads(kept)["targets"] if kept else {}
        targets = {to: Address.parse(address) for to, address in told.items()}
        msgid = await self._memo(f"task:{ticket.call}")
        if msgid == NO_TASK:
            return True
        if not msgid:
            msgid, found = await self.find(
                ticket.chat_type,
                ticket.sender,
                ticket.digest,
                targets,
                ticket.left,
                ticket.call,
            )
            if not msgid:
                return ticket.round + 1 >= SEARCHES
            await self._end(msgid, set(targets) - found, targets, "not_a_contact")
            await self.made(ticket.call, msgid)
        members = await self.lists.members(msgid)
        for member in members:
            if member.status and member.userid not in ticket.done:
                left, _ = await self._tell(msgid, member.userid, targets)
                if not left:
                    ticket.done = (*ticket.done, member.userid)
        waiting = [member for member in members if member.userid not in ticket.done]
        if members and not waiting:
            return True
        cancelled = await self._is_cancelled(msgid, waiting)
        if not cancelled and self._port.clock.now_ms() < ticket.ends:
            return False
        await self._finish(msgid, targets, cancelled)
        return True

    async def _is_cancelled(self, msgid: str, waiting: Sequence[answers.MassMember]) -> bool:
        """Of a task that somebody else cancelled, what is unsent cannot be read any more."""
        for member in [one for one in waiting if not one.status][:1]:
            try:
                async for _ in self.lists.results(msgid, member.userid):
                    return False
            except Refusal as refusal:
                if refusal.errcode != CANCELLED:
                    raise
                return True
        return False

    async def _finish(self, msgid: str, targets: Mapping[str, Address], cancelled: bool) -> None:
        """Nobody will confirm any more. Raises Refusal: then it is tried again."""
        left = set(targets)
        if not cancelled:
            left = left or await self.lists.unsent(msgid)
            if self._settings.cancel_at_end:
                await self._cancel_at_end(msgid)
        for member in await self.lists.members(msgid):
            # Once more all of them: somebody may have confirmed just before it was cancelled.
            if member.status:
                left -= (await self._tell(msgid, member.userid, targets))[1]
        await self._end(msgid, left, targets, "task_cancelled" if cancelled else "not_confirmed")

    async def _cancel_at_end(self, msgid: str) -> None:
        body = requests.mass_id(msgid)
        try:
            await self._api.post("externalcontact/cancel_groupmsg_send", body)
        except Refusal as refusal:
            # Refused for good, as one that somebody has just cancelled: asking again would end no other way.
            if not isinstance(refusal.outcome, Rejected):
                raise
            self._port.log.warning("mass_task_not_cancelled", msgid=msgid, detail=str(refusal))

    async def _tell(
        self, msgid: str, userid: str, targets: Mapping[str, Address]
    ) -> tuple[set[str], set[str]]:
        """Report what became of a member's part: of whom nothing became yet, and who was told of."""
        left: set[str] = set()
        told: set[str] = set()
        async for page in self.lists.results(msgid, userid):
            for one in page:
                (told if one.status in STATES else left).add(one.external_userid or one.chat_id)
            await self._port.emit(_reports(msgid, page, targets))
        return left, told

    async def _addresses(self, msgid: str) -> dict[str, Address]:
        kept = await self._memo(f"call:{await self._memo(f'of:{msgid}')}")
        told = json.loads(kept)["targets"] if kept else {}
        return {to: Address.parse(address) for to, address in told.items()}

    async def _end(
        self, msgid: str, left: set[str], targets: Mapping[str, Address], code: str
    ) -> None:
        now = self._port.clock.now_ms()
        reports = [
            Report(
                DeliveryReport(remote_id(msgid, target), "undelivered", code, now),
                targets.get(target),
            )
            for target in sorted(left)
        ]
        if reports:
            await self._port.emit(reports)


def _reports(
    msgid: str, page: Sequence[answers.MassResult], targets: Mapping[str, Address]
) -> list[Report]:
    made = []
    for one in page:
        if one.status in STATES:
            target = one.external_userid or one.chat_id
            state, code = STATES[one.status]
            report = DeliveryReport(remote_id(msgid, target), state, code, one.sent_at * 1000)
            made.append(Report(report, targets.get(target)))
    return made


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


__all__ = ["CANCELLED", "NO_TASK", "SOURCE", "Lost", "Ticket", "Watch", "remote_id"]
