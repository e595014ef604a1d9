"""SMS: what one message costs on its way through the SMS channel, beside a bare asyncio protocol that writes the same bytes.

All sides run alone in a process of their own, on the same event loop and with the same garbage collection as the service, and
write to the same far end, another process that takes every SUBMIT of CMPP 3.0 and accepts it without a thought. All keep the
same window of unanswered PDUs and write once a turn. They differ in what they do for a message:

- `bare`, the baseline: writes octets that were made beforehand and counts octets of answers. It knows no message: no text, no
  number, no id, no timeout, no outcome. No program on asyncio can beat it, for all that it does besides is the socket.
- `callers`: writes the same octets, but each PDU by its own caller, who awaits a future that the answer with its sequence sets, as
  any client library has it. Still no text, no number, no timeout; as many callers as the window has places.
- `codec`: makes each SUBMIT from its values with the product's codec and reads each answer, found by its sequence. The least
  that a client of this protocol can do.
- `link`: `codec` with the product's link: deadlines, keep-alive, tolerance of what peers do wrong.
- `product`: `deliver` of the channel: besides all that numbers, content rules, coding, parts, choice of supplier and
  connection, pace, breaker, and an outcome for each message that holds the far end's id.

The ratio is product to bare in messages a second; `codec` and `link` say where the distance lies, and product to `callers` stands
beside it. The target of 0.4 at window 16 is for the ratio to `bare`. The sides take turns within a round and medians are taken over
the rounds, for a run lasts a fraction of a second and the machine may be busy with something else in it.

One text goes to all, as in a campaign (what the rules made of a text is kept); `sms_16_own` gives each message a text of its own.
One message is one PDU: the dearest case, for the parts of a long text share its outcome.

One file, for the far end and the sides are only to be compared as long as they stay alike.

`python -m bench.sms far-end PORT` is that far end; `python -m bench.sms bare|callers|codec|link|product` is one side and runs the
jobs on its stdin, one a line.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import structlog
from pydantic import BaseModel

from adapters.sms import Sms, SmsSettings
from bench.report import Run
from bench.stand import ROOT
from msgcenter.adapter import Dispatch, Secret, Sent
from msgcenter.clock import SystemClock
from msgcenter.serve import quiet_collector
from protocols.address import Address
from protocols.cmpp import pdu as p
from protocols.cmpp.decode import decode
from protocols.cmpp.encode import encode
from protocols.cmpp.link import Link
from protocols.cmpp.terms import LinkOptions, Role
from protocols.envelope import Envelope
from protocols.payload import Text
from protocols.sms.events import Accepted, LoggedIn
from protocols.sms.form import Filled

FULL, QUICK = 40_000, 10_000
WINDOWS = (1, 16, 64)
SIDES = ("bare", "callers", "codec", "link", "product")
WORDS = "尊敬的客户，您的宽带业务已受理，感谢您的使用。"
ACCOUNT, SECRET, SRC = "901234", "bench", "106900001"
_FOUND = "measured: "
_HEAD = struct.Struct(">III")
_ANSWER = struct.Struct(">IIIQI")


class Job(BaseModel):
    """What one side is told."""

    port: int
    window: int
    messages: int
    own: bool = False
    """Each message has a text of its own."""

    @property
    def scenario(self) -> str:
        return f"sms_{self.window}" + ("_own" if self.own else "")

    def text(self, number: int) -> str:
        return f"{WORDS}单号{number:08d}" if self.own else WORDS


def run(rounds: int, count: int, step: Callable[[str, int], None]) -> list[Run]:
    """All runs, sides in turns. Raises RuntimeError when a process fails."""
    runs: list[Run] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    far = subprocess.Popen(
        [sys.executable, "-m", "bench.sms", "far-end", str(port)], cwd=ROOT, stdout=subprocess.PIPE
    )
    sides: dict[str, subprocess.Popen[str]] = {}
    try:
        assert far.stdout is not None
        far.stdout.readline()  # it listens
        for side in SIDES:
            sides[side] = _side(side)
        jobs = [
            Job(port=port, window=window, messages=count if window > 1 else count // 4)
            for window in WINDOWS
        ]
        jobs.append(Job(port=port, window=16, messages=count, own=True))
        for number in range(rounds):
            for job in jobs:
                for side in reversed(SIDES) if number % 2 else SIDES:
                    step(f"{job.scenario}: {side}", rounds * len(jobs) * len(SIDES))
                    runs.append(_measured(side, sides[side], job))
    finally:
        for process in sides.values():
            process.kill()
            process.wait(10)
        far.kill()
        far.wait(10)
    return runs


def _side(side: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.sms", side],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _measured(side: str, process: subprocess.Popen[str], job: Job) -> Run:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(job.model_dump_json() + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith(_FOUND):
            seconds, cpu = json.loads(line.removeprefix(_FOUND))
            return Run(
                job.scenario, side, job.messages, seconds, job.messages / seconds,
                cpu={"client": cpu / job.messages * 1e6},
            )  # fmt: skip
    raise RuntimeError(f"{side}: ended with {process.wait(10)}; what it said is above")


# --- the far end ---


class FarEnd(asyncio.Protocol):
    """Accepts logins and submits by their headers alone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast(asyncio.Transport, transport)
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data
        at, out = 0, []
        while len(buffer) - at >= 12:
            length, command, sequence = _HEAD.unpack_from(buffer, at)
            if len(buffer) - at < length:
                break
            if command == p.SUBMIT:
                out.append(_ANSWER.pack(24, p.SUBMIT | p.RESPONSE, sequence, sequence, 0))
            elif command == p.CONNECT:
                out.append(encode(p.ConnectResp(0, bytes(16), p.V30), p.V30, sequence))
            at += length
        self._rest = buffer[at:]
        self._transport.write(b"".join(out))


async def far_end(port: int) -> None:
    """Listen for ever."""
    server = await asyncio.get_running_loop().create_server(FarEnd, "127.0.0.1", port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


# --- the sides ---


class Bare(asyncio.Protocol):
    """Writes ready PDUs, `window` unanswered at a time, one write a turn."""

    def __init__(self, pdus: deque[bytes], window: int) -> None:
        self._pdus = pdus
        self._free = window
        self._left = len(pdus)
        self._rest = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        self._write()

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data
        at = 0
        while len(buffer) - at >= 12:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if len(buffer) - at < length:
                break
            at += length
            self._free += 1
            self._left -= 1
        self._rest = buffer[at:]
        if not self._left:
            self.done.set_result(None)
        self._write()

    def _write(self) -> None:
        out = []
        while self._free and self._pdus:
            self._free -= 1
            out.append(self._pdus.popleft())
        if out:
            self._transport.write(b"".join(out))


class Callers(Bare):
    """Each PDU is written by its own caller, who awaits the answer with its sequence."""

    def __init__(self, pdus: deque[bytes], window: int) -> None:
        super().__init__(pdus, window)
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def start(self) -> None:
        self._callers = [asyncio.create_task(self._caller()) for _ in range(self._free)]

    async def _caller(self) -> None:
        while self._pdus:
            pdu = self._pdus.popleft()
            answer = asyncio.get_running_loop().create_future()
            self._waiting[int.from_bytes(pdu[8:12], "big")] = answer
            self._transport.write(pdu)
            assert not await answer
            self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data
        at = 0
        while len(buffer) - at >= _ANSWER.size:
            length, _, sequence, _, result = _ANSWER.unpack_from(buffer, at)
            self._waiting.pop(sequence).set_result(result)
            at += length
        self._rest = buffer[at:]


class Codec(Bare):
    """Makes each PDU when its turn comes and matches each answer with its message."""

    def __init__(self, todo: deque[tuple[str, str]], window: int) -> None:
        super().__init__(deque(), window)
        self._todo = todo
        self._left = len(todo)
        self._sequence = 0
        self._waiting: dict[int, tuple[str, str]] = {}
        self.ids: list[str] = []

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data
        at = 0
        while len(buffer) - at >= 12:
            length, command, sequence = _HEAD.unpack_from(buffer, at)
            if len(buffer) - at < length:
                break
            answer = decode(command, buffer[at + 12 : at + length], p.V30)
            assert isinstance(answer, p.SubmitResp)
            del self._waiting[sequence]
            self.ids.append(f"{answer.msg_id:016x}")
            at += length
            self._free += 1
            self._left -= 1
        self._rest = buffer[at:]
        if not self._left:
            self.done.set_result(None)
        self._write()

    def _write(self) -> None:
        out: list[bytes] = []
        while self._free and self._todo:
            self._free -= 1
            self._sequence += 1
            message = self._waiting[self._sequence] = self._todo.popleft()
            number, text = message
            head, middle, tail, _ = _filled(text)
            out += (head, self._sequence.to_bytes(4, "big"), middle, number.encode(), tail)
        if out:
            self._transport.write(b"".join(out))


class Linked(Bare):
    """The product's link, driven by hand."""

    def __init__(self, todo: deque[tuple[str, str]], window: int) -> None:
        super().__init__(deque(), window)
        self._todo = todo
        self._left = len(todo)
        self._link = Link(Role.CLIENT, LinkOptions(window=window))
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ids: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._link.login(ACCOUNT, SECRET, 101000000, time.monotonic())
        self._transport.write(self._link.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._link.receive_data(data, time.monotonic()):
            if isinstance(event, Accepted):
                self.ids.append(event.remote_id)
                self._left -= 1
            elif isinstance(event, LoggedIn):
                self.up.set_result(None)
                return  # `start` begins
        if not self._left:
            self.done.set_result(None)
        self._write()

    def _write(self) -> None:
        link, todo, now = self._link, self._todo, time.monotonic()
        out: list[tuple[Filled, str, object]] = []
        for _ in range(min(link.window_free, len(todo))):
            message = todo.popleft()
            number, text = message
            out.append((_filled(text), number, message))
        link.submit(out, now)
        self._transport.write(link.data_to_send())


FORM = Link(Role.CLIENT, LinkOptions()).form(
    p.Submit(("",), b"", SRC, ACCOUNT, fee_user_type=2, fee_type="01", fee_code="000000"), 11
)


def _filled(text: str) -> Filled:
    return FORM.fill(text.encode("utf-16-be"))


async def by_hand(side: str, job: Job) -> tuple[float, float]:
    """(seconds, CPU seconds) of the job, for the sides that are no product."""
    loop = asyncio.get_running_loop()
    todo = deque((f"138{number:08d}", job.text(number)) for number in range(job.messages))
    protocol: Bare
    if side in ("bare", "callers"):
        pdus = deque(
            b"".join((head, sequence.to_bytes(4, "big"), middle, number.encode(), tail))
            for sequence, (number, text) in enumerate(todo, 1)
            for head, middle, tail, _ in [_filled(text)]
        )
        protocol = (Bare if side == "bare" else Callers)(pdus, job.window)
    elif side == "codec":
        protocol = Codec(todo, job.window)
    else:
        protocol = Linked(todo, job.window)
    await loop.create_connection(lambda: protocol, "127.0.0.1", job.port)
    if isinstance(protocol, Linked):
        await protocol.up
    quiet_collector()
    started, cpu = time.perf_counter(), time.process_time()
    protocol.start()
    await protocol.done
    return time.perf_counter() - started, time.process_time() - cpu


class BenchPort:
    """The little of a Port that an SMS channel without receipts asks for."""

    def __init__(self) -> None:
        self.channel = "bench"
        self.clock = SystemClock()
        self.random = random.Random(1)
        self.log = structlog.get_logger()

    def gauge(self, name: str, value: float) -> None: ...


async def product(job: Job) -> tuple[float, float]:
    """(seconds, CPU seconds) of the job."""
    settings = SmsSettings(
        host="127.0.0.1", port=job.port, account=ACCOUNT, secret=Secret(SECRET), src=SRC,
        window=job.window,
    )  # fmt: skip
    adapter = Sms(settings, BenchPort())  # type: ignore[arg-type]
    up = asyncio.Event()
    session = asyncio.create_task(adapter.session(lambda yes: up.set() if yes else None))
    await up.wait()
    todo = [
        Dispatch(
            Envelope(
                f"msg_{n}", "x", Address("tel", f"+86138{n:08d}"), "care", 4, Text(job.text(n)), 0
            ),
            "",
        )
        for n in range(job.messages)
    ]
    size = adapter.spec.max_batch
    batches = iter([todo[at : at + size] for at in range(0, len(todo), size)])

    async def caller() -> None:
        for batch in batches:
            outcomes = await adapter.deliver(batch)
            assert all(isinstance(outcome, Sent) for outcome in outcomes)

    quiet_collector()
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[caller() for _ in range(adapter.spec.in_flight)])
    found = time.perf_counter() - started, time.process_time() - cpu
    session.cancel()
    await asyncio.gather(session, return_exceptions=True)
    return found


def main(arguments: Sequence[str]) -> None:
    """A process of the bench, as the module says."""
    import uvloop

    what, *given = arguments
    if what == "far-end":
        uvloop.run(far_end(int(given[0])))
        return
    for line in sys.stdin:
        job = Job.model_validate_json(line)
        found = uvloop.run(product(job) if what == "product" else by_hand(what, job))
        sys.stdout.write(f"\n{_FOUND}{json.dumps(found)}\n")  # the log is there too
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
