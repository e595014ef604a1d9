"""What an SMPP message carries, wherever it stands: short_message or message_payload, behind a
header or segmented by sar_*; and the three ways to send a text that does not fit one message.

Source: SMPP 3.4, 5.2.12, 5.2.19, 5.3.2.22 to 5.3.2.24 and 5.3.2.32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from protocols.smpp import pdu as p
from protocols.smpp.tags import (
    MESSAGE_PAYLOAD,
    SAR_MSG_REF_NUM,
    SAR_SEGMENT_SEQNUM,
    SAR_TOTAL_SEGMENTS,
)
from protocols.sms import tlv, udh
from protocols.sms.coding import UCS2, Coding, split
from protocols.sms.tlv import Tlv
from protocols.sms.udh import Concat

#: How a long text travels: parts behind a header (most portable), parts with sar_* parameters, or
#: whole in message_payload, which the SMSC splits.
Long = Literal["udh", "sar", "payload"]


def content_of(pdu: p.ShortMessage | p.DataSm) -> bytes:
    """The octets of the message; message_payload counts only where short_message is empty."""
    short = pdu.short_message if isinstance(pdu, p.ShortMessage) else b""
    return short or tlv.find(pdu.tlvs, MESSAGE_PAYLOAD) or b""


def part_of(pdu: p.ShortMessage | p.DataSm) -> tuple[Concat | None, bytes]:
    """Which part of a long message this is, if it is one, and its user data without header. Raises
    Malformed for a header that passes the end.
    """
    content = content_of(pdu)
    if pdu.esm_class & p.ESM_UDHI:
        return udh.strip(content, 1)
    reference = tlv.number(pdu.tlvs, SAR_MSG_REF_NUM)
    total = tlv.number(pdu.tlvs, SAR_TOTAL_SEGMENTS)
    number = tlv.number(pdu.tlvs, SAR_SEGMENT_SEQNUM)
    if reference is None or not total or not number or number > total:
        return None, content
    return Concat(reference, total, number, wide=True), content


def submits(
    base: p.SubmitSm, text: str, coding: Coding, *, how: Long = "udh", reference: int = 0,
    wide: bool = False,
) -> list[p.SubmitSm]:  # fmt: skip
    """The submit_sm of a text: `base` with content, data_coding and what `how` adds.

    Parts of `sar` are as long as those behind a 16-bit reference, for the SMSC makes such headers of
    them. Raises TooLong above 255 parts and UnicodeEncodeError for a character the coding does not
    have.
    """
    base = replace(base, data_coding=coding.code)
    if how == "payload":
        data = coding.alphabet.write(text)
        if len(data) <= coding.limits.single:
            return [replace(base, short_message=data)]
        payload = Tlv(MESSAGE_PAYLOAD, data)
        return [replace(base, short_message=b"", tlvs=(*base.tlvs, payload))]
    wide = wide or how == "sar"
    parts = split(text, coding, reference=reference, wide=wide)
    if len(parts) == 1:
        return [replace(base, short_message=parts[0].content)]
    if how == "udh":
        esm = base.esm_class | p.ESM_UDHI
        return [replace(base, short_message=part.content, esm_class=esm) for part in parts]
    out = []
    for part in parts:
        sar = (
            Tlv(SAR_MSG_REF_NUM, (reference & 0xFFFF).to_bytes(2, "big")),
            Tlv(SAR_TOTAL_SEGMENTS, bytes((part.total,))),
            Tlv(SAR_SEGMENT_SEQNUM, bytes((part.number,))),
        )
        _, data = udh.strip(part.content, 1)
        out.append(replace(base, short_message=data, tlvs=(*base.tlvs, *sar)))
    return out


def read(content: bytes, data_coding: int, codings: Sequence[Coding]) -> str | None:
    """Text of user data by any data_coding, those of GSM 03.38 groups too; None for what is not
    text. Data_coding 0 and whatever stands for the default alphabet is the first of `codings`.
    """
    for coding in codings:
        if coding.code == data_coding:
            return coding.alphabet.read(content)
    if data_coding == 1:
        return content.decode("ascii", "replace")
    if data_coding == 3:
        return content.decode("latin-1")
    default = codings[0].alphabet
    if 0xC0 <= data_coding <= 0xDF or (data_coding >= 0xF0 and not data_coding & 0x04):
        return default.read(content)
    if 0xE0 <= data_coding <= 0xEF or data_coding == 8:
        return UCS2.read(content)
    return None
