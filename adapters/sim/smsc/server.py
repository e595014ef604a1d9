"""The simulated SMSC itself: listens, counts its connections, injects messages from phones, and
takes orders while it runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import asdict
from typing import Any, ClassVar

from pydantic import BaseModel

from adapters.sim.smsc.dialects import dialect_of
from adapters.sim.smsc.options import Faults
from adapters.sim.smsc.options import Options as SmscOptions
from adapters.sim.smsc.outbox import Outbox, Outgoing
from adapters.sim.smsc.session import Session
from adapters.sim.smsc.submits import Submits, Submitted
from msgcenter.clock import Clock, Random, SystemClock
from msgcenter.simulator import Journal
from protocols.sms.link import Link

_TICK = 0.05
_CALL_AGAIN = 0.5


class Smsc:
    """One gateway with one account. After `start`, `port` is where it listens; `faults` may be
    changed at any time.

    `journal` gets one entry per message as the handset shows it (`kind` mt, `recipient`, `sender`,
    `text`, `parts`, `id`, `time`; `missing` when parts never came). `submits` holds every accepted
    (recipient, Msg_Id, sequence, connection), `counters` everything countable. All state but the
    connections survives `stop` and `start`.
    """

    Options: ClassVar[type[BaseModel]] = SmscOptions

    def __init__(self, options: SmscOptions, journal: Journal, clock: Clock | None = None) -> None:
        self.options = options
        self.journal = journal
        self._faults = Faults.of(options)
        self.counters: Counter[str] = Counter()
        self.port = options.port
        clock = clock or SystemClock()
        self.dialect = dialect_of(options, self._faults, clock)
        self._rng = Random(options.seed)
        self._connections: dict[int, Session] = {}
        self._sessions: dict[int, Session] = {}  # logged in
        self._count = 0
        self._empty = asyncio.Event()  # no connection is left
        self._empty.set()
        self._mo_reference = 0
        self._window_violations = 0
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._calling: asyncio.Task[None] | None = None
        self._call_at = 0.0
        self.outbox = Outbox(options, self.faults, self._sessions, self.counters)
        self.submits_taken = Submits(
            options,
            self.faults,
            journal=journal,
            clock=clock,
            dialect=self.dialect,
            rng=self._rng,
            outbox=self.outbox,
            counters=self.counters,
        )

    # --- the simulator contract ---

    async def start(self) -> None:
        """Listen; a second start after `stop` takes the same port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Session(self, self.dialect.link(loop.time())),
            self.options.host,
            self.port,
            backlog=128,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._tick()

    async def stop(self) -> None:
        """Close every socket; reports still to be delivered wait for the next start, `inject_mo`
        gives up.
        """
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._calling is not None:
            self._calling.cancel()
            await asyncio.wait([self._calling])
        if self._server is not None:
            self._server.close()
            for session in list(self._connections.values()):
                session.cut()
            await self._server.wait_closed()
            self._server = None
        await self._empty.wait()
        self.outbox.close()

    def banner(self) -> list[str]:
        """What a client needs."""
        return [
            f"{self.dialect.title} gateway on {self.options.host}:{self.port}",
            f"account {self.options.account}",
            f"secret {self.options.secret}",
        ]

    # --- what a test may read and do ---

    @property
    def faults(self) -> Faults:
        """The switches; assign to its attributes."""
        return self._faults

    @property
    def submits(self) -> deque[Submitted]:
        """Accepted submits, one entry per recipient, in order; the newest `keep_submits`."""
        return self.submits_taken.accepted

    @property
    def received_parts(self) -> int:
        """Parts (recipients times submits) that reached handsets."""
        return self.counters["received_parts"]

    @property
    def window_violations(self) -> int:
        """Requests that came while `window` others of that connection were unanswered."""
        live = sum(s.link.counters["window_exceeded"] for s in self._connections.values())
        return self._window_violations + live

    @property
    def connections(self) -> list[int]:
        """Numbers of the logged-in connections."""
        return list(self._sessions)

    def unplug(self, connection: int | None = None, *, flush: bool = False) -> int:
        """Cut one connection or all of them, as a pulled cable would; returns how many."""
        chosen = [
            session
            for number, session in self._connections.items()
            if connection is None or number == connection
        ]
        for session in chosen:
            session.cut(flush)
        return len(chosen)

    def send_raw(self, octets: str, connection: int | None = None) -> int:
        """Write octets (hex) that no gateway should send: lengths that lie, unknown commands, text.

        To one connection or all; returns how many. Raises ValueError for what is not hex.
        """
        data = bytes.fromhex(octets)
        chosen = [s for n, s in self._sessions.items() if connection is None or n == connection]
        return sum([session.write(data) for session in chosen])

    def terminate(self) -> int:
        """End every session with TERMINATE, as a gateway under maintenance does; returns how many."""
        sessions = list(self._connections.values())
        for session in sessions:
            session.terminate()
        return len(sessions)

    async def inject_mo(
        self,
        sender: str,
        destination: str,
        text: str,
        *,
        shuffle: bool = False,
        wide: bool = False,
    ) -> dict[str, Any]:
        """A phone writes `text` to `destination`: in parts when long (in random order if `shuffle`,
        with a 16-bit reference if `wide`).

        Returns once every part is acknowledged or given up: `{"ids": [hex], "parts": n,
        "delivered": bool}`. Raises ValueError for a number over 21 digits or a text over 255
        parts. While nobody is connected it waits.
        """
        self._mo_reference += 1
        code, parts = self.dialect.split(text, self._mo_reference, wide)
        loop = asyncio.get_running_loop()
        batch, ids = [], []
        for part in parts:
            msg_id = self.submits_taken.new_id()
            deliver = self.dialect.mo(msg_id, sender, destination, code, part)
            batch.append(Outgoing(deliver, done=loop.create_future()))
            ids.append(self.dialect.shown(msg_id))
        if shuffle:
            self._rng.shuffle(batch)
        self.counters["mo"] += 1
        for outgoing in batch:
            self.outbox.add(outgoing)
        self.outbox.pump(loop.time())
        results = await asyncio.gather(*[o.done for o in batch if o.done is not None])
        return {"ids": ids, "parts": len(parts), "delivered": all(results)}

    async def control(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        """An order by name, for a control surface. Raises ValueError (or TypeError) for one that
        makes no sense.

        `mo` {sender, destination, text, shuffle?, wide?} · `unplug` {connection?, flush?} ·
        `raw` {octets, connection?} · `terminate` {} ·
        `faults` {switch: value, …} answers all switches · `journal` {limit?} answers the newest
        entries, the total and the counters.
        """
        match command:
            case "mo":
                return await self.inject_mo(**args)
            case "unplug":
                return {"cut": self.unplug(**args)}
            case "raw":
                return {"written": self.send_raw(**args)}
            case "terminate":
                return {"ended": self.terminate(**args)}
            case "faults":
                self.faults.change(args)
                return asdict(self.faults)
            case "journal":
                limit = int(args.get("limit", 100))
                entries = self.journal.entries()
                return {
                    "entries": entries[-limit:] if limit > 0 else [],
                    "total": self.journal.total,
                    "counters": dict(self.counters),
                }
            case _:
                raise ValueError(
                    f"no such command: {command}; mo, unplug, raw, terminate, faults, journal"
                )

    # --- for the sessions ---

    def admit(self, session: Session) -> int:
        """Register a new connection and number it."""
        self._count += 1
        self._connections[self._count] = session
        self._empty.clear()
        return self._count

    def logged_in(self, session: Session) -> None:
        self._sessions[session.number] = session

    def forget(self, session: Session) -> None:
        """The connection is gone."""
        self._connections.pop(session.number, None)
        self._sessions.pop(session.number, None)
        if not self._connections:
            self._empty.set()
        self._window_violations += session.link.counters["window_exceeded"]

    def login_status(self, login: object) -> int:
        """The status to answer a login with."""
        faults = self.faults
        if faults.connect_status:
            return faults.connect_status
        status = self.dialect.login_status(login)
        most = faults.max_connections
        if status == 0 and most and len(self._sessions) >= most:
            return self.dialect.results.crowded
        return status

    def totals(self) -> dict[str, int]:
        """The statistics some protocols ask for."""
        counters = self.counters
        accepted, reports = counters["accepted"], counters["delivers_acknowledged"]
        return {
            "mt_messages": accepted,
            "mt_users": len({entry.recipient for entry in self.submits}),
            "mt_ok": accepted,
            "mt_waiting": 0,
            "mt_failed": 0,
            "mo_ok": reports,
            "mo_waiting": len(self.outbox),
            "mo_failed": counters["delivers_given_up"],
        }

    async def _call(self, link: Link) -> None:
        """Connect to the SP, as SGIP gateways do to deliver."""
        host, port = self.options.sp_host, self.options.sp_port
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: Session(self, link), host, port)
        except OSError:
            self.counters["calls_failed"] += 1
        finally:
            self._calling = None

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for session in list(self._connections.values()):
            session.tick(now)
        self.submits_taken.expire(now)
        self.outbox.pump(now)
        if self.outbox.waiting and self._calling is None and now >= self._call_at:
            caller = self.dialect.caller(now)
            if caller is not None and not any(
                session.link.role is caller.role for session in self._connections.values()
            ):
                self._call_at = now + _CALL_AGAIN
                self._calling = loop.create_task(self._call(caller))
        self._ticker = loop.call_later(_TICK, self._tick)
