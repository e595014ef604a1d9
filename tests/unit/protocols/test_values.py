"""Address, outcome and envelope: canonical texts, reason codes, ids and tokens that follow from a pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.address import MAX_VALUE, SCHEMES, Address
from protocols.envelope import Envelope, Key, hashed
from protocols.errors import Malformed
from protocols.outcome import (
    Held,
    Outcome,
    Rejected,
    Retry,
    Routed,
    Sent,
    Suppressed,
    Unknown,
    reason_of,
)
from protocols.payload import Text

ENVELOPE = Envelope("msg_1", "crm", Address("tel", "+8613800138000"), "code", 0, Text("hi"), 1)


@pytest.mark.parametrize(
    "text",
    [
        "tel:+8613800138000",
        "tel:+12345",
        "wecom:ww1/app2/wm3",
        "kf:wk1/wm2",
        "role:manager@grid-7",
        "group:群1",
        "customer:a:b",
        "staff:" + "x" * MAX_VALUE,
    ],
)
def test_an_address_reads_back_as_it_was_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "schemes"),
        ("13800138000", "schemes"),
        ("fax:+86138", "schemes"),
        ("TEL:+8613800138000", "schemes"),
        ("tel:", "1-256 characters"),
        ("tel:13800138000", "tel:\\+86"),
        ("tel:+0138", "tel:\\+86"),
        ("tel:+1234", "tel:\\+86"),
        ("tel:+" + "1" * 19, "tel:\\+86"),
        ("tel:+86138001380００", "tel:\\+86"),
        ("tel:+8613800138000\n", "blanks|1-256"),
        ("staff:a b", "without blanks"),
        ("staff:a\x00", "without blanks"),
        ("staff:" + "x" * (MAX_VALUE + 1), "1-256 characters"),
    ],
)
def test_a_faulty_address_is_refused_with_what_it_needs(text: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        Address.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_malformed(text: str) -> None:
    try:
        address = Address.parse(text)
    except Malformed:
        return
    assert str(address) == text
    assert address.scheme in SCHEMES


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Sent(("1",)), "sent"),
        (Routed(("x",)), "routed"),
        (Suppressed("opt_out"), "opt_out"),
        (Held(1, "quiet"), "quiet"),
        (Retry("message", "busy"), "retry"),
        (Retry("message", "busy", code="8"), "8"),
        (Unknown("?"), "unknown"),
        (Rejected("message", "d", "content"), "content"),
    ],
)
def test_every_outcome_has_a_reason_code(outcome: Outcome, reason: str) -> None:
    assert reason_of(outcome) == reason


@given(st.lists(st.text(max_size=5)), st.lists(st.text(max_size=5)))
def test_hashes_are_26_characters_and_tell_lists_apart(one: list[str], other: list[str]) -> None:
    assert len(hashed(*one)) == 26
    assert (hashed(*one) == hashed(*other)) == ("\x1f".join(one) == "\x1f".join(other))


def test_a_token_belongs_to_one_pass_unless_it_repeats_an_earlier_one() -> None:
    second = ENVELOPE.again(counts=True)
    repeat = ENVELOPE.again(counts=True, token_of=0)
    assert second.token() != ENVELOPE.token() == repeat.token()
    assert replace(ENVELOPE, step=1).token() != ENVELOPE.token()
    assert replace(ENVELOPE, channel="sms-east").token() == ENVELOPE.token()


def test_a_further_pass_has_a_key_of_its_own_and_counts_only_what_counts() -> None:
    free = ENVELOPE.again(counts=False)
    paid = free.again(counts=True, possibly_duplicate=True)
    assert (free.attempt, free.tries, free.possibly_duplicate) == (1, 0, False)
    assert (paid.attempt, paid.tries, paid.possibly_duplicate) == (2, 1, True)
    assert paid.again(counts=False).possibly_duplicate
    assert ENVELOPE.key("channel") == Key("msg_1", 0, 0, "channel")
    assert len({e.key("channel").derived("record") for e in (ENVELOPE, free, paid)}) == 3
    assert ENVELOPE.key("submit").derived("x") != ENVELOPE.key("channel").derived("x")
    assert replace(ENVELOPE, channel="other").key("channel") == ENVELOPE.key("channel")
