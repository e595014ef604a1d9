"""Everything the SMSC wants to deliver (reports, MO): kept until due, until a connection has
window, and until acknowledged.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.sim.smsc.line import Line
from adapters.sim.smsc.options import Faults, Options
from protocols.sms.events import Lost


@dataclass(slots=True, eq=False)
class Outgoing:
    """One delivery on its way, a PDU of the protocol spoken. `connection` is the one to prefer, or, when `cross`, the one to
    avoid.
    """

    deliver: object
    connection: int = 0
    cross: bool = False
    attempts: int = 0
    sequence: int = 0  #: of the last attempt
    after: Callable[[], None] | None = None  #: called once it is on its way for the first time
    done: asyncio.Future[bool] | None = None


class Outbox:
    """Owned by one `Smsc`; `sessions` are its logged-in connections by number."""

    def __init__(
        self,
        options: Options,
        faults: Faults,
        sessions: Mapping[int, Line],
        counters: Counter[str],
    ) -> None:
        self._options = options
        self._faults = faults
        self._sessions = sessions
        self._counters = counters
        self._due: list[tuple[float, int, Outgoing]] = []
        self._ready: deque[Outgoing] = deque()
        self._order = 0
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._due) + len(self._ready)

    @property
    def waiting(self) -> bool:
        """Whether something is due that found no connection."""
        return bool(self._ready)

    def add(self, outgoing: Outgoing, at: float = 0.0) -> None:
        """Queue for loop time `at`; 0 is now. Whoever adds calls `pump` when its batch is done."""
        if at:
            self._order += 1
            heapq.heappush(self._due, (at, self._order, outgoing))
        else:
            self._ready.append(outgoing)

    def pump(self, now: float) -> None:
        """Send all that is due, as far as windows allow, and set the timer for the next."""
        due, ready = self._due, self._ready
        while due and due[0][0] <= now:
            ready.append(heapq.heappop(due)[2])
        touched: set[Line] = set()
        while ready and not self._faults.half_open:
            session = self._pick(ready[0])
            if session is None:
                break
            outgoing = ready.popleft()
            outgoing.attempts += 1
            self._counters["delivers_sent"] += 1
            deliver, link = outgoing.deliver, session.link
            if outgoing.sequence:
                outgoing.sequence = link.again(deliver, outgoing.sequence, now, outgoing)
            else:
                outgoing.sequence = link.request(deliver, now, outgoing)
            touched.add(session)
            if outgoing.after is not None:
                outgoing.after()
                outgoing.after = None
        for session in touched:
            session.flush()
        if due:
            self._arm(due[0][0])

    def acknowledged(self, outgoing: Outgoing, result: int, now: float) -> None:
        """A DELIVER_RESP came; other than 0 means again, a little later."""
        if result == 0:
            self._counters["delivers_acknowledged"] += 1
            self._finish(outgoing, True)
        else:
            self._counters["delivers_refused"] += 1
            self._again(outgoing, now + self._options.deliver_pause)

    def unanswered(self, outgoing: Outgoing, why: Lost, now: float) -> None:
        """No answer: again, at once. What a lost connection swallowed does not count as a try."""
        self._counters[f"delivers_{why}"] += 1
        if why is Lost.CONNECTION:
            outgoing.attempts -= 1
        self._again(outgoing, now)

    def close(self) -> None:
        """Stop the timer and give up on whatever somebody waits for; reports stay."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for outgoing in [*self._ready, *(row[2] for row in self._due)]:
            self._finish(outgoing, False)
        self._due = [row for row in self._due if row[2].done is None]
        heapq.heapify(self._due)
        self._ready = deque(outgoing for outgoing in self._ready if outgoing.done is None)

    def _again(self, outgoing: Outgoing, at: float) -> None:
        if outgoing.attempts >= self._options.deliver_tries:
            self._counters["delivers_given_up"] += 1
            self._finish(outgoing, False)
            return
        self.add(outgoing, at)

    def _finish(self, outgoing: Outgoing, delivered: bool) -> None:
        if outgoing.done is not None and not outgoing.done.done():
            outgoing.done.set_result(delivered)

    def _pick(self, outgoing: Outgoing) -> Line | None:
        """The preferred connection when it has window, else any that has, in turn."""
        preferred = outgoing.connection
        sessions = self._sessions
        if preferred and not outgoing.cross:
            own = sessions.get(preferred)
            if own is not None and own.ready:
                return own
        free = [s for s in sessions.values() if s.ready]
        if not free:
            return None
        if outgoing.cross and len(free) > 1:
            free = [s for s in free if s.number != preferred]
        self._turn += 1
        return free[self._turn % len(free)]

    def _arm(self, at: float) -> None:
        timer = self._timer
        if timer is not None and not timer.cancelled() and self._timer_at <= at:
            return
        if timer is not None:
            timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.pump(asyncio.get_running_loop().time())
