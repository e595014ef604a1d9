"""The load generator: a process that posts messages over keep-alive connections and reports when it began and how long each POST took.

`python -m bench.load PORT KEY CONNECTIONS COUNT SIZE FIRST PAUSE`: COUNT messages numbered from FIRST, SIZE a POST (0 = the
single endpoint), each connection resting PAUSE seconds between two. All requests are built before the clock starts; a refused one
(429, 503) is posted again. It speaks just enough HTTP/1.1 to cost little on a machine that the measured processes share. Prints
one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import cast

AGAIN_AFTER_S = 0.05
KIND = os.environ.get("BENCH_KIND", "sms")
"""The kind of channel that messages name."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run did. Times in seconds of the system-wide monotonic clock; latencies in milliseconds; `cpu` in seconds."""

    began: float
    ended: float
    posts: int
    refused: int
    p50: float
    p99: float
    cpu: float


def percentile(values: list[float], q: float) -> float:
    """The value below which the share `q` of them lies; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))] if ordered else 0.0


def message(number: int) -> dict[str, object]:
    """One short text (a single part), different for each number."""
    return {
        "to": f"tel:+86138{number % 100_000_000:08d}",
        "category": "transactional",
        "channels": [KIND],
        "content": {
            "type": "text",
            "text": f"您的业务已办理成功,流水号{number:010d},详情请咨询10086。",
        },
    }


def requests(port: int, key: str, count: int, size: int, first: int) -> deque[bytes]:
    """The POSTs of a run as bytes."""
    path = "/v1/messages:batch" if size else "/v1/messages"
    out: deque[bytes] = deque()
    for start in range(first, first + count, size or 1):
        items = [message(n) for n in range(start, min(start + (size or 1), first + count))]
        body = json.dumps({"messages": items} if size else items[0], ensure_ascii=False).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        out.append(head.encode() + body)
    return out


class Client(asyncio.Protocol):
    """One keep-alive connection: takes the next request as soon as its last is answered."""

    def __init__(self, work: deque[bytes], latencies: list[float], pause: float = 0.0) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused = 0
        self._work = work
        self._latencies = latencies
        self._pause = pause
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._request = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's is none of asyncio's classes

    def post(self) -> None:
        """Send the next request, or be done."""
        if not self._work:
            if not self.done.done():
                self.done.set_result(None)
            return
        assert self._transport is not None
        self._request = self._work.popleft()
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        status = head[9:12]
        if status == b"202":
            self._latencies.append(time.perf_counter() - self._sent)
            if self._pause:
                asyncio.get_running_loop().call_later(self._pause, self.post)
            else:
                self.post()
        elif status in (b"429", b"503"):
            self.refused += 1
            self._work.append(self._request)
            asyncio.get_running_loop().call_later(AGAIN_AFTER_S, self.post)
        else:
            error = RuntimeError(f"answered {status.decode()}: {rest[:500].decode()}")
            self.done.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"the API closed the connection: {exc}"))


async def run(
    port: int, key: str, connections: int, work: deque[bytes], pause: float = 0.0
) -> Loaded:
    """Post everything. Raises RuntimeError when a POST is answered with anything but 202, 429 or 503."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    posts = len(work)
    clients = [
        (await loop.create_connection(lambda: Client(work, latencies, pause), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    cpu, began = time.process_time(), time.monotonic()
    for client in clients:
        client.post()
    await asyncio.gather(*(client.done for client in clients))
    ended, cpu = time.monotonic(), time.process_time() - cpu
    p50, p99 = (percentile(latencies, q) for q in (0.5, 0.99))
    refused = sum(client.refused for client in clients)
    return Loaded(began, ended, posts, refused, p50 * 1000, p99 * 1000, cpu)


if __name__ == "__main__":
    import uvloop

    port, key, (connections, count, size, first) = (
        int(sys.argv[1]),
        sys.argv[2],
        map(int, sys.argv[3:7]),
    )
    work = requests(port, key, count, size, first)
    print(json.dumps(asdict(uvloop.run(run(port, key, connections, work, float(sys.argv[7]))))))
