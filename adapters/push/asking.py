"""What an engine must be asked for: ids that it wants to give out itself, and receipts that it does not tell."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence

from adapters.push.engine import Engine, Failed
from adapters.push.settings import PushSettings
from msgcenter.adapter import Port, Rejected, Report, Retry, Sent, Unavailable, Unknown
from protocols.outcome import Outcome
from protocols.payload import Pull
from protocols.push import answers
from protocols.push.answers import look

DAY_S = 86_400.0
POLL = "receipts:"


class KnownIds:
    """The engine's own ids, by which it knows a repeat: fetched some at a time, the same for every try of a pass."""

    def __init__(self, settings: PushSettings, port: Port, engine: Engine) -> None:
        self._profile = settings.made
        self._port = port
        self._engine = engine
        self._ids: deque[str] = deque()
        self._fetching = asyncio.Lock()

    async def of(self, token: str) -> str:
        """The engine's own id for this pass: fetched once, the same at every repeat. Raises Failed."""
        call = self._profile.ids
        assert call is not None
        try:
            kept = await self._port.memo(f"id:{token}")
            if kept:
                return kept.decode()
            async with self._fetching:
                if not self._ids:
                    reply = await self._engine.call(call, {})
                    found = look(answers.parse(reply.body), self._profile.ids_at)
                    self._ids.extend(one for one in found or () if isinstance(one, str))
                if not self._ids:
                    told = f"HTTP {reply.status}: no ids"
                    raise Failed(Retry("channel", told, 5.0, "push_ids"), nothing_left=False)
                given = self._ids.popleft()
            await self._port.remember(f"id:{token}", given.encode(), DAY_S)
        except Failed as failed:  # the message itself has not left
            if isinstance(failed.outcome, Unknown):
                retry = Retry("channel", failed.outcome.detail, 1.0, "push_ids")
                raise Failed(retry, nothing_left=False) from failed
            raise
        except Exception as error:
            told = f"ids: {type(error).__name__}"
            raise Failed(Retry("channel", told, 1.0, "not_ready"), nothing_left=False) from error
        return given


class Polled:
    """Receipts that are asked for: a doorbell rings when it is time, again until they came or are too late."""

    def __init__(self, settings: PushSettings, port: Port, engine: Engine) -> None:
        self._settings = settings
        self._profile = settings.made
        self._port = port
        self._engine = engine

    async def expect(self, ids: Sequence[str]) -> None:
        """Ask for receipts later, where the engine does not tell them."""
        if self._profile.receipts.how != "poll" or not ids:
            return
        try:
            await self._ring(ids, 0)
        except Unavailable as error:  # the message is out; only its receipt is lost
            self._port.log.warning("receipts_not_asked_for", error=type(error).__name__)

    async def _ring(self, ids: Sequence[str], tries: int) -> None:
        waits = self._settings.poll_after
        now = self._port.clock.now_ms()
        token = json.dumps([tries, now, *ids])
        pull = Pull(f"{POLL}{ids[0]}", token)
        await self._port.ring(pull, delay_s=waits[min(tries, len(waits) - 1)])

    async def ask(self, pull: Pull) -> Outcome:
        rules = self._profile.receipts
        if rules.call is None or not pull.source.startswith(POLL):
            return Rejected("message", "no receipts are asked for here", "no_such_source")
        tries, since, *ids = json.loads(pull.token)
        wanted = [str(one) for one in ids]
        come: set[str] = set()
        for start in range(0, len(wanted), rules.at_once):
            part = wanted[start : start + rules.at_once]
            reply = await self._engine.call(rules.call, {"remote_id": ",".join(part)})
            if reply.status != 200:
                return Retry("message", f"receipts: HTTP {reply.status}", 30.0, "push_busy")
            found = answers.polled(rules, reply.body)
            await self._port.emit([Report(one.report) for one in found])
            come |= {one.report.remote_id for one in found}
        left = [one for one in wanted if one not in come]
        waited = sum(self._wait(number) for number in range(int(tries) + 1))
        if left and waited < rules.late_s and since:
            await self._ring(left, int(tries) + 1)
        return Sent()

    def _wait(self, tries: int) -> float:
        waits = self._settings.poll_after
        return waits[min(tries, len(waits) - 1)]
