"""One batch of a kf channel on its way: doorbells answered, conversations in order, an outcome for every message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.doorbells import Answer, answered
from adapters.wecom.kf.calls import KfCalls, parties_of
from adapters.wecom.kf.contents import EVENT_MESSAGE, STATE, TRANSFER, on_event, transfer
from adapters.wecom.kf.relay import LATE, code_key
from adapters.wecom.kf.windows import Taken, Windows
from adapters.wecom.sending import of_account, slow
from msgcenter.adapter import (
    Dispatch,
    Malformed,
    Rejected,
    Retry,
    Sent,
    Unavailable,
    Unknown,
    Unreachable,
)
from protocols.outcome import Outcome
from protocols.payload import Native, Pull
from protocols.wecom import kf
from protocols.wecom.answers import KfSent, KfState
from protocols.wecom.errcodes import row_of
from protocols.wecom.limits import WINDOWS_S

TRIED_S = float(WINDOWS_S["kf.session"])
"""How long it is remembered that a message was taken, or may have been."""
#: What a state of a session makes the code for that comes with it.
_OCCASIONS = {2: "queued", 3: "assigned", 4: "ended"}


class KfBatch:
    """`run`, then `outcomes`."""

    def __init__(
        self,
        calls: KfCalls,
        windows: Windows,
        answer: Answer,
        batch: Sequence[Dispatch],
    ) -> None:
        self._calls = calls
        self._windows = windows
        self._answer = answer
        self._port = calls.port
        self._batch = batch
        self._outcomes: list[Outcome | None] = [None] * len(batch)
        self._unreachable = 0
        self._slots = asyncio.Semaphore(calls.settings.at_once)

    def outcomes(self) -> list[Outcome]:
        """Raises Unreachable when there was no connection for any of them."""
        if self._unreachable == len(self._batch):
            raise Unreachable("WeCom cannot be reached")
        assert all(outcome is not None for outcome in self._outcomes)
        return [outcome for outcome in self._outcomes if outcome is not None]

    async def run(self) -> None:
        began = self._port.clock.monotonic()
        talks: dict[str, list[int]] = {}
        async with asyncio.TaskGroup() as group:
            for index, item in enumerate(self._batch):
                if isinstance(item.envelope.payload, Pull):
                    group.create_task(self._pull(index, item.envelope.payload))
                else:
                    talks.setdefault(item.envelope.to.value, []).append(index)
            for indices in talks.values():
                group.create_task(self._talk(indices, began))

    async def _pull(self, index: int, pull: Pull) -> None:
        try:
            self._outcomes[index] = await answered(self._port, pull, self._answer)
        except Refusal as refusal:
            told = f"not read: {refusal}"[:200]
            self._outcomes[index] = Retry("message", told, 1.0, "not_ready")
        except Malformed as error:
            self._outcomes[index] = Rejected("message", str(error), "malformed")

    async def _talk(self, indices: Sequence[int], began: float) -> None:
        """The messages to one customer, one after the other."""
        for at, index in enumerate(indices):
            unreachable = False
            async with self._slots:
                if self._port.clock.monotonic() - began > self._calls.settings.slack_s:
                    outcome: Outcome = slow()
                else:
                    outcome, unreachable = await self._one(index)
            item = self._batch[index]
            self._outcomes[index] = of_account(outcome, item)
            if isinstance(outcome, Retry | Unknown):
                after = outcome.after if isinstance(outcome, Retry) else 0.0
                self._unreachable += unreachable * (len(indices) - at)
                told = "an earlier message of this conversation was not taken"
                for later in indices[at + 1 :]:
                    self._outcomes[later] = Retry("recipient", told, after, "waits")
                return

    async def _one(self, index: int) -> tuple[Outcome, bool]:
        """The outcome, and whether there was no connection at all."""
        item = self._batch[index]
        try:
            return await self._sent(item), False
        except Refusal as refusal:
            return refusal.outcome, refusal.unreachable
        except Malformed as error:
            return Rejected("message", str(error), "malformed"), False

    async def _sent(self, item: Dispatch) -> Outcome:
        match item.envelope.payload:
            case Native(kind=kind, body=body) if kind == EVENT_MESSAGE:
                return await self._on_event(item, body)
            case Native(kind=kind, body=body) if kind == TRANSFER:
                return await self._transfer(item, body)
            case Native(kind=kind) if kind == STATE:
                return await self._state(item)
            case _:
                return await self._message(item)

    # -- messages ------------------------------------------------------------------------------------------------------

    async def _message(self, item: Dispatch) -> Outcome:
        open_kfid, customer = parties_of(item)
        with nothing_left("window of the conversation"):
            is_repeat = await self._is_repeat(item)
            # A repeat was counted when it was tried first.
            taken = None if is_repeat else await self._windows.take(open_kfid, customer)
        if isinstance(taken, Rejected):
            return taken
        try:
            answer = KfSent.of(await self._calls.send(item.envelope.payload, item))
        except Refusal as refusal:
            if is_repeat:
                return self._repeated(refusal, item)
            if isinstance(refusal.outcome, Unknown):
                await self._note_tried(item)
            else:
                await self._give_back(taken)
            raise
        except Malformed:
            await self._give_back(taken)
            raise
        await self._note_tried(item)
        return Sent((answer.msgid or item.token,))

    async def _is_repeat(self, item: Dispatch) -> bool:
        if item.envelope.token_of >= 0:
            return True
        return await self._port.memo(_tried(item)) is not None

    def _repeated(self, refusal: Refusal, item: Dispatch) -> Outcome:
        """A repeat is refused because its id is taken, under a code that WeCom does not tell. Its content was let through by
        the same checks before, so a refusal of the content means that the first try is there."""
        outcome, row = refusal.outcome, row_of(refusal.errcode)
        if refusal.errcode and row.cls in ("content", "unknown"):
            return Sent((item.token,), f"a repeat, refused with {refusal.errcode}: it is there")
        if isinstance(outcome, Rejected):
            # The session may have moved on since: that tells nothing about the first try.
            return Unknown(f"the repeat was refused: {outcome.detail}")
        raise refusal

    async def _note_tried(self, item: Dispatch) -> None:
        try:
            await self._port.remember(_tried(item), b"1", TRIED_S)
        except Unavailable as error:  # the outcome stands; the core marks its own repeats
            self._port.log.warning("try_not_noted", error=type(error).__name__)

    async def _give_back(self, taken: Taken | None) -> None:
        if taken is None:
            return
        try:
            await self._windows.give_back(taken)
        except Unavailable as error:  # the outcome stands; the count is only too careful
            self._port.log.warning("window_not_given_back", error=type(error).__name__)

    # -- answers to events, sessions -----------------------------------------------------------------------------------

    async def _on_event(self, item: Dispatch, body: str) -> Outcome:
        asked = on_event(body)
        open_kfid, _ = parties_of(item)
        with nothing_left("code of an event"):
            known = await self._port.memo(code_key(asked.code))
            is_repeat = await self._is_repeat(item)
        deadline = int(known) if known else asked.deadline
        late = LATE if asked.occasion == "welcome" else "event_code_late"
        if deadline and self._port.clock.now_ms() >= deadline:
            told = f"{asked.occasion}: its time is over; it is not sent as an ordinary message"
            return Unknown(told) if is_repeat else Rejected("recipient", told, late)
        request = kf.send_on_event(asked.occasion, asked.code, asked.body, item.token)
        try:
            answer = KfSent.of(await self._calls.call("kf/send_msg_on_event", request, open_kfid))
        except Refusal as refusal:
            if is_repeat and refusal.errcode == 41049:
                return Sent((item.token,), "a repeat, its code is used: it is there")
            if is_repeat:
                return self._repeated(refusal, item)
            if isinstance(refusal.outcome, Unknown):
                await self._note_tried(item)
            if refusal.errcode == 41050:
                return Rejected("recipient", str(refusal), late)
            raise
        await self._note_tried(item)
        return Sent((answer.msgid or item.token,))

    async def _transfer(self, item: Dispatch, body: str) -> Outcome:
        open_kfid, customer = parties_of(item)
        request = transfer(open_kfid, customer, body)
        answer = await self._calls.call("kf/service_state/trans", request, open_kfid)
        state = json.loads(body)["service_state"]
        told: dict[str, object] = {"service_state": state}
        code = KfState.of(answer).msg_code
        if code:
            occasion = _OCCASIONS[state]
            until = self._port.clock.now_ms() + kf.ON_EVENT[occasion][1] * 1000
            told |= {"msg_code": code, "occasion": occasion, "deadline": until}
            await self._remember_code(code, until)
        return Sent(detail=json.dumps(told, sort_keys=True))

    async def _remember_code(self, code: str, until: int) -> None:
        seconds = (until - self._port.clock.now_ms()) / 1000 + 3600
        try:
            await self._port.remember(code_key(code), str(until).encode(), seconds)
        except Unavailable as error:  # the session was moved; WeCom knows the deadline, too
            self._port.log.warning("code_not_noted", error=type(error).__name__)

    async def _state(self, item: Dispatch) -> Outcome:
        open_kfid, customer = parties_of(item)
        request = kf.state_get(open_kfid, customer)
        answer = await self._calls.call("kf/service_state/get", request, open_kfid, sends=False)
        state = KfState.of(answer)
        told = {"service_state": state.state, "servicer_userid": state.servicer}
        return Sent(detail=json.dumps(told, sort_keys=True))


def _tried(item: Dispatch) -> str:
    return f"tried:{item.token}"
