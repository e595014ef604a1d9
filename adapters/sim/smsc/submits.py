"""What becomes of a SUBMIT at the simulated gateway: verdict, Msg_Id, journal entry at the
handset, answer, status report.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from adapters.sim.smsc.options import Faults, Options, by_prefix
from adapters.sim.smsc.outbox import Outbox, Outgoing
from msgcenter.clock import Clock, Random
from msgcenter.simulator import Journal
from protocols.cmpp import pdu as p
from protocols.cmpp.msgid import MsgId, pack, run
from protocols.cmpp.report import Report
from protocols.errors import Malformed
from protocols.sms import text, udh
from protocols.sms.joining import Joined, Reassembler

if TYPE_CHECKING:
    from adapters.sim.smsc.session import Session

_CHINA = timezone(timedelta(hours=8))


class Submitted(NamedTuple):
    """One recipient of one accepted SUBMIT."""

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
    ) -> None:
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

    def take(self, session: Session, sequence: int, pdu: p.Submit, now: float) -> None:
        """Handle one SUBMIT of a logged-in connection; `now` is loop time."""
        faults = self._faults
        result = self._verdict(pdu, now)
        if result:
            self._counters[f"result_{result}"] += 1
            self._answer(session, sequence, p.SubmitResp(0, result))
            return
        recipients = pdu.recipients
        n = len(recipients)
        now_ms = self._clock.now_ms()
        first = self._next_ids(n, now_ms)
        self._counters["accepted"] += n
        answer = p.SubmitResp(first, p.RESULT_OK)
        early = bool(
            pdu.registered_delivery == 1
            and faults.early_reports
            and self._rng.random() < faults.early_reports
        )
        for k, msg_id in enumerate(run(first, n) if n > 1 else (first,)):
            recipient = recipients[k]
            self.accepted.append(Submitted(recipient, msg_id, sequence, session.number))
            self._reach_handset(pdu, recipient, msg_id, now, now_ms)
            if pdu.registered_delivery == 1:
                then = (
                    partial(self._answer_after, session, sequence, answer)
                    if early and not k
                    else None
                )
                self._report(session, pdu, recipient, msg_id, now=now, then=then)
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
        """A Msg_Id for something this gateway delivers."""
        return self._deliver_id(self._clock.now_ms())

    # --- verdict and answer ---

    def _verdict(self, pdu: p.Submit, now: float) -> int:
        faults = self._faults
        if faults.throttle_rate and not self._take_tokens(
            len(pdu.recipients), faults.throttle_rate, now
        ):
            return p.RESULT_FLOW
        if faults.throttle_fraction and self._rng.random() < faults.throttle_fraction:
            return p.RESULT_FLOW
        if len(pdu.content) > self._options.max_octets:
            return p.RESULT_TOO_LONG
        if pdu.msg_src != self._options.account:
            return p.RESULT_MSG_SRC
        verdicts = (self._verdict_on(recipient) for recipient in pdu.recipients)
        return next((verdict for verdict in verdicts if verdict), p.RESULT_OK)

    def _verdict_on(self, recipient: str) -> int:
        """One bad number fails the whole submit."""
        if len(recipient) > 21 or not recipient.removeprefix("+").isdecimal():
            return p.RESULT_DEST_TERMINAL
        refuse = self._faults.refuse
        return (by_prefix(refuse, recipient) or p.RESULT_OK) if refuse else p.RESULT_OK

    def _take_tokens(self, n: int, rate: float, now: float) -> bool:
        self._tokens = min(max(rate, 1.0), self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < n:
            return False
        self._tokens -= n
        return True

    def _answer(self, session: Session, sequence: int, answer: p.SubmitResp) -> None:
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

    def _answer_after(self, session: Session, sequence: int, answer: p.SubmitResp) -> None:
        self._answer(session, sequence, answer)
        session.flush()

    # --- ids and times ---

    def _next_ids(self, n: int, now_ms: int) -> int:
        second = now_ms // 1000
        if second != self._second:
            self._second = second
            at = datetime.fromtimestamp(second, _CHINA)
            self._id_base = pack(
                MsgId(at.month, at.day, at.hour, at.minute, at.second, self._options.gateway, 0)
            )
            self._minute = at.strftime("%y%m%d%H%M")
            self._stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        first = self._id_sequence = (self._id_sequence + 1) & 0xFFFF
        self._id_sequence = (first + n - 1) & 0xFFFF
        return self._id_base | first

    def _deliver_id(self, now_ms: int) -> int:
        """Of a neighbouring gateway code, so that it never meets the Msg_Id of a submit."""
        self._next_ids(0, now_ms)
        self._deliver_sequence = (self._deliver_sequence + 1) & 0xFFFF
        return (self._id_base ^ 1 << 16) | self._deliver_sequence

    # --- handset ---

    def _reach_handset(
        self, pdu: p.Submit, recipient: str, msg_id: int, now: float, now_ms: int
    ) -> None:
        self._counters["received_parts"] += 1
        content = pdu.content
        concat = None
        if udh.flagged(pdu.udhi):
            try:
                concat, content = udh.strip(content, pdu.udhi)
            except Malformed:
                self._counters["malformed_udh"] += 1
        if concat is None:
            shown = text.decode(content, pdu.msg_fmt)
            self._write(
                recipient,
                pdu.src_id,
                content.hex() if shown is None else shown,
                1,
                msg_id,
                now_ms=now_ms,
            )
            return
        for joined in self._joiner.add(
            pdu.src_id, recipient, concat, pdu.msg_fmt, content, now=now, tag=msg_id
        ):
            self._journal_joined(joined, now_ms)

    def _journal_joined(self, joined: Joined, now_ms: int) -> None:
        first = joined.pieces[0].tag
        assert isinstance(first, int)
        missing = joined.total - len(joined.pieces)
        self._write(
            joined.destination,
            joined.source,
            joined.text,
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
        if now_ms // 1000 != self._second:
            self._next_ids(0, now_ms)
        entry: dict[str, object] = {
            "kind": "mt",
            "recipient": recipient,
            "sender": sender,
            "text": shown,
            "parts": parts,
            "id": f"{msg_id:016x}",
            "time": f"{self._stamp}.{now_ms % 1000:03}Z",
        }
        if missing:
            entry["missing"] = missing
        self._journal.append(entry)

    # --- report ---

    def _report(
        self,
        session: Session,
        pdu: p.Submit,
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
        version = session.link.version
        if faults.report_width:
            version = p.V30 if faults.report_width == 71 else p.V20
        minute = self._minute
        content = Report(msg_id, stat, minute, minute, recipient, msg_id & 0xFFFFFFFF).encode(
            version
        )
        deliver = p.Deliver(
            self._deliver_id(self._clock.now_ms()), pdu.src_id, recipient, content, 1, 0
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
