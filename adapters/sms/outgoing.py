"""One message on its way out: which parts are written, answered, refused, and the one outcome
that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from adapters.sms.dialects import Answer
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown
from protocols.sms.results import Codes, ResultClass

NOT_HANDED_OVER = "not_handed_over"
_FLOW = Retry("channel", "flow control", 0.0, "throttled")


class Batch:
    """Messages given to one connection together; `done` when each has its outcome."""

    __slots__ = ("done", "left", "messages")

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        self.messages = messages
        self.left = len(messages)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for message in messages:
            message.batch = self

    def settled(self) -> None:
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Outgoing:
    """Parts are written in order; `settle` is called after every answer and sets `outcome` once
    nothing is in flight.

    The law: a part that was accepted leaves only Sent and Unknown; bytes written and not answered
    make Unknown.
    """

    # Of the class, for most messages never need them otherwise: making one is part of the hot path.
    refused = 0
    """The first definite refusal, 0 = none."""
    waiting: tuple[int, ...] = ()
    """Parts refused by flow control."""
    lost = ""
    in_flight = 0
    written = False
    tries = 0
    queued = False
    outcome: Outcome | None = None
    batch: Batch | None = None

    def __init__(self, index: int, submits: Sequence[object], detail: str = "") -> None:
        self.index = index
        self.submits = submits
        self.detail = detail
        """What `Sent` says: how it was written, what it costs."""
        self.todo = (
            [*range(len(submits) - 1, -1, -1)] if len(submits) > 1 else [0]
        )  # next part last
        self.accepted: dict[int, str] = {}

    @property
    def stopped(self) -> bool:
        """Nothing more of it shall be written."""
        return bool(self.refused or self.lost or (self.waiting and not self.accepted))

    @property
    def given_back(self) -> bool:
        """Not a byte of it was written, and it may be sent elsewhere."""
        return isinstance(self.outcome, Retry) and self.outcome.code == NOT_HANDED_OVER

    def answered(
        self, part: int, answer: Answer, codes: Codes, vendor: Mapping[int, ResultClass]
    ) -> bool:
        """Take the answer to one part; True when it asked to slow down."""
        self.in_flight -= 1
        if not answer.code:
            self.accepted[part] = answer.remote_id
            return False
        if codes.is_flow_control(answer.code, vendor):
            self.waiting += (part,)
            return True
        self.refused = self.refused or answer.code
        return False

    def taken(self, part: int, remote_id: str) -> bool:
        """The usual answer: `part` was accepted. True when that settles a message that is one part
        and nothing else has happened to; else `settle` is to be called.
        """
        self.in_flight -= 1
        self.accepted[part] = remote_id
        if len(self.submits) > 1 or self.outcome is not None or self.lost:
            return False
        self.outcome = Sent((remote_id,), self.detail)
        if self.batch is not None:
            self.batch.settled()
        return True

    def unanswered(self, why: str) -> None:
        """An answer will not come: the part may have been taken."""
        self.in_flight -= 1
        self.lost = self.lost or why

    def settle(
        self, codes: Codes, vendor: Mapping[int, ResultClass], after: float, tries: int
    ) -> Outcome | None:
        """The outcome, if it is clear by now; None while parts are in flight or still to be
        written.

        Parts under flow control go back to `todo` once another part was accepted, `tries` times.
        """
        if self.outcome is not None or self.in_flight:
            return None
        if self.waiting and self.accepted and not self.refused and not self.lost:
            if self.tries < tries:
                self.tries += 1
                self.todo += self.waiting
                self.todo.sort(reverse=True)
                self.waiting = ()
                return None
            self.lost = f"flow control, {tries} times over"
        if not self.stopped and self.todo:
            return None
        self.outcome = self._outcome(codes, vendor, after)
        if self.batch is not None:
            self.batch.settled()
        return self.outcome

    def _outcome(self, codes: Codes, vendor: Mapping[int, ResultClass], after: float) -> Outcome:
        accepted = self.accepted
        if len(accepted) == len(self.submits):
            if len(accepted) == 1:
                return Sent((accepted[0],), self.detail)
            return Sent(tuple([accepted[part] for part in sorted(accepted)]), self.detail)
        ids = tuple([accepted[part] for part in sorted(accepted)])
        if self.lost:
            if ids or self.written:
                return Unknown(self.lost, ids)
            return Retry("channel", self.lost, 0.0, NOT_HANDED_OVER)
        if ids:
            refusal = f"part refused with result {self.refused} after others were accepted"
            return Unknown(refusal, ids)
        if self.refused:
            return codes.outcome_of(self.refused, vendor, after)
        return Retry(_FLOW.scope, f"{codes.label}: {_FLOW.detail}", after, _FLOW.code)

    def give_back(self, why: str) -> bool:
        """Not a byte of it was written, and none shall be. False when that is no longer true."""
        if self.written or self.outcome is not None:
            return False
        self.outcome = Retry("channel", why, 0.0, NOT_HANDED_OVER)
        if self.batch is not None:
            self.batch.settled()
        return True

    def unwritable(self, error: Exception) -> None:
        """A field does not fit the PDU: a fault of this message alone."""
        self.lost = f"part not written: {error}" if self.written else self.lost
        self.todo.clear()
        if not self.written:
            self.outcome = Rejected("message", str(error)[:200], "malformed")
            if self.batch is not None:
                self.batch.settled()
