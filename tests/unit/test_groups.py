"""The group state machine: every way through it is a documented one, the end is the end, and repeats change nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgcenter.groups import (
    EVENTS,
    LAPSED,
    TABLE,
    UNDONE,
    Event,
    after_command,
    after_happening,
    asks,
    body_of,
    starts,
    step,
    unasked,
)
from msgcenter.store import GROUP_STATES, Asked, GroupRow, Seal
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.outcome import Outcome, Rejected, Retry, Routed, Sent, Suppressed, Unknown
from protocols.payload import CreateGroup, DissolveGroup, Happening, Payload, UpdateGroup
from tests.records import envelope, record

ROW = GroupRow("grp_1", "crm", "g", "li", ("li", "wang"), "devnull", "nowhere")
RANK = {"creating": 0, "failed": 1, "uncertain": 1, "active": 2, "dissolving": 3, "dissolved": 4}
BACK = {
    ("dissolving", "undo", "active"),
    ("dissolving", "kept", "active"),
    ("dissolving", "dissolve_lost", "uncertain"),
}
DISSOLVE = "msg_dissolve"


def test_the_only_ways_back_are_the_documented_ones() -> None:
    back = {
        (state, event, after)
        for (state, event), after in TABLE.items()
        if RANK[after] < RANK[state]
        or (RANK[after] == RANK[state] and (state, after) != ("uncertain", "failed"))
    }
    assert back == BACK
    assert not [pair for pair in TABLE if pair[0] == "dissolved"]


@given(st.lists(st.sampled_from(EVENTS), max_size=30), st.booleans())
def test_any_course_of_events_stays_on_the_ways_of_the_table(
    events: list[Event], named: bool
) -> None:
    row = replace(ROW, chat="c" if named else "")
    for at, event in enumerate(events, 1):
        before, row = row, step(row, event, at, chat="c1" if event == "created" else "")
        assert row.state in GROUP_STATES
        if row.state != before.state:
            assert TABLE[before.state, event] == row.state
            assert row.since == at
        if before.chat:
            assert row.chat == before.chat
        if row.state == "dissolving":
            assert row.chat
        again = step(row, event, at + 100)
        if event not in ("dissolve", "undo"):
            assert again.state == row.state, "a repeat changes nothing"
        if before.state == "dissolved":
            assert row == before


ASKED = Asked("crm/a", 100, 60.0)
SEAL = Seal("seal_1", 100, 0, 0, 0, "")


def test_a_dissolution_is_asked_for_once_and_its_traces_go_with_it() -> None:
    row = replace(ROW, state="active", chat="c1")
    asked = asks(row, ASKED, "msg_d")
    assert (asked.state, asked.unapproved_since, asked.command) == ("active", 100, "msg_d")
    assert asks(asked, replace(ASKED, by="crm/b", at=200), "msg_e") == asked
    assert asks(replace(row, chat=""), ASKED, "msg_d").asked is None
    assert unasked(asked, 150, LAPSED) == replace(row, command="msg_d", code=LAPSED, updated_at=150)
    begun = starts(asked, replace(ASKED, approved_by="crm/b"), "msg_d", SEAL, 200)
    assert (begun.state, begun.undo_until, begun.unapproved_since) == ("dissolving", 60_200, 0)
    assert starts(begun, ASKED, "msg_x", SEAL, 300) == begun
    undone = step(begun, "undo", 300)
    assert (undone.asked, undone.seal) == (None, None)
    for event in ("gone", "dissolve_lost"):
        ended = step(begun, event, 300)
        assert (ended.asked, ended.seal) == (begun.asked, SEAL)
    gone = step(asked, "gone", 300)
    assert (gone.state, gone.unapproved_since) == ("dissolved", 0)


def told(payload: Payload, outcome: Outcome, status: str, message: str = "msg_1") -> Record:
    return record(
        outcome,
        of=envelope(
            message,
            to=Address("group", "grp_1"),
            payload=payload,
            category="command",
            channels=("devnull",),
        ),
        status=status,
    )


CREATE = CreateGroup("grp_1", "g", "li", ("li", "wang"))
UPDATE = UpdateGroup("grp_1", "new", "", ("zhao",), ("wang",))
END = DissolveGroup("grp_1")
COMMANDS: list[tuple[str, Payload, Outcome, str, str, str]] = [
    ("creating", CREATE, Sent(("c1",)), "sent", "active", ""),
    ("creating", CREATE, Routed(("nowhere",)), "sent", "creating", ""),
    ("creating", CREATE, Retry("channel", "x"), "queued", "creating", ""),
    ("creating", CREATE, Unknown("x"), "sending", "creating", ""),
    ("creating", CREATE, Unknown("x"), "unknown", "uncertain", "unknown"),
    ("creating", CREATE, Rejected("account", "x", "48002"), "rejected", "failed", "48002"),
    ("creating", CREATE, Rejected("account", "x", "y"), "unknown", "uncertain", "unknown"),
    ("creating", CREATE, Suppressed("expired"), "expired", "failed", "expired"),
    ("failed", CREATE, Sent(("c1",)), "sent", "active", ""),
    ("dissolved", CREATE, Sent(("c1",)), "sent", "dissolved", ""),
    ("active", UPDATE, Sent(()), "sent", "active", ""),
    ("active", UPDATE, Rejected("message", "x", "86006"), "rejected", "active", "update_86006"),
    ("dissolving", END, Sent(()), "sent", "dissolved", ""),
    ("dissolving", END, Unknown("x"), "unknown", "uncertain", "unknown"),
    ("dissolving", END, Rejected("account", "x", "86008"), "rejected", "active", "dissolve_86008"),
    ("active", END, Suppressed(UNDONE), "suppressed", "active", ""),
]


@pytest.mark.parametrize(("state", "payload", "outcome", "status", "after", "code"), COMMANDS)
def test_what_the_record_of_a_command_does(
    state: str, payload: Payload, outcome: Outcome, status: str, after: str, code: str
) -> None:
    row = replace(ROW, state=state, command=DISSOLVE, chat="" if payload is CREATE else "c1")
    one = told(payload, outcome, status, DISSOLVE if payload is END else "msg_1")
    done = after_command(row, one)
    assert (done.state, done.code) == (after, code)
    assert after_command(done, one) == done
    if payload is CREATE and after == "active":
        assert done.chat == "c1"
    if payload is UPDATE and isinstance(outcome, Sent):
        assert (done.name, done.members) == ("new", ("li", "zhao"))


def test_an_earlier_dissolution_that_was_undone_does_not_touch_the_next_one() -> None:
    row = replace(ROW, state="dissolving", chat="c1", command="msg_second")
    late = told(END, Suppressed(UNDONE), "suppressed", "msg_first")
    assert after_command(row, late) == row


def test_what_the_far_end_tells_describes_the_group() -> None:
    body = {"chat": "c1", "name": "新名", "members": ["a", "b", "a"], "owner": 7}
    row = after_happening(replace(ROW, state="uncertain", since=50), "group_updated", body, 40)
    assert (row.state, row.chat, row.name, row.members) == ("uncertain", "", "新名", ("a", "b"))
    row = after_happening(row, "group_member_changed", {"chat": "c1", "remove": ["a"]}, 60)
    assert (row.state, row.chat, row.owner, row.members) == ("active", "c1", "li", ("b",))
    gone = after_happening(row, "group_dismissed", {"chat": "c1"}, 70)
    assert gone.state == "dissolved"
    assert after_happening(gone, "group_updated", body, 80) == gone


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chat": 7}', '{"chat": ""}', "{"])
def test_a_body_that_names_no_chat_is_nothing(text: str) -> None:
    assert body_of(Happening("group_updated", text)) is None


def test_other_happenings_are_nothing_to_a_group() -> None:
    assert body_of(Happening("customer_added", json.dumps({"chat": "c"}))) is None
    assert body_of(Happening("group_created", json.dumps({"chat": "c"}))) == {"chat": "c"}
    assert isinstance(envelope(), Envelope)
