"""The status a set of records adds up to is the one State had at the end, in whatever order they are merged."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from msgcenter import status
from msgcenter.state import EVIDENCE, Evidence, Snapshot
from msgcenter.store.rows import MAX_DETAIL, merged, record_row, status_order
from protocols.envelope import Record
from protocols.outcome import Held, Outcome, Rejected, Retry, Routed, Sent, Suppressed, Unknown
from protocols.payload import DeliveryReport, Notice
from tests.records import T0, envelope, receipt, record


class Life:
    """A message's life as State sees it; each step makes the record that settle would write."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.view = "accepted"
        self.evidence: dict[tuple[int, int], dict[int, tuple[Evidence, str, int]]] = {}
        self.records: list[Record] = []
        self.now = T0

    @property
    def status(self) -> str:
        return status.derive(Snapshot(True, b"", self.view, self.evidence))

    def mark(self, step: int, attempt: int, evidence: Evidence) -> None:
        parts = self.evidence.setdefault((step, attempt), {})
        old = parts.get(0)
        if old is None or EVIDENCE.index(evidence) > EVIDENCE.index(old[0]):
            parts[0] = (evidence, "", 0)

    def _at(self) -> int:
        self.now += 10
        return self.now + self.rng.randint(-40, 40)  # the clocks of the processes differ

    def ran(self, outcome: Outcome, pipeline: str, view: str, step: int, attempt: int) -> None:
        self.view = view
        if isinstance(outcome, Sent):
            self.mark(step, attempt, "sent")
        if isinstance(outcome, Unknown):
            self.mark(step, attempt, "unknown")
        now = self.status
        made = record(
            outcome,
            of=envelope(step=step, attempt=attempt),
            pipeline=pipeline,
            status=now,
            at=self._at(),
            final=status.is_final(now, receipts=True),
        )
        self.records.append(made)

    def reported(self, state: Evidence, step: int, attempt: int) -> None:
        self.mark(step, attempt, state)
        now = self.status
        final = status.is_final(now, receipts=True)
        made = receipt(  # type: ignore[arg-type]
            state, step=step, attempt=attempt, status=now, at=self._at(), final=final
        )
        self.records.append(made)


def live(rng: random.Random) -> Life:
    """Steps that are refused, holds and retries in any number, then an end; receipts of the last pass."""
    life = Life(rng)
    step = attempt = 0
    while rng.random() < 0.7:
        match rng.randrange(4):
            case 0:
                life.ran(Held(T0, "quiet"), "submit", "held:quiet", step, attempt)
                attempt += 1
            case 1:
                life.ran(Routed(("sms",)), "submit", "queued", step, attempt)
                life.ran(Retry("channel", "busy"), "channel", "queued", step, attempt)
                attempt += 1
            case 2:
                life.ran(Rejected("recipient", "x", "blocked"), "channel", "queued", step, attempt)
                step, attempt = step + 1, 0
            case _:
                life.ran(Routed(("sms",)), "submit", "queued", step, attempt)
                life.ran(Held(T0, "quiet"), "channel", "held:quiet", step, attempt)
                attempt += 1
    life.ran(Routed(("sms",)), "submit", "queued", step, attempt)
    end = rng.randrange(6)
    if end == 0:
        life.ran(Rejected("message", "x", "bad"), "channel", "rejected:bad", step, attempt)
        return life
    if end == 1:
        life.ran(Suppressed("expired"), "channel", "expired:expired", step, attempt)
        return life
    if end == 2:  # unknown, sent again; the receipts then speak of the second
        life.ran(Unknown("timeout"), "channel", "sending", step, attempt)
        attempt += 1
    if end == 3:
        life.ran(Unknown("timeout"), "channel", "unknown:unknown", step, attempt)
    else:
        life.ran(Sent(("r",)), "channel", "sent", step, attempt)
    for state in rng.sample(["unknown", "undelivered", "delivered", "read"], rng.randrange(5)):
        life.reported(state, step, attempt)  # type: ignore[arg-type]
    return life


@pytest.mark.parametrize("seed", range(300))
def test_the_sum_of_the_records_is_what_state_said_last(seed: int) -> None:
    rng = random.Random(seed)
    life = live(rng)
    for _ in range(10):
        shuffled = rng.sample(life.records, len(life.records)) + rng.choices(life.records, k=2)
        (row,) = merged(shuffled, lambda _: "full")
        assert row["status"] == life.status
        assert row["final"] == status.is_final(life.status, receipts=True)


def test_receipt_before_the_pass_that_it_speaks_of() -> None:
    early = receipt("undelivered", status="undelivered", at=T0 - 5000, final=True)
    sent = record(Sent(("r",)), status="sent")
    assert status_order(early) > status_order(sent)
    delivered = receipt("delivered", final=True)
    later_step = record(Routed(()), of=envelope(step=3), pipeline="submit", status="queued")
    assert status_order(delivered) > status_order(later_step) > status_order(early)


def test_a_record_without_a_status_changes_none() -> None:
    (row,) = merged([record(Sent(), status="sent"), record(Sent(), at=T0 * 2)], lambda _: "full")
    assert row["status"] == "sent"


def test_reports_and_notices_are_no_messages() -> None:
    orphan = record(Sent(), of=envelope(payload=DeliveryReport("r", "delivered")))
    notice = record(Sent(), of=envelope(payload=Notice("e", "t", "{}")))
    assert merged([orphan, notice], lambda _: "full") == []


def test_a_long_detail_is_cut() -> None:
    row = record_row(record(Rejected("message", "x" * 9999, "bad")))
    assert len(row["detail"]) == MAX_DETAIL


def test_every_order_is_a_text_of_the_same_length() -> None:
    lengths = {
        len(status_order(replace(item, at=at)))
        for item in (record(Sent(), status="sent"), receipt("read", step=9999, attempt=999_999))
        for at in (0, T0, 10**15 - 1)
    }
    assert len(lengths) == 1


def test_a_reading_that_looks_again_is_no_message_yet() -> None:
    """It may turn out to be the copy of another; a send that is tried again is one all the same."""
    read = replace(envelope(), inbound=True)
    looks = record(Retry("message", "", 2.0, "copy_in_flight"), of=read, pipeline="inbound")
    assert merged([replace(looks, status="queued")], lambda _: "full") == []
    tried = record(Retry("message", "busy"), of=envelope(), pipeline="channel", status="queued")
    assert [row["status"] for row in merged([tried], lambda _: "full")] == ["queued"]
    passed = record(Routed(("crm",)), of=read, pipeline="inbound", status="received")
    [row] = merged([replace(looks, status="queued"), passed], lambda _: "full")
    assert (row["status"], row["known"]) == ("received", True)
