"""What becomes of a submit at the simulated gateway: verdict, message id, journal entry at the
handset, answer, status report.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import NamedTuple

from adapters.sim.smsc.dialects import Dialect, Taken
from adapters.sim.smsc.line import Line
from adapters.sim.smsc.options import Faults, Options, by_prefix
from adapters.sim.smsc.outbox import Outbox, Outgoing
from msgcenter.clock import Clock, Random
from msgcenter.simulator import Journal
from protocols.errors import Malformed
from protocols.sms.joining import Joined, Reassembler

_CHINA = timezone(timedelta(hours=8))


class Submitted(NamedTuple):
    """One recipient of one accepted submit."""

    recipient: str
    msg_id: int
    sequence: int
    connection: int


class Submits:
    """Owned by one `Smsc`."""

    def __init__(
        self,
        options: Options,
        faults: Faults,
        *,
        journal: Journal,
        clock: Clock,
        rng: Random,
        outbox: Outbox,
        counters: Counter[str],
        dialect: Dialect,
    ) -> None:
        self._dialect = dialect
        self.accepted: deque[Submitted] = deque(maxlen=options.keep_submits)
        self._options = options
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._outbox = outbox
        self._counters = counters
        self._joiner = Reassembler(options.join_timeout)
        self._second = -1
        self._id_base = 0
        self._id_sequence = 0
        self._deliver_sequence = 0
        self._minute = ""
        self._stamp = ""
        self._tokens = 0.0
        self._tokens_at = 0.0
        self._since_unplug = 0

    def take(self, session: Line, sequence: int, pdu: object, taken: Taken, now: float) -> None:
        """Handle one submit of a logged-in connection; `now` is loop time."""
        faults, dialect = self._faults, self._dialect
        result = self._verdict(taken, now)
        if result:
            self._counters[f"result_{result}"] += 1
            self._answer(session, sequence, dialect.answer(pdu, 0, result))
            return
        recipients = taken.recipients
        n = len(recipients)
        now_ms = self._clock.now_ms()
        first = self._next(n, now_ms)
        ids = dialect.ids(self._id_base, first, n, sequence)
        self._counters["accepted"] += n
        answer = dialect.answer(pdu, ids[0], 0)
        wanted = taken.report != "never"
        early = bool(wanted and faults.early_reports and self._rng.random() < faults.early_reports)
        for k, msg_id in enumerate(ids):
            recipient = recipients[k]
            self.accepted.append(Submitted(recipient, msg_id, sequence, session.number))
            self._reach_handset(pdu, taken, recipient, msg_id, now, now_ms)
            if wanted:
                then = (
                    partial(self._answer_after, session, sequence, answer)
                    if early and not k
                    else None
                )
                self._report(session, taken, recipient, msg_id, now=now, then=then)
        if not early:
            self._answer(session, sequence, answer)
        if faults.unplug_every:
            self._since_unplug += 1
            if self._since_unplug >= faults.unplug_every:
                self._since_unplug = 0
                session.cut(flush=faults.unplug_flush)

    def expire(self, now: float) -> None:
        """Journal long messages whose missing parts did not come in time."""
        for joined in self._joiner.expire(now):
            self._journal_joined(joined, self._clock.now_ms())

    def new_id(self) -> int:
        """An id for something this gateway delivers."""
        return self._delivery_id(self._clock.now_ms())

    # --- verdict and answer ---

    def _verdict(self, taken: Taken, now: float) -> int:
        """The code to refuse it with, 0 = none. One bad number fails the whole submit."""
        faults, results = self._faults, self._dialect.results
        if faults.throttle_rate and not self._take_tokens(
            len(taken.recipients), faults.throttle_rate, now
        ):
            return results.flow
        if faults.throttle_fraction and self._rng.random() < faults.throttle_fraction:
            return results.flow
        if taken.too_long:
            return results.too_long
        if not taken.own_source:
            return results.source
        for recipient in taken.recipients:
            if not self._dialect.number_ok(recipient):
                return results.number
            refused = by_prefix(faults.refuse, recipient) if faults.refuse else None
            if refused:
                return refused
        return 0

    def _take_tokens(self, n: int, rate: float, now: float) -> bool:
        self._tokens = min(max(rate, 1.0), self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < n:
            return False
        self._tokens -= n
        return True

    def _answer(self, session: Line, sequence: int, answer: object) -> None:
        faults = self._faults
        if faults.drop_responses and self._rng.random() < faults.drop_responses:
            self._counters["responses_dropped"] += 1
            return
        delay = faults.response_delay
        if faults.response_jitter:
            delay += self._rng.random() * faults.response_jitter
        if delay:
            asyncio.get_running_loop().call_later(delay, session.respond, sequence, answer)
        else:
            session.link.respond(sequence, answer)
            if faults.duplicate_responses and self._rng.random() < faults.duplicate_responses:
                self._counters["responses_duplicated"] += 1
                session.repeat()
                session.flush()

    def _answer_after(self, session: Line, sequence: int, answer: object) -> None:
        self._answer(session, sequence, answer)
        session.flush()

    # --- ids and times ---

    def _next(self, n: int, now_ms: int) -> int:
        """The number of the next message, leaving room for `n`."""
        self._at(now_ms)
        wrap = self._dialect.id_wrap
        first = self._id_sequence = (self._id_sequence + 1) % wrap
        self._id_sequence = (first + n - 1) % wrap
        return first

    def _at(self, now_ms: int) -> None:
        """What ids and stamps of this second have in common."""
        second = now_ms // 1000
        if second != self._second:
            self._second = second
            at = datetime.fromtimestamp(second, _CHINA)
            self._id_base = self._dialect.base(at)
            self._minute = at.strftime("%y%m%d%H%M")
            self._stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")

    def _delivery_id(self, now_ms: int) -> int:
        self._at(now_ms)
        self._deliver_sequence = (self._deliver_sequence + 1) % self._dialect.id_wrap
        return self._dialect.delivery_id(self._id_base, self._deliver_sequence)

    # --- handset ---

    def _reach_handset(
        self, pdu: object, taken: Taken, recipient: str, msg_id: int, now: float, now_ms: int
    ) -> None:
        self._counters["received_parts"] += 1
        try:
            concat, data = self._dialect.part(pdu)
        except Malformed:
            self._counters["malformed_udh"] += 1
            concat, data = None, taken.content
        if concat is None:
            shown = self._dialect.read(data, taken.code)
            shown = data.hex() if shown is None else shown
            self._write(recipient, taken.sender, shown, 1, msg_id, now_ms=now_ms)
            return
        for joined in self._joiner.add(
            taken.sender, recipient, concat, taken.code, data, now=now, tag=msg_id
        ):
            self._journal_joined(joined, now_ms)

    def _journal_joined(self, joined: Joined, now_ms: int) -> None:
        first = joined.pieces[0].tag
        assert isinstance(first, int)
        missing = joined.total - len(joined.pieces)
        self._write(
            joined.destination,
            joined.source,
            joined.decoded(self._dialect.read),
            len(joined.pieces),
            first,
            now_ms=now_ms,
            missing=missing,
        )

    def _write(
        self,
        recipient: str,
        sender: str,
        shown: str,
        parts: int,
        msg_id: int,
        *,
        now_ms: int,
        missing: int = 0,
    ) -> None:
        self._at(now_ms)
        entry: dict[str, object] = {
            "kind": "mt",
            "recipient": recipient,
            "sender": sender,
            "text": shown,
            "parts": parts,
            "id": self._dialect.shown(msg_id),
            "time": f"{self._stamp}.{now_ms % 1000:03}Z",
        }
        if missing:
            entry["missing"] = missing
        self._journal.append(entry)

    # --- report ---

    def _report(
        self,
        session: Line,
        taken: Taken,
        recipient: str,
        msg_id: int,
        *,
        now: float,
        then: partial[None] | None,
    ) -> None:
        faults, rng = self._faults, self._rng
        if then is None and faults.drop_reports and rng.random() < faults.drop_reports:
            self._counters["reports_dropped"] += 1
            return
        stat = self._stat(recipient)
        if taken.report == "failure" and stat == "DELIVRD":
            if then is not None:
                then()
            return
        deliver = self._dialect.report(
            session.link,
            taken,
            recipient,
            msg_id,
            stat=stat,
            minute=self._minute,
            deliver_id=self._delivery_id(self._clock.now_ms()),
        )
        cross = bool(faults.cross_reports and rng.random() < faults.cross_reports)
        delay = faults.report_delay
        if faults.report_jitter:
            delay += rng.random() * faults.report_jitter
        at = now + delay if delay and then is None else 0.0
        self._counters["reports"] += 1
        self._outbox.add(Outgoing(deliver, session.number, cross, after=then), at)
        if faults.duplicate_reports and rng.random() < faults.duplicate_reports:
            self._counters["reports_duplicated"] += 1
            self._outbox.add(Outgoing(deliver, session.number, cross), at)

    def _stat(self, recipient: str) -> str:
        """By number where a switch says so, else drawn by weight."""
        faults = self._faults
        if faults.stat_by_number:
            chosen = by_prefix(faults.stat_by_number, recipient)
            if chosen is not None:
                return chosen
        stats = faults.stats
        if len(stats) > 1:
            return self._rng.choices(list(stats), list(stats.values()))[0]
        return next(iter(stats), "DELIVRD")
