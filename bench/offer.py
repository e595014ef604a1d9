"""The offer: a process that posts at a fixed rate whatever is answered (open loop), as callers do that neither slow down nor wait.

`python -m bench.offer PORT KEY CONNECTIONS RATE SECONDS FIRST`: RATE messages a second over keep-alive connections, each used again
once it is answered; what finds none free is counted as missed, so a slow answer never lowers the rate that is asked for. It says `ready` once
its connections are open, begins at a line of input, ends after SECONDS or at SIGTERM and prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import cast

from bench.load import percentile, requests

TICK_S = 0.005
"""Posts that are due go out so often: their bursts are no larger than the rate makes them."""
DIFFERENT = 500
"""Messages that it sends in turn."""
_HELLO = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass(slots=True)
class Offered:
    """What one run did. `statuses`: HTTP status -> how many; `bare`: refusals without Retry-After; latencies in milliseconds, of what was
    accepted and of what was refused; `cpu` in seconds."""

    seconds: float = 0.0
    posts: int = 0
    missed: int = 0
    bare: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    accepted_p99: float = 0.0
    refused_p99: float = 0.0
    cpu: float = 0.0

    @property
    def accepted(self) -> int:
        return self.statuses.get("202", 0)

    @property
    def refused(self) -> int:
        """Answers that were neither 202 nor lost."""
        return sum(count for status, count in self.statuses.items() if status != "202")


class _Connection(asyncio.Protocol):
    """One keep-alive connection, in `free` while nothing is on its way over it."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent = 0.0
        self._met = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.post(_HELLO)  # who is answered has a connection that the server knows of too

    def post(self, request: bytes) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        length = int(lower[lower.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        if self._met:
            took = time.perf_counter() - self._sent
            self._offer.answered(head[9:12].decode(), b"retry-after:" in lower, took)
        self._met = True
        self._offer.free.append(self)


class Offer:
    """One run: `await run(rate, seconds)`."""

    def __init__(self, work: list[bytes]) -> None:
        self.free: deque[_Connection] = deque()
        self._work = work
        self._statuses: Counter[str] = Counter()
        self._latencies: dict[bool, list[float]] = {True: [], False: []}
        self._bare = 0

    def answered(self, status: str, retry_after: bool, took: float) -> None:
        self._statuses[status] += 1
        self._bare += status != "202" and not retry_after
        self._latencies[status == "202"].append(took)

    async def run(self, rate: float, seconds: float, stop: asyncio.Event) -> Offered:
        """Connections are open already. What is on its way at the end has two seconds more to be answered."""
        posts = missed = 0
        connections = len(self.free)
        cpu, began = time.process_time(), time.monotonic()
        while not stop.is_set() and (passed := time.monotonic() - began) < seconds:
            for _ in range(round(passed * rate) - posts - missed):
                if self.free:
                    self.free.popleft().post(self._work[posts % len(self._work)])
                    posts += 1
                else:
                    missed += 1
            await asyncio.sleep(TICK_S)
        took = time.monotonic() - began
        await self.all_free(connections, 2.0)
        accepted, refused = self._latencies[True], self._latencies[False]
        return Offered(
            took,
            posts,
            missed,
            self._bare,
            dict(self._statuses),
            percentile(accepted, 0.99) * 1000,
            percentile(refused, 0.99) * 1000,
            time.process_time() - cpu,
        )

    async def all_free(self, connections: int, seconds: float) -> bool:
        """Whether every connection has been answered, after `seconds` at the most."""
        for _ in range(round(seconds / TICK_S)):
            if len(self.free) == connections:
                return True
            await asyncio.sleep(TICK_S)
        return False


async def main(
    port: int, key: str, connections: int, rate: float, seconds: float, first: int
) -> Offered:
    """Connect, say `ready`, wait for a line, offer. Raises RuntimeError (no answer to a connection)."""
    loop = asyncio.get_running_loop()
    offer = Offer(list(requests(port, key, DIFFERENT, 0, first)))
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(offer), "127.0.0.1", port)
    if not await offer.all_free(connections, 60.0):
        raise RuntimeError(f"{connections - len(offer.free)} connections without an answer")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return await offer.run(rate, seconds, stop)


if __name__ == "__main__":
    import uvloop

    port, key, connections = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rate, seconds, first = float(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6])
    print(json.dumps(asdict(uvloop.run(main(port, key, connections, rate, seconds, first)))))
