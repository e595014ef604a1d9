"""One batch on its way: every account within its pace and a few calls at once, conversations in order, no account waiting for another.

An account whose calls hang costs a batch `patience` at most: when the other accounts are through, what has no answer by then is
unknown (a repeat has the same id, so the gateway does it once), and what could not begin comes again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from adapters.wecom.hosted.calls import Failed
from adapters.wecom.hosted.settings import WeComHostedSettings
from msgcenter.adapter import Dispatch, Malformed, Port, Rejected, Retry, Unknown, Unreachable
from protocols.outcome import Outcome
from protocols.payload import CreateGroup, DissolveGroup, Pull, UpdateGroup

Send = Callable[[Dispatch], Awaitable[Outcome]]
"""Does one item; raises Failed, Malformed."""
PACED = "account_paced"
BUSY = "account_busy"
"""The calls of the account are answered, one after the other."""
SILENT = "account_silent"
"""They are not: how long to leave it alone is the core's to say, longer each time."""
MINUTE_S, HOUR_S = 60.0, 3600.0


class Slots:
    """How many calls each account may have under way in this process; shared by all batches."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._slots: dict[str, Slot] = {}

    def alone(self) -> Slot:
        """One that nobody shares, nor is it kept: of doorbells, whose sources come only once."""
        return Slot(asyncio.Semaphore(1))

    def of(self, account: str) -> Slot:
        if account not in self._slots:
            self._slots[account] = Slot(asyncio.Semaphore(self._at_once))
        return self._slots[account]


@dataclass(slots=True)
class Slot:
    """`answered`: how many calls of this account came back."""

    free: asyncio.Semaphore
    answered: int = 0


class Batch:
    """`run` once, then `outcomes`."""

    def __init__(
        self,
        batch: Sequence[Dispatch],
        send: Send,
        *,
        settings: WeComHostedSettings,
        port: Port,
        slots: Slots,
    ) -> None:
        self._batch = batch
        self._send = send
        self._settings = settings
        self._port = port
        self._slots = slots
        self._unreachable = 0
        told = "not begun: earlier calls of this account have no answer"
        self._outcomes: list[Outcome] = [Retry("account", told, 0.0, SILENT)] * len(batch)

    def outcomes(self) -> list[Outcome]:
        """Raises Unreachable when there was no connection for any of them."""
        if self._unreachable == len(self._batch):
            raise Unreachable("the hosted gateway cannot be reached")
        return self._outcomes

    async def run(self) -> None:
        """Raises Unreachable when our own memory of the pace is away: nothing has left."""
        chains: dict[tuple[str, str, int], list[int]] = {}
        for index in await self._within_pace():
            item = self._batch[index]
            key = item.envelope.order_key
            lane = (_account(item), key, 0 if key else index)
            chains.setdefault(lane, []).append(index)
        tasks = {
            asyncio.create_task(self._chain(account, chain)): account
            for (account, _, _), chain in chains.items()
        }
        try:
            await self._until_done(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _until_done(self, tasks: dict[asyncio.Task[None], str]) -> None:
        """All of them; but once at least half of the accounts are through, the rest have `patience` left."""
        accounts = len(set(tasks.values()))
        pending = set(tasks)
        clock, cut = self._port.clock, 0.0
        while pending:
            left = max(0.0, cut - clock.monotonic()) if cut else None
            done, pending = await asyncio.wait(
                pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return
            if not cut and 2 * len({tasks[task] for task in pending}) <= accounts:
                cut = clock.monotonic() + self._settings.patience

    # -- pace ----------------------------------------------------------------------------------------------------------

    async def _within_pace(self) -> list[int]:
        """Those that may leave now, counted; doorbells cost nothing. What follows in a conversation waits with the one that
        may not."""
        free: list[int] = []
        messages: list[int] = []
        commands: list[int] = []
        for index, item in enumerate(self._batch):
            match item.envelope.payload:
                case Pull():
                    free.append(index)
                case CreateGroup() | UpdateGroup() | DissolveGroup():
                    commands.append(index)
                case _:
                    messages.append(index)
        settings = self._settings
        try:
            free += await self._allowed(messages, "send", settings.messages_per_minute, MINUTE_S)
            free += await self._allowed(commands, "group", settings.groups_per_hour, HOUR_S)
        except Exception as error:
            raise Unreachable(f"the pace of accounts: {type(error).__name__}") from error
        return sorted(free)

    async def _allowed(
        self, indices: Sequence[int], what: str, count: int, span: float
    ) -> list[int]:
        if not indices:
            return []
        keys = [f"{what}:{_account(self._batch[index])}" for index in indices]
        waits = await self._port.allow(keys, [(count, span)])
        allowed: list[int] = []
        held: dict[str, float] = {}
        queued: Counter[str] = Counter()
        for index, key, wait in zip(indices, keys, waits, strict=True):
            order_key = self._batch[index].envelope.order_key
            longest = max(wait, held.get(order_key, 0.0) if order_key else 0.0)
            if longest <= 0:
                allowed.append(index)
                continue
            if order_key:
                held[order_key] = longest
            # Each comes back when its turn is due, not all of them every time.
            after = longest + queued[key] // count * span
            queued[key] += 1
            told = f"the account has its {count} in {span:g} s ({what})"
            self._outcomes[index] = Retry("account", told, after, PACED)
        return allowed

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def _chain(self, account: str, chain: Sequence[int]) -> None:
        """One conversation, in order; what is behind one that was not taken waits for it."""
        is_bell = isinstance(self._batch[chain[0]].envelope.payload, Pull)
        slot = self._slots.alone() if is_bell else self._slots.of(account)
        for place, index in enumerate(chain):
            before = slot.answered
            try:
                async with asyncio.timeout(self._settings.patience):
                    await slot.free.acquire()
            except TimeoutError:
                if slot.answered > before:
                    told = "other messages of this account are under way"
                    for later in chain[place:]:
                        self._outcomes[later] = Retry("account", told, 1.0, BUSY)
                return
            try:
                await self._one(index, slot)
            finally:
                slot.free.release()
            if isinstance(self._outcomes[index], Retry | Unknown):
                told = "an earlier one of this conversation was not taken"
                for later in chain[place + 1 :]:
                    self._outcomes[later] = Retry("recipient", told, 0.0, "waits")
                return

    async def _one(self, index: int, slot: Slot) -> None:
        item = self._batch[index]
        token = (item.token,)
        self._outcomes[index] = Unknown("the hosted gateway has not answered in time", token)
        try:
            outcome = await self._send(item)
        except Failed as failed:
            outcome = failed.outcome
            self._unreachable += failed.unreachable
            if isinstance(outcome, Unknown):
                outcome = Unknown(outcome.detail, token)
        except Malformed as error:
            outcome = Rejected("message", str(error), "malformed")
        slot.answered += not isinstance(outcome, Unknown)
        self._outcomes[index] = outcome


def _account(item: Dispatch) -> str:
    """Doorbells of one source are alone, whoever's they are."""
    payload = item.envelope.payload
    return payload.source if isinstance(payload, Pull) else item.sender
