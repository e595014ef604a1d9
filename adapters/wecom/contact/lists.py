"""What WeCom lists of mass-message tasks: which there are, who is asked to confirm, what became of each customer; read only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contact.contents import digest_of
from adapters.wecom.contact.joint import ChatType
from msgcenter.adapter import Retry
from protocols.fields import as_text
from protocols.wecom import contact as requests
from protocols.wecom import contact_answers as answers
from protocols.wecom.answers import Answer
from protocols.wecom.limits import MONTH

UNSENT, SENT, STRANGER, USED_UP = range(4)
EARLY_S = 120
"""How far WeCom's clock may be from ours."""
_PAGES = 200


class Lists:
    """Every call raises Refusal; all pages are read, and a list that does not end within 200 is no answer."""

    def __init__(self, api: WeComApi) -> None:
        self._api = api

    async def find(
        self,
        chat_type: ChatType,
        sender: str,
        digest: str,
        targets: Collection[str],
        times: tuple[int, int],
        is_free: Callable[[str], Awaitable[bool]],
    ) -> tuple[str, set[str]]:
        """The task that says this to some of `targets`, made within `times` (epoch milliseconds): its msgid and everybody it
        is for; "" = WeCom lists none. `is_free(msgid)`: whether it may be this one.
        """
        start = times[0] // 1000 - EARLY_S
        end = min(times[1] // 1000 + EARLY_S, start + MONTH)

        def body(cursor: str) -> bytes:
            return requests.mass_list(
                chat_type, start, end, creator=sender, limit=100, cursor=cursor
            )

        async for answer in self._pages("get_groupmsg_list_v2", body):
            for line in answers.MassLines.of(answer).lines:
                if digest_of(line.content, [each.kind for each in line.attachments]) != digest:
                    continue
                if not await is_free(line.msgid):
                    continue
                found = await self.everybody(line.msgid)
                if not found.isdisjoint(targets):
                    return line.msgid, found
        return "", set()

    async def members(self, msgid: str) -> list[answers.MassMember]:
        """Who is asked to confirm."""
        found: list[answers.MassMember] = []
        body = partial(requests.mass_task, msgid, 1000)
        async for answer in self._pages("get_groupmsg_task", body):
            found += answers.MassMembers.of(answer).members
        return found

    async def results(self, msgid: str, userid: str) -> AsyncIterator[Sequence[answers.MassResult]]:
        """Page by page."""
        body = partial(requests.mass_result, msgid, userid, 1000)
        async for answer in self._pages("get_groupmsg_send_result", body):
            yield answers.MassResults.of(answer).results

    async def _pages(self, api: str, body: Callable[[str], bytes]) -> AsyncIterator[Answer]:
        cursor = ""
        for _ in range(_PAGES):
            answer = await self._api.post(f"externalcontact/{api}", body(cursor), sends=False)
            yield answer
            cursor = as_text(answer.fields.get("next_cursor"))
            if not cursor:
                return
        # What was not read to its end says nothing of what is not in it.
        raise Refusal(Retry("message", f"{api} has no end", 60.0, "wecom_list"))

    async def everybody(self, msgid: str) -> set[str]:
        """Customers and groups that a task is for: not those it leaves out."""
        found: set[str] = set()
        for member in await self.members(msgid):
            async for page in self.results(msgid, member.userid):
                found |= {one.external_userid or one.chat_id for one in page}
        return found

    async def unsent(self, msgid: str) -> set[str]:
        """Customers and groups of a task that nothing became of yet."""
        left: set[str] = set()
        for member in await self.members(msgid):
            async for page in self.results(msgid, member.userid):
                left |= {one.external_userid or one.chat_id for one in page if one.status == UNSENT}
        return left
