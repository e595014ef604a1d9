"""What masking hides and what it leaves."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgcenter.archive.content import content_of, mask
from protocols.payload import DeliveryReport, Notice, Text
from tests.records import envelope


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("您的验证码是123456，5分钟内有效", "您的验证码是******，5分钟内有效"),
        ("code 1234.", "code ****."),
        ("满100减50", "满100减50"),
        ("123", "123"),
        ("12 34 56", "********"),
        ("1-2-3-4", "*******"),
        ("１２３４５６", "******"),  # full width
        ("取件码A8K2P9请", "取件码******请"),
        ("取件码 12-3-4567", "取件码 *********"),
        ("hello world", "hello world"),
        ("5G套餐", "5G套餐"),
        ("123456abc", "*********"),
        ("call 13800138000 now", "call *********** now"),
        ("", ""),
    ],
)
def test_masking_table(text: str, masked: str) -> None:
    assert mask(text) == masked


@given(st.text(), st.text(alphabet="0123456789", min_size=4, max_size=12), st.text())
def test_no_run_of_four_digits_survives(before: str, code: str, after: str) -> None:
    import re

    hidden = mask(before + code + after)
    assert len(hidden) == len(before + code + after)
    assert not re.search(r"\d{4}", hidden)


def test_modes() -> None:
    message = envelope(payload=Text("码 123456"))
    assert content_of(message, "full") == {"type": "text", "text": "码 123456"}
    assert content_of(message, "masked") == {"type": "text", "text": "码 ******", "masked": True}
    assert content_of(message, "none") == {
        "type": "text",
        "length": 8,
        "sha256": hashlib.sha256("码 123456".encode()).hexdigest(),
    }


def test_other_payloads_hold_nothing_personal() -> None:
    report = envelope(payload=DeliveryReport("r", "delivered", "DELIVRD"))
    assert content_of(report, "full") == {"type": "report", "state": "delivered", "code": "DELIVRD"}
    notice = content_of(envelope(payload=Notice("e1", "t", '{"secret": 1}')), "full")
    assert notice == {"type": "notice", "event": "e1", "event_type": "t"}
