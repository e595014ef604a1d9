"""A form writes the octets that the codec writes, in both versions, and refuses what the codec refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.cmpp import pdu as p
from protocols.cmpp.encode import encode
from protocols.cmpp.form import Filled, Form

MODEL = p.Submit(
    ("",), b"", "", "901234", registered_delivery=1, msg_level=3, service_id="SVC1234567",
    fee_user_type=3, fee_terminal_id="1" * 21, tp_pid=7, fee_type="02", fee_code="000123",
    valid_time="260101120000032+", at_time="260101110000032+",
)  # fmt: skip


@pytest.mark.parametrize("version", [p.V20, p.V30])
@pytest.mark.parametrize("full", [False, True])
def test_it_writes_what_the_codec_writes(version: int, full: bool) -> None:
    model = replace(MODEL, link_id="L" * 8) if full else MODEL
    terminal = 32 if version == p.V30 else 21
    to, src = ("1" * terminal, "9" * 21) if full else ("13800138000", "")
    content = bytes(range(255)) if full else b""
    whole = replace(
        model, recipients=(to,), content=content, src_id=src, msg_fmt=8, udhi=1, pk_total=3,
        pk_number=2,
    )  # fmt: skip
    filled = Filled(Form(model), to, content, src, 8, 1, 3, 2)
    assert filled.form.write(filled, version == p.V30, 77) == encode(whole, version, 77)


@pytest.mark.parametrize(
    ("to", "content", "src", "words"),
    [
        ("1" * 22, b"", "", "every recipient holds at most 21"),
        ("1", bytes(256), "", "content holds at most 255"),
        ("1", b"", "9" * 22, "src_id holds at most 21"),
    ],
)
def test_what_does_not_fit_is_named(to: str, content: bytes, src: str, words: str) -> None:
    filled = Filled(Form(MODEL), to, content, src, 8, 0, 1, 1)
    with pytest.raises(ValueError, match=words):
        filled.form.write(filled, False, 1)
