"""One message on its way out: which parts are written, answered, refused, and the one outcome
that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from protocols.outcome import Outcome, Retry, Sent, Unknown
from protocols.sms.form import Filled
from protocols.sms.results import Codes, ResultClass

NOT_HANDED_OVER = "not_handed_over"
_FLOW = Retry("channel", "flow control", 0.0, "throttled")


class Batch:
    """Messages handed over together; `done` when each has its outcome."""

    __slots__ = ("done", "left")

    def __init__(self) -> None:
        self.left = 0
        """How many have none yet."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settled(self) -> None:
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Ready(NamedTuple):
    """A text as it goes out: its SUBMITs, one for each part, and how it was written and what it
    costs, as `Sent` says it.
    """

    submits: Sequence[Filled]
    detail: str


class Outgoing:
    """Parts are written in order; `settle` is called after every answer and sets `outcome` once
    nothing is in flight.

    The law: a part that was accepted leaves only Sent and Unknown; bytes written and not answered
    make Unknown. Parts are told by their number from 0, sets of them are bits.
    """

    # Of the class, for most messages never need them otherwise: making one is part of the hot path.
    todo = 1
    """Parts still to be written."""
    refused = 0
    """The first definite refusal, 0 = none."""
    waiting = 0
    """Parts refused by flow control."""
    lost = ""
    in_flight = 0
    written = False
    tries = 0
    queued = True
    outcome: Outcome | None = None
    accepted: Mapping[int, str] = MappingProxyType({})
    """The far end's id of each part, where there are several."""

    def __init__(self, index: int, recipient: str, ready: Ready, batch: Batch) -> None:
        self.index = index
        self.recipient = recipient
        self.ready = ready
        self.batch = batch
        parts = len(ready.submits)
        if parts > 1:
            self.todo = (1 << parts) - 1

    @property
    def stopped(self) -> bool:
        """Nothing more of it shall be written."""
        return bool(self.refused or self.lost or (self.waiting and not self.accepted))

    @property
    def given_back(self) -> bool:
        """Not a byte of it was written, and it may be sent elsewhere."""
        return isinstance(self.outcome, Retry) and self.outcome.code == NOT_HANDED_OVER

    def taken(self, part: int, remote_id: str) -> bool:
        """The usual answer: `part` was accepted. True when that settles a message of one part; else
        `settle` is to be called.
        """
        self.in_flight -= 1
        submits, detail = self.ready
        if len(submits) == 1 and not self.lost:
            self._settled(Sent((remote_id,), detail))
            return True
        self.accepted = {**self.accepted, part: remote_id}
        return False

    def refusal(
        self, part: int, code: int, codes: Codes, vendor: Mapping[int, ResultClass]
    ) -> bool:
        """The answer refuses `part`; True when it asks to slow down."""
        self.in_flight -= 1
        if codes.is_flow_control(code, vendor):
            self.waiting |= 1 << part
            return True
        self.refused = self.refused or code
        return False

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
                self.todo |= self.waiting
                self.waiting = 0
                return None
            self.lost = f"flow control, {tries} times over"
        if not self.stopped and self.todo:
            return None
        return self._settled(self._outcome(codes, vendor, after))

    def _settled(self, outcome: Outcome) -> Outcome:
        self.outcome = outcome
        self.batch.settled()
        return outcome

    def _outcome(self, codes: Codes, vendor: Mapping[int, ResultClass], after: float) -> Outcome:
        ids = tuple([self.accepted[part] for part in sorted(self.accepted)])
        if len(ids) == len(self.ready.submits):
            return Sent(ids, self.ready.detail)
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
        self._settled(Retry("channel", why, 0.0, NOT_HANDED_OVER))
        return True
