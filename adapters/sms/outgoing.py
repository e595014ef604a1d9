"""One message on its way out: which parts are written, answered, refused, and the one outcome
that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from protocols.cmpp import pdu as p
from protocols.cmpp.results import ResultClass, is_flow_control, outcome_of
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown

NOT_HANDED_OVER = "not_handed_over"


class Batch:
    """The messages of one `deliver` call; `done` when each has its outcome."""

    __slots__ = ("done", "left", "messages")

    def __init__(self, messages: Sequence[Outgoing], loop: asyncio.AbstractEventLoop) -> None:
        self.messages = messages
        self.left = len(messages)
        self.done: asyncio.Future[None] = loop.create_future()
        for message in messages:
            message.batch = self

    def settled(self) -> None:
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Outgoing:
    """Parts are written in order; `step` is called after every answer and sets `outcome` once
    nothing is in flight.

    The law: a part that was accepted leaves only Sent and Unknown; bytes written and not answered
    make Unknown.
    """

    __slots__ = (
        "accepted", "batch", "in_flight", "index", "lost", "outcome", "queued", "refused",
        "submits", "todo", "tries", "waiting", "written",
    )  # fmt: skip

    def __init__(self, index: int, submits: Sequence[p.Submit]) -> None:
        self.index = index
        self.submits = submits
        self.todo = list(range(len(submits) - 1, -1, -1))  # next part last
        self.accepted: dict[int, int] = {}
        self.refused = 0
        """The first definite refusal, 0 = none."""
        self.waiting: list[int] = []
        """Parts refused by flow control."""
        self.lost = ""
        self.in_flight = 0
        self.written = False
        self.tries = 0
        self.queued = False
        self.outcome: Outcome | None = None
        self.batch: Batch | None = None

    @property
    def stopped(self) -> bool:
        """Nothing more of it shall be written."""
        return bool(self.refused or self.lost or (self.waiting and not self.accepted))

    @property
    def given_back(self) -> bool:
        """Not a byte of it was written, and it may be sent elsewhere."""
        return isinstance(self.outcome, Retry) and self.outcome.code == NOT_HANDED_OVER

    def answered(self, part: int, answer: p.SubmitResp, vendor: Mapping[int, ResultClass]) -> bool:
        """Take one SUBMIT_RESP; True when it asked to slow down."""
        self.in_flight -= 1
        if answer.result == p.RESULT_OK:
            self.accepted[part] = answer.msg_id
            return False
        if is_flow_control(answer.result, vendor):
            self.waiting.append(part)
            return True
        self.refused = self.refused or answer.result
        return False

    def unanswered(self, why: str) -> None:
        """An answer will not come: the part may have been taken."""
        self.in_flight -= 1
        self.lost = self.lost or why

    def settle(self, vendor: Mapping[int, ResultClass], after: float, tries: int) -> Outcome | None:
        """The outcome, if it is clear by now; None while parts are in flight or still to be
        written.

        Parts under flow control go back to `todo` once another part was accepted, `tries` times.
        """
        if self.outcome is not None or self.in_flight:
            return None
        if self.waiting and self.accepted and not self.refused and not self.lost:
            if self.tries < tries:
                self.tries += 1
                self.todo += sorted(self.waiting, reverse=True)
                self.waiting.clear()
                return None
            self.lost = f"flow control, {tries} times over"
        if not self.stopped and self.todo:
            return None
        self.outcome = self._outcome(vendor, after)
        if self.batch is not None:
            self.batch.settled()
        return self.outcome

    def _outcome(self, vendor: Mapping[int, ResultClass], after: float) -> Outcome:
        ids = tuple([f"{self.accepted[part]:016x}" for part in sorted(self.accepted)])
        if len(self.accepted) == len(self.submits):
            return Sent(ids)
        if self.lost:
            if ids or self.written:
                return Unknown(self.lost, ids)
            return Retry("channel", self.lost, 0.0, NOT_HANDED_OVER)
        result = self.refused or p.RESULT_FLOW
        if ids:
            refusal = f"part refused with result {result} after others were accepted"
            return Unknown(refusal, ids)
        return outcome_of(result, vendor, after)

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
