"""One page of an account's log made durable: welcomes first, as they are due in seconds, then files fetched, then all told in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.inbox import brought_home, file_lost
from adapters.wecom.kf.said import Code, Said
from adapters.wecom.kf.settings import Greeting, WeComKfSettings
from adapters.wecom.kf.windows import Windows
from adapters.wecom.seconds import Seconds
from msgcenter.adapter import Malformed, Port, Received, Report, Retry, Sent, Unknown
from protocols.address import Address
from protocols.envelope import hashed
from protocols.outcome import Outcome
from protocols.payload import Happening, Media, MediaKind, Native, Payload, Pull, Text
from protocols.wecom import kf
from protocols.wecom.limits import WINDOWS_S

LARGEST = 64 * 1024
"""Content beyond this travels as a file of the media store."""
LATE_FILE = "late:"
HISTORY_S = float(WINDOWS_S["kf.history"])
TRIES = 3
AGAIN_S = 0.5
LATE = "welcome_late"
"""The mark of a welcome whose 20 s were over before it could be sent."""


@dataclass(frozen=True, slots=True)
class _Later:
    """A file that cannot be had just now, and why."""

    why: str


class Relay:
    """`page(items)` makes them durable; False = some conversations stop before a file that could not be fetched yet, and the
    same page has to be read again."""

    def __init__(
        self, port: Port, api: WeComApi, settings: WeComKfSettings, windows: Windows
    ) -> None:
        self._port = port
        self._api = api
        self._settings = settings
        self._windows = windows
        self._slots = asyncio.Semaphore(settings.at_once)
        self._seconds = Seconds()

    async def page(self, said: Sequence[Said]) -> bool:
        """Raises what Port.emit raises, and Refusal when shared memory is away."""
        more = await self._occasions(said)
        latest = {one.talk: (one.at, one.msgid) for one in said if one.is_from_customer}
        await self._windows.opened(latest)
        files = await self._files(said)
        held: set[str] = set()
        told: list[Received | Report] = []
        for one in said:
            file = files.get(one.msgid, "")
            if isinstance(file, _Later):
                held.add(one.talk)
                self._port.log.warning("file_waits", account=one.open_kfid, why=file.why[:200])
            if one.talk not in held and not isinstance(file, _Later):
                item = one.told(self._port.channel, file, more.get(one.msgid, {}))
                told.append(self._in_turn(one.open_kfid, await self._fitting(item)))
        await self._port.emit(told)
        return not held

    def _in_turn(self, open_kfid: str, item: Received | Report) -> Received | Report:
        if not isinstance(item, Received):
            return item
        return replace(item, at=self._seconds(open_kfid, item.at // 1000, item.remote_id))

    # -- codes and welcomes --------------------------------------------------------------------------------------------

    async def _occasions(self, said: Sequence[Said]) -> dict[str, dict[str, Any]]:
        """msgid -> what is added to the event: until when its code is good, and how the customer was greeted."""
        found = [(one, code) for one in said if (code := one.code) is not None]
        added = await asyncio.gather(*[self._occasion(one, code) for one, code in found])
        return {one.msgid: more for (one, _), more in zip(found, added, strict=True)}

    async def _occasion(self, one: Said, code: Code) -> dict[str, Any]:
        seconds = max(code.until - self._port.clock.now_ms(), 0) / 1000 + 3600
        await self._port.remember(code_key(code.code), str(code.until).encode(), seconds)
        more: dict[str, Any] = {"occasion": code.occasion, "deadline": code.until}
        greetings = self._settings.greetings
        greeting = greetings.get(one.open_kfid) or greetings.get("*")
        if code.occasion == "welcome" and greeting is not None:
            more["greeting"] = await self._greet(one, code, greeting)
        return more

    async def _greet(self, one: Said, code: Code, greeting: Greeting) -> dict[str, Any]:
        """Once: a repeat (the answer was lost, our process ended) is refused as a used code, and so counts as sent."""
        body, msgid = greeting.body(), hashed("kf-welcome", one.msgid)
        what: dict[str, Any] = {"msgid": msgid, body.msgtype: dict(body.fields)}
        request = kf.send_on_event("welcome", code.code, body, msgid)
        result = await self._welcome(one, code, request)
        if result != "sent":
            self._port.log.warning("welcome_not_sent", account=one.open_kfid, result=result)
        return what | {"result": result}

    async def _welcome(self, one: Said, code: Code, request: bytes) -> str:
        tried = f"greeted:{one.msgid}"
        is_repeat = await self._port.memo(tried) is not None
        await self._port.remember(tried, b"1", HISTORY_S)
        result = LATE
        for number in range(TRIES):
            await self._port.clock.sleep(AGAIN_S * number)
            if self._port.clock.now_ms() >= code.until:
                break
            try:
                await self._api.post("kf/send_msg_on_event", request)
            except Refusal as refusal:
                outcome = refusal.outcome
                if is_repeat and refusal.errcode == 41049:
                    return "sent"
                if isinstance(outcome, Unknown):
                    is_repeat, result = True, "unknown"
                elif isinstance(outcome, Retry):
                    result = outcome.code or "retry"
                else:
                    return LATE if refusal.errcode == 41050 else outcome.code
            else:
                return "sent"
        return result

    # -- files ---------------------------------------------------------------------------------------------------------

    async def _files(self, said: Sequence[Said]) -> dict[str, str | Payload | _Later]:
        """msgid -> id in our store, or what stands in its place."""
        wanted = [one for one in said if one.file is not None]
        found = await asyncio.gather(*[self._file(one) for one in wanted])
        return {one.msgid: what for one, what in zip(wanted, found, strict=True)}

    async def _file(self, one: Said) -> str | Payload | _Later:
        assert one.file is not None
        kind, media_id = one.file
        key = f"home:{one.msgid}"
        known = await self._port.memo(key)
        if known:  # this page was read before
            return known.decode()
        since = await self._port.memo(f"waits:{one.msgid}")
        if since and self._port.clock.now_ms() - int(since) > self._settings.file_patience * 1000:
            return await self._follows(one)
        if not since:  # before the first try, which may be cut off
            now = str(self._port.clock.now_ms()).encode()
            await self._port.remember(f"waits:{one.msgid}", now, HISTORY_S)
        async with self._slots:
            for number in range(TRIES):
                try:
                    home = await brought_home(self._port, self._api, kind, media_id)
                except Malformed as error:
                    return self._lost(one, "not_kept", str(error))
                except Refusal as refusal:
                    if not isinstance(refusal.outcome, Retry | Unknown):
                        return self._lost(one, refusal.outcome.code, refusal.outcome.detail)
                    detail = refusal.outcome.detail
                    if isinstance(refusal.outcome, Retry) and refusal.outcome.after > AGAIN_S * 4:
                        break
                else:
                    await self._port.remember(key, home.encode(), HISTORY_S)
                    return home
                await self._port.clock.sleep(AGAIN_S * number)
        return _Later(detail)

    async def _follows(self, one: Said) -> str | Payload:
        """It is fetched by a doorbell of its own, and stands behind what was said meanwhile."""
        assert one.file is not None
        kind, media_id = one.file
        if one.item.msgtype == "miniprogram":
            return ""  # a card is a card without its picture, too
        told = one.told(self._port.channel, "", {})
        assert isinstance(told, Received)
        ticket = {
            "account": told.account_number,
            "at": told.at,
            "kind": kind,
            "media_id": media_id,
            "order_key": told.order_key,
            "recipient": str(told.recipient or ""),
            "sender": str(told.sender),
        }
        await self._port.ring(Pull(f"{LATE_FILE}{one.msgid}", json.dumps(ticket, sort_keys=True)))
        self._port.log.warning("file_late", kind=kind, account=one.open_kfid)
        body = {"kind": kind, "media_id": media_id, "msgid": one.msgid}
        return Happening("kf_file_late", json.dumps(body, sort_keys=True))

    async def late_file(self, pull: Pull) -> Outcome:
        """Answer such a doorbell. Raises what Port.emit raises."""
        ticket = json.loads(pull.token)
        kind, media_id = cast(MediaKind, ticket["kind"]), str(ticket["media_id"])
        payload: Payload
        try:
            payload = Media(kind, await brought_home(self._port, self._api, kind, media_id))
        except Malformed as error:
            payload = file_lost(kind, media_id, "not_kept", str(error))
        except Refusal as refusal:
            outcome = refusal.outcome
            if isinstance(outcome, Retry | Unknown):
                after = outcome.after if isinstance(outcome, Retry) else 0.0
                return Retry("message", outcome.detail, after, "wecom_download")
            payload = file_lost(kind, media_id, outcome.code, outcome.detail)
        recipient = Address.parse(ticket["recipient"]) if ticket["recipient"] else None
        told = Received(
            Address.parse(ticket["sender"]),
            str(ticket["account"]),
            payload,
            f"{pull.source.removeprefix(LATE_FILE)}-file",
            int(ticket["at"]),
            order_key=str(ticket["order_key"]),
            recipient=recipient,
        )
        await self._port.emit([told])
        return Sent()

    def _lost(self, one: Said, code: str, detail: str) -> str | Payload:
        assert one.file is not None
        kind, media_id = one.file
        self._port.log.warning("file_lost", kind=kind, code=code, detail=detail[:200])
        if one.item.msgtype == "miniprogram":
            return ""
        return file_lost(kind, media_id, code, detail)

    async def _fitting(self, item: Received | Report) -> Received | Report:
        """What is too large for a message (a long merged history) becomes a file."""
        if isinstance(item, Report):
            return item
        match item.payload:
            case Native(kind=kind, body=body) | Happening(kind=kind, body=body):
                text = body
            case Text(text=text):
                kind = "text"
            case _:
                return item
        if len(text) * 4 <= LARGEST or len(data := text.encode()) <= LARGEST:
            return item
        payload: Payload
        try:
            name = f"{kind}.json" if kind != "text" else "text.txt"
            payload = Media("file", await self._port.keep_media(data, mime="text/plain", name=name))
        except Malformed as error:
            told = {"kind": kind, "octets": len(data), "detail": str(error)[:200]}
            payload = Happening("wecom_file_lost", json.dumps(told, sort_keys=True))
        return replace(item, payload=payload)


def code_key(code: str) -> str:
    """Where it is remembered until when a code is good."""
    return f"code:{code}"


__all__ = ["LATE", "LATE_FILE", "Relay", "code_key"]
