"""Events on their way out of the gateway: numbered and in order per account, signed, sent again until taken or given up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict, deque
from typing import Any

import aiohttp

from adapters.sim.hosted.options import Faults, HostedOptions
from adapters.sim.jumps import JumpClock
from msgcenter.clock import Random, base32
from protocols.webhook import signing


class Outbox:
    """`tell` returns at once; `drained` waits until nothing is under way. `sent` are the newest events with the status of
    each attempt (0 no answer, -1 no link); `counters` has told, lost, taken, given_up.
    """

    def __init__(
        self,
        options: HostedOptions,
        faults: Faults,
        secrets: tuple[str, ...],
        clock: JumpClock,
        rng: Random,
    ) -> None:
        self._options = options
        self._faults = faults
        self._secrets = secrets
        self._clock = clock
        self._rng = rng
        self._seq: Counter[str] = Counter()
        self._queues: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._senders: dict[str, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self.url = options.callback
        self.sent: deque[tuple[dict[str, Any], list[int]]] = deque(maxlen=20_000)
        self.counters: Counter[str] = Counter()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(trust_env=False)
        for account in list(self._queues):
            self._wake(account)

    async def stop(self) -> None:
        senders = list(self._senders.values())
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        self._senders.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def drained(self) -> None:
        while self._senders:
            await asyncio.wait(set(self._senders.values()))

    def tell(self, account: str, kind: str, *, may_be_lost: bool = False, **facts: Any) -> str:
        """Queue an event; returns its id. One that is lost has no number: nobody can see the gap."""
        self.counters["told"] += 1
        if may_be_lost and self._rng.random() < self._faults.lose_events:
            self.counters["lost"] += 1
            return ""
        self._seq[account] += 1
        event_id = f"evt_{base32(self._rng.getrandbits(100), 20)}"
        event = {
            "version": 1,
            "id": event_id,
            "type": kind,
            "account": account,
            "at": self._clock.now_ms(),
            "seq": self._seq[account],
        }
        event |= {name: value for name, value in facts.items() if value not in ("", None, [])}
        if may_be_lost and self._rng.random() < self._faults.gap_events:
            self.counters["lost"] += 1
            return ""
        self._queues[account].append(event)
        if self._rng.random() < self._faults.repeat_events:
            self._queues[account].append(event)
        self._wake(account)
        return event_id

    def _wake(self, account: str) -> None:
        if self._session is None or not self.url or account in self._senders:
            return
        task = asyncio.get_running_loop().create_task(self._run(account))
        self._senders[account] = task

    async def _run(self, account: str) -> None:
        """One account's events, one after the other: a slow listener delays only this account."""
        queue = self._queues[account]
        try:
            while queue:
                event = queue[0]
                statuses: list[int] = []
                self.sent.append((event, statuses))
                for attempt in range(self._options.tries):
                    if attempt:
                        await self._clock.sleep(self._options.pause)
                    statuses.append(await self._post(event))
                    if 200 <= statuses[-1] < 300:
                        break
                self.counters["taken" if 200 <= statuses[-1] < 300 else "given_up"] += 1
                queue.popleft()
        finally:
            self._senders.pop(account, None)

    async def _post(self, event: dict[str, Any]) -> int:
        assert self._session is not None
        body = json.dumps(event, ensure_ascii=False).encode()
        headers = signing.sign(self._secrets, event["id"], self._clock.now_ms() // 1000, body)
        if self._faults.forge_next > 0:
            self._faults.forge_next -= 1
            headers[signing.SIGNATURE] = "v1,AAAA"
        headers["Content-Type"] = "application/json"
        limit = aiohttp.ClientTimeout(total=self._options.timeout)
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, timeout=limit
            ) as response:
                await response.read()
                return response.status
        except TimeoutError:
            return 0
        except aiohttp.ClientError:
            return -1
