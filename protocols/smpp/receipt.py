"""Delivery receipts of SMPP: optional parameters where the SMSC sends them, else its text; and the
two bases in which SMSCs write message ids.

Source: SMPP 3.4, 5.2.12 (esm_class), 5.3.2.12, 5.3.2.35 and appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.payload import ReportState
from protocols.smpp import pdu as p
from protocols.smpp.content import content_of
from protocols.smpp.tags import MESSAGE_STATE, RECEIPTED_MESSAGE_ID
from protocols.sms import receipts, tlv
from protocols.sms.results import state_of

#: message_state as the word a receipt's text has for it.
WORDS = {
    p.MessageState.ENROUTE: "ENROUTE",
    p.MessageState.DELIVERED: "DELIVRD",
    p.MessageState.EXPIRED: "EXPIRED",
    p.MessageState.DELETED: "DELETED",
    p.MessageState.UNDELIVERABLE: "UNDELIV",
    p.MessageState.ACCEPTED: "ACCEPTD",
    p.MessageState.UNKNOWN: "UNKNOWN",
    p.MessageState.REJECTED: "REJECTD",
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one message. `stat` as sent (`DELIVRD`, …), `err` the SMSC's own code, times
    YYMMDDhhmm or empty.
    """

    message_id: str
    stat: str
    err: str = ""
    submit_time: str = ""
    done_time: str = ""
    text: str = ""

    @property
    def state(self) -> ReportState | None:
        """None: not final, to be ignored."""
        return state_of(self.stat)

    def encode(self) -> bytes:
        """The common form of the text, with one message submitted."""
        delivered = 1 if self.stat == "DELIVRD" else 0
        return (
            f"id:{self.message_id} sub:001 dlvrd:{delivered:03} submit date:{self.submit_time} "
            f"done date:{self.done_time} stat:{self.stat} err:{self.err or '000'} text:{self.text[:20]}"
        ).encode("latin-1", "replace")


def is_receipt(pdu: p.DeliverSm | p.DataSm) -> bool:
    """Whether esm_class says so: final (0x04) or intermediate (0x20)."""
    return pdu.esm_class & p.ESM_TYPE in (p.ESM_RECEIPT, p.ESM_INTERMEDIATE)


def parse_receipt(pdu: p.DeliverSm | p.DataSm) -> Receipt:
    """Read a receipt; optional parameters win over the text. What neither tells is empty."""
    found = receipts.parse(content_of(pdu).decode("latin-1"))
    message_id = tlv.text(pdu.tlvs, RECEIPTED_MESSAGE_ID) or found.get("id", "")
    state = tlv.number(pdu.tlvs, MESSAGE_STATE)
    stat = found.get("stat", "")
    if state is not None and state in WORDS:
        stat = WORDS[p.MessageState(state)]
    return Receipt(
        message_id,
        stat,
        found.get("err", ""),
        receipts.stamp(found.get("submit", "")),
        receipts.stamp(found.get("done", "")),
        found.get("text", ""),
    )


def plain(message_id: str) -> str:
    """An id as it can be compared: lower case, without blanks and leading zeros."""
    return message_id.strip().lower().lstrip("0") or "0"


def same_id(message_id: str) -> tuple[str, ...]:
    """The forms under which an id may come back: as it is (lower case, no leading zeros), and, when
    it is a number, in the other base; the first is the one to keep.
    """
    own = plain(message_id)
    forms = [own]
    if own.isascii() and own.isdecimal() and len(own) <= 20:
        forms.append(f"{int(own):x}")
    if len(own) <= 16 and not set(own) - set("0123456789abcdef"):
        forms.append(str(int(own, 16)))
    return tuple(dict.fromkeys(forms))
