"""Welcome messages (欢迎语): within the 20 s that a code is good for, once; by the configured greeting or by a caller."""

from __future__ import annotations

import json
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contact.contents import Content, content_in
from adapters.wecom.contact.settings import DAY_S, WeComContactSettings
from adapters.wecom.conversation import customer_address, order_key
from adapters.wecom.media import Uploads
from msgcenter.adapter import Malformed, Port, Received, Rejected, Retry, Sent, Unknown
from protocols.outcome import Outcome
from protocols.payload import Happening, Pull
from protocols.wecom import contact as requests
from protocols.wecom.limits import WINDOWS_S

SOURCE = "welcome:"
API = "externalcontact/send_welcome_msg"
TAKEN = 41051
LIFE_MS = WINDOWS_S["welcome"] * 1000
AGAIN_S = 1.0


class Welcomes:
    """A code is good for one message, which WeCom sees to: a repeat after a lost answer greets nobody twice."""

    def __init__(
        self, api: WeComApi, port: Port, settings: WeComContactSettings, uploads: Uploads
    ) -> None:
        self._api = api
        self._port = port
        self._settings = settings
        self._uploads = uploads

    async def came(self, code: str, userid: str, customer: str, created: int) -> int:
        """A code came with an event of `created` (seconds): have the configured greeting sent. Answers the deadline in
        epoch milliseconds. Raises what `Port.ring` raises."""
        deadline = created * 1000 + LIFE_MS
        await self._port.remember(f"welcome:{code}", str(deadline).encode(), DAY_S)
        if self._settings.greeting_of(userid) is not None:
            ticket = {"code": code, "userid": userid, "customer": customer, "deadline": deadline}
            await self._port.ring(Pull(f"{SOURCE}{code}", json.dumps(ticket)))
        return deadline

    async def greet(self, pull: Pull) -> None:
        """Answer the doorbell of `came`: greet, once, and tell how it went. Raises Refusal when it is another process's
        turn, Malformed for a doorbell that is none of ours."""
        try:
            ticket = json.loads(pull.token)
            code, userid = str(ticket["code"]), str(ticket["userid"])
            customer, deadline = str(ticket["customer"]), int(ticket["deadline"])
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(f"doorbell of a welcome: {type(error).__name__}") from None
        async with self._port.turn(f"welcome:{code}", wait_s=LIFE_MS / 1000) as mine:
            if not mine:
                raise Refusal(Retry("message", "another process is greeting", 1.0, "not_ready"))
            if await self._port.memo(f"greeted:{code}"):
                return
            outcome = await self._greeting(code, userid, deadline)
            await self._port.remember(f"greeted:{code}", b"1", DAY_S)
        said: dict[str, Any] = {"code": code, "userid": userid, "external_userid": customer}
        match outcome:
            case Rejected(code=reason, detail=detail):
                said |= {"outcome": "rejected", "reason": reason, "detail": detail}
                self._port.log.warning("welcome_not_sent", reason=reason, detail=detail)
            case Unknown(detail=detail):
                said |= {"outcome": "unknown", "reason": "unknown", "detail": detail}
            case _:
                said |= {"outcome": "sent"}
        corp, now = self._settings.corp, self._port.clock.now_ms()
        told = Received(
            customer_address(corp, customer),
            userid,
            Happening("wecom_welcome", json.dumps(said, ensure_ascii=False, sort_keys=True)),
            f"welcome:{code}",
            now,
            order_key(corp, userid, customer),
        )
        await self._port.emit([told])

    async def _greeting(self, code: str, userid: str, deadline: int) -> Outcome:
        greeting = self._settings.greeting_of(userid)
        if greeting is None:  # taken out of the settings meanwhile
            return Rejected("message", "no greeting is configured any more", "no_greeting")
        try:
            return await self.send(code, content_in(greeting.model_dump()), deadline)
        except Malformed as error:
            return Rejected("message", str(error), "malformed")

    async def send(self, code: str, content: Content, deadline: int = 0) -> Outcome:
        """Send it while there is time; busy, slow or lost answers are tried again inside it. `deadline` 0: as remembered
        from the event, else WeCom decides. Raises Malformed."""
        clock = self._port.clock
        try:
            deadline = deadline or int(await self._port.memo(f"welcome:{code}") or b"0")
            deadline = deadline or clock.now_ms() + LIFE_MS
            if clock.now_ms() >= deadline:
                return _late()
            files = await self._uploads.media_ids(content.needs)
        except Refusal as refusal:
            return refusal.outcome
        body = requests.welcome(code, content.text, content.bodies(files))
        is_lost = False
        while True:
            try:
                await self._api.post(API, body)
                return Sent(detail="greeted")
            except Refusal as refusal:
                outcome = refusal.outcome
                if isinstance(outcome, Rejected):
                    if is_lost and refusal.errcode == TAKEN:
                        return Unknown("an answer was lost; the code is used up, perhaps by us")
                    return outcome
                is_lost = is_lost or isinstance(outcome, Unknown)
                after = outcome.after if isinstance(outcome, Retry) else 0.0
            wait = after or AGAIN_S
            if clock.now_ms() + wait * 1000 >= deadline:
                return Unknown("no readable answer in time") if is_lost else _late()
            await clock.sleep(wait)


def _late() -> Rejected:
    told = "a welcome code is good for 20 s; this is never sent as an ordinary message"
    return Rejected("message", told, "welcome_late")
