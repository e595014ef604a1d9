"""Why the archive holds nothing of a conversation: the member has no licence, a customer disagreed, or for no reason that WeCom knows of.

Asked by the core (`Pull("unread:…")`) for conversations that were relayed and not archived; each answer is remembered under
`unread_key`, where the core looks for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from adapters.wecom.archive.consent import Consenting
from adapters.wecom.calls import Refusal
from msgcenter.adapter import UNREAD, Malformed, Port, Rejected, Retry, Sent, Unknown, unread_key
from protocols.outcome import Outcome
from protocols.payload import Pull

NO_LICENCE, NO_CONSENT, NOTHING = "no_licence", "no_consent", ""
DISAGREED = "Disagree"
ASK_S = 15.0
"""Longest time for one question: whoever asks waits little longer."""
REMEMBERED_S = 300.0
ROOMS = 8
"""Groups asked about at once."""


def is_question(pull: Pull) -> bool:
    """Whether this doorbell is such a question."""
    return pull.source.startswith(f"{UNREAD}:")


class Unread:
    def __init__(self, corp: str, port: Port, consent: Consenting) -> None:
        self._corp = corp
        self._port = port
        self._consent = consent

    async def answer(self, pull: Pull) -> Outcome:
        """Retry when WeCom cannot say just now, Rejected for what is no question."""
        try:
            pairs = _pairs(pull.token)
        except Malformed as error:
            return Rejected("message", str(error), "malformed")
        try:
            async with asyncio.timeout(ASK_S):
                reasons = await self._reasons(pairs)
        except TimeoutError:
            return Retry("message", f"no answer about consent in {ASK_S:g} s", 0.0, "unread")
        except Refusal as refusal:
            outcome = refusal.outcome
            if isinstance(outcome, Unknown):
                return Retry("message", outcome.detail, 0.0, "unread")
            return outcome
        for pair, reason in zip(pairs, reasons, strict=True):
            await self._port.remember(unread_key(*pair), reason.encode(), REMEMBERED_S)
        return Sent()

    async def _reasons(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """One for each pair. Raises Refusal."""
        # WeCom changes upper and lower case in userids: it is asked in its own spelling.
        licensed = {one.lower(): one for one in await self._consent.permitted()}
        reasons = [NOTHING if one.lower() in licensed else NO_LICENCE for one, _ in pairs]
        customers: dict[tuple[str, str], list[int]] = {}
        rooms: dict[str, list[int]] = {}
        for index, (userid, person) in enumerate(pairs):
            if reasons[index]:
                continue
            scheme, _, value = person.partition(":")
            corp, _, customer = value.partition("/")
            if scheme == "group":
                rooms.setdefault(value, []).append(index)
            elif scheme == "wecom" and corp == self._corp and customer:
                customers.setdefault((userid.lower(), customer), []).append(index)
        asked = [(licensed[userid], customer) for userid, customer in customers]
        for consent in await self._consent.agreements(asked):
            if consent.status == DISAGREED:
                pair = (consent.userid.lower(), consent.external_userid)
                for index in customers.get(pair, ()):
                    reasons[index] = NO_CONSENT
        for index in await self._disagreed(rooms):
            reasons[index] = NO_CONSENT
        return reasons

    async def _disagreed(self, rooms: Mapping[str, Sequence[int]]) -> list[int]:
        """Of the groups in which somebody disagreed. Raises Refusal."""
        slots = asyncio.Semaphore(ROOMS)

        async def ask(room: str) -> bool:
            async with slots:
                try:
                    consents = await self._consent.room_agreements(room)
                except Refusal as refusal:
                    if isinstance(refusal.outcome, Rejected):
                        return False  # WeCom knows no such group: no reason
                    raise
                return any(consent.status == DISAGREED for consent in consents)

        answers = await asyncio.gather(*map(ask, rooms))
        return [i for room, has in zip(rooms, answers, strict=True) if has for i in rooms[room]]


def _pairs(token: str) -> list[tuple[str, str]]:
    """Raises Malformed."""
    try:
        tree = json.loads(token)
        return [(str(userid), str(person)) for userid, person in tree]
    except (ValueError, TypeError) as error:
        raise Malformed(f"question: a list of pairs expected ({type(error).__name__})") from None
