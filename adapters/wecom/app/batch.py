"""One batch of an app's messages on its way: limits asked first, conversations in order, an outcome for every message."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from adapters.wecom.app.calls import UPDATE, AppCalls
from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.doorbells import Answer, answered
from adapters.wecom.sending import Call, chains, member_of, of_account, slow
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
from protocols.payload import Native, Pull, Recall
from protocols.wecom import answers
from protocols.wecom.limits import RATES

_MEMBER_LIMITS = (RATES["app.member.minute"], RATES["app.member.hour"])


class Batch:
    """One batch on its way: an outcome for each message, and whether anything may have left."""

    def __init__(
        self,
        calls: AppCalls,
        answer: Answer,
        batch: Sequence[Dispatch],
    ) -> None:
        self._calls = calls
        self._answer = answer
        self._port = calls.port
        self._settings = settings = calls.settings
        late = settings.slack_s + settings.total_s
        self._limits = [(rate.count, rate.seconds + late) for rate in _MEMBER_LIMITS]
        self._batch = batch
        self._outcomes: list[Outcome | None] = [None] * len(batch)
        self._unreachable = 0
        self._slots = asyncio.Semaphore(settings.at_once)

    def outcomes(self) -> list[Outcome]:
        """Raises Unreachable when there was no connection for any of them."""
        if self._unreachable == len(self._batch):
            raise Unreachable("WeCom cannot be reached")
        assert all(outcome is not None for outcome in self._outcomes)
        return [outcome for outcome in self._outcomes if outcome is not None]

    async def run(self) -> None:
        singles: list[int] = []
        messages: list[int] = []
        for index, item in enumerate(self._batch):
            match item.envelope.payload:
                case Recall() | Pull():
                    singles.append(index)
                case Native(kind=kind) if kind == UPDATE:
                    singles.append(index)
                case _:
                    messages.append(index)
        repeats: dict[int, str] = {}
        allowed: list[int] = []
        if messages:
            try:
                with nothing_left("limits and repeats"):
                    repeats = await self._joined_before(messages)
                    left = [n for n in messages if self._outcomes[n] is None and n not in repeats]
                    allowed = await self._within_limits(left)
            except Refusal as refusal:
                raise Unreachable(str(refusal)) from refusal
        began = self._port.clock.monotonic()
        joined = chains(self._batch, allowed, self._settings.join_from_tier)
        jobs = [self._single(index) for index in singles]
        jobs += [self._chain(chain, began) for chain in joined]
        jobs += [self._again(token, found) for token, found in _by_value(repeats).items()]
        if jobs:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(job)

    def _set(self, index: int, outcome: Outcome, unreachable: bool = False) -> None:
        self._outcomes[index] = of_account(outcome, self._batch[index])
        self._unreachable += unreachable

    # -- recalls, updates, files to be fetched --------------------------------------------------------------------------

    async def _single(self, index: int) -> None:
        envelope = self._batch[index].envelope
        async with self._slots:
            try:
                match envelope.payload:
                    case Recall() as recall:
                        outcome = await self._calls.recall(recall)
                    case Pull() as pull:
                        outcome = await answered(self._port, pull, self._answer)
                    case _:
                        outcome = await self._calls.update(envelope)
            except Refusal as refusal:
                self._set(index, refusal.outcome, refusal.unreachable)
            except Malformed as error:
                self._set(index, Rejected("message", str(error), "malformed"))
            else:
                self._set(index, outcome)

    # -- messages -------------------------------------------------------------------------------------------------------

    async def _joined_before(self, messages: Sequence[int]) -> dict[int, str]:
        """Messages to be repeated (index -> token of the call) that left in one call with others: that call is made again
        as it was. A repeat that WeCom would not recognise any more is not made.
        """
        found: dict[int, str] = {}
        for index in messages:
            envelope = self._batch[index].envelope
            if envelope.token_of < 0:
                continue
            if not await self._is_recognised(self._batch[index]):
                self._set(index, Unknown("too late to repeat: WeCom would not recognise it"))
                continue
            joined = await self._port.memo(_joined(self._batch[index].token))
            if joined:
                found[index] = joined.decode()
        return found

    async def _is_recognised(self, item: Dispatch) -> bool:
        """Whether WeCom still knows the first try: it was noted when its answer was lost; where it could not be noted (our
        process ended), it is not older than the message."""
        age = self._port.clock.now_ms() - item.envelope.created_at
        if age <= self._settings.duplicate_check_s * 1000:
            return True
        return await self._port.memo(_lost(item.token)) is not None

    async def _note_lost(self, indices: Sequence[int]) -> None:
        ttl = float(self._settings.duplicate_check_s)
        try:
            for index in indices:
                await self._port.remember(_lost(self._batch[index].token), b"1", ttl)
        except Unavailable as error:  # the outcome stands; only a late repeat is given up
            self._port.log.warning("lost_answer_not_noted", error=type(error).__name__)

    async def _within_limits(self, messages: Sequence[int]) -> list[int]:
        """Those that may leave now; what follows in a conversation waits with the one that may not."""
        users = [f"member:{member_of(self._batch[index]).lower()}" for index in messages]
        waits = await self._port.allow(users, self._limits)
        allowed = []
        held: dict[str, float] = {}
        queued: Counter[str] = Counter()
        count, span = self._limits[0]
        for index, wait in zip(messages, waits, strict=True):
            item = self._batch[index]
            order_key = item.envelope.order_key
            longest = max(wait, held.get(order_key, 0.0) if order_key else 0.0)
            if longest <= 0:
                allowed.append(index)
                continue
            if order_key:
                held[order_key] = longest
            # Each comes back when its turn is due, not all of them every time.
            user = member_of(item).lower()
            longest += queued[user] // count * span
            queued[user] += 1
            told = "as many messages to this member as WeCom delivers; it would drop this one"
            self._set(index, Retry("recipient", told, longest, "wecom_member_limit"))
        return allowed

    async def _chain(self, calls: Sequence[Call], began: float) -> None:
        for at, call in enumerate(calls):
            await self._call(call, began)
            first = self._outcomes[call.indices[0]]
            if isinstance(first, Retry | Unknown):
                after = first.after if isinstance(first, Retry) else 0.0
                told = "an earlier message of this conversation was not taken"
                for later in calls[at + 1 :]:
                    self._set(later.indices[0], Retry("recipient", told, after, "waits"))
                return

    async def _call(self, call: Call, began: float) -> None:
        async with self._slots:
            if self._port.clock.monotonic() - began > self._settings.slack_s:
                for index in call.indices:
                    self._set(index, slow())
                return
            await self._made(call, call.indices, self._noted_and_sent(call))

    async def _noted_and_sent(self, call: Call) -> answers.Answer:
        if call.is_joint:
            with nothing_left("which messages leave together"):
                await self._remember(call)
        return await self._calls.send(call)

    async def _made(
        self, call: Call, indices: Sequence[int], sending: Awaitable[answers.Answer]
    ) -> None:
        """Wait for the call and give each of `indices` its outcome."""
        try:
            answer = answers.Sending.of(await sending)
        except Refusal as refusal:
            for index in indices:
                self._set(index, refusal.outcome, refusal.unreachable)
            if isinstance(refusal.outcome, Unknown):
                await self._note_lost(indices)
        except Malformed as error:
            for index in indices:
                self._set(index, Rejected("message", str(error), "malformed"))
        else:
            for index in indices:
                self._set(index, _taken(answer, member_of(self._batch[index]), call.is_joint))

    # -- calls for several messages -------------------------------------------------------------------------------------

    async def _remember(self, call: Call) -> None:
        """Before it leaves: which messages leave together, so that a repeat of one of them is a repeat of the call."""
        kept = json.dumps(call.users).encode()
        ttl = float(self._settings.duplicate_check_s)
        tokens = [self._batch[index].token for index in call.indices]
        await self._port.remember(_users(call.token), kept, ttl)
        await asyncio.gather(
            *[self._port.remember(_joined(token), call.token.encode(), ttl) for token in tokens]
        )

    async def _again(self, token: str, indices: Sequence[int]) -> None:
        users = await self._port.memo(_users(token))
        if not users:
            for index in indices:
                self._set(index, Unknown("too late to repeat: WeCom would not recognise it"))
            return
        names: list[Any] = json.loads(users)
        payload = self._batch[indices[0]].envelope.payload
        call = Call(list(range(len(names))), [str(name) for name in names], payload, token)
        async with self._slots:
            await self._made(call, indices, self._calls.send(call))


def _taken(answer: answers.Sending, user: str, is_joint: bool) -> Outcome:
    """The outcome of one recipient of a call that WeCom took; ids of a call for several are told apart by the member."""
    if answer.refuses(user):
        unlicensed = user.lower() in {each.lower() for each in answer.unlicensed_users}
        if unlicensed:
            told = "the member has no licence for this app's messages"
            return Rejected("recipient", told, "wecom_unlicensed")
        told = "WeCom knows no such member in the app's visible range"
        return Rejected("recipient", told, "wecom_invalid_user")
    remote_id = f"{answer.msgid}/{user}" if is_joint else answer.msgid
    code = f"response_code={answer.response_code}" if answer.response_code else ""
    return Sent((remote_id,) if answer.msgid else (), code)


def _by_value(found: Mapping[int, str]) -> dict[str, list[int]]:
    turned: dict[str, list[int]] = {}
    for index, token in found.items():
        turned.setdefault(token, []).append(index)
    return turned


def _joined(token: str) -> str:
    return f"joined:{token}"


def _lost(token: str) -> str:
    return f"lost:{token}"


def _users(token: str) -> str:
    return f"joint:{token}"


__all__ = ["Batch"]
