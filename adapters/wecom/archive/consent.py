"""Whose chats are archived, and which customers agreed to it: the `msgaudit/*` calls, for whoever compares them with what arrived."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.wecom.api import WeComApi
from protocols.jsontext import write
from protocols.wecom.answers import Consent, Consents, PermitUsers, Room
from protocols.wecom.archive import check_single_agree
from protocols.wecom.limits import BOUNDS

EDITIONS = {"office": 1, "service": 2, "enterprise": 3}


class Consenting:
    """Every call raises Refusal."""

    def __init__(self, api: WeComApi) -> None:
        self._api = api

    async def permitted(self, edition: str = "") -> tuple[str, ...]:
        """Userids with an archive licence, of one of EDITIONS or ("") of any. Raises KeyError for an edition that is none."""
        body = write({"type": EDITIONS[edition]} if edition else {})
        return PermitUsers.of(
            await self._api.post("msgaudit/get_permit_user_list", body, sends=False)
        ).ids

    async def agreements(self, pairs: Sequence[tuple[str, str]]) -> list[Consent]:
        """What each customer decided about being archived with a member; `pairs`: (userid, external_userid)."""
        most, found = BOUNDS["archive.consent"].most, list[Consent]()
        for start in range(0, len(pairs), most):
            body = check_single_agree(list(pairs[start : start + most]))
            answer = await self._api.post("msgaudit/check_single_agree", body, sends=False)
            found += Consents.of(answer).consents
        return found

    async def room_agreements(self, roomid: str) -> tuple[Consent, ...]:
        """What the customers in a group decided; without `userid`."""
        body = write({"roomid": roomid})
        return Consents.of(
            await self._api.post("msgaudit/check_room_agree", body, sends=False)
        ).consents

    async def room(self, roomid: str) -> Room:
        """A group of members alone; customer groups are `externalcontact/groupchat/get`."""
        body = write({"roomid": roomid})
        return Room.of(await self._api.post("msgaudit/groupchat/get", body, sends=False))
