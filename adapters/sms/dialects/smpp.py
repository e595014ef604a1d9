"""SMPP 3.4 as an ESME speaks it: one transceiver, or a transmitter and a receiver for each
connection.
"""

from __future__ import annotations

from typing import Any, cast

from adapters.sms.dialects.contract import ALONE, Again, Dialect, Said, Told, Use, Written
from adapters.sms.settings import Endpoint
from protocols.smpp import content, receipt
from protocols.smpp import link as smpp
from protocols.smpp import pdu as p
from protocols.smpp.codec import optional
from protocols.smpp.results import CODES
from protocols.smpp.tags import (
    MESSAGE_PAYLOAD,
    SAR_MSG_REF_NUM,
    SAR_SEGMENT_SEQNUM,
    SAR_TOTAL_SEGMENTS,
)
from protocols.sms import coding, udh
from protocols.sms.form import Filled
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.text import Part
from protocols.sms.tlv import Tlv

_INTERNATIONAL = 1
_MODES: dict[Use, p.Mode] = {
    "both": p.Mode.TRANSCEIVER,
    "send": p.Mode.TRANSMITTER,
    "receive": p.Mode.RECEIVER,
}
_ALPHABETS = {"gsm7": coding.GSM7, "latin1": coding.LATIN1, "ascii": coding.ASCII}


class Smpp(Dialect):
    """Ids are lower case without leading zeros, in the base of the SMSC's answers.

    Messages from phones have no id of their own.
    """

    codes = CODES
    country_prefix = True

    def __init__(self, terms: Endpoint) -> None:
        super().__init__(terms)
        self.codings = coding.smpp(_ALPHABETS[terms.smpp.default_alphabet])
        if terms.login == "pair":
            self.uses = ("send", "receive")
        self.wide = terms.smpp.long == "sar"
        if terms.smpp.dest_ton == _INTERNATIONAL:
            self.abroad = ""

    def link(self, use: Use, now: float) -> Link:
        options: Any = self.terms_of_link()
        return smpp.Link(Role.CLIENT, smpp.LinkOptions(**options), now)

    def login(self, link: Link, use: Use, stamp: int, now: float) -> None:
        terms = self.terms
        bind = p.Bind(_MODES[use], terms.account, terms.secret.reveal(), terms.smpp.system_type)
        cast(smpp.Link, link).login(bind, now)

    def submit(self, sender: str, code: int, part: Part) -> p.SubmitSm:
        own = self.terms.smpp
        return p.SubmitSm(
            sender, "", b"", code, p.ESM_UDHI if part.udhi else 0,
            service_type=self.terms.service_id, source_ton=own.source_ton,
            source_npi=own.source_npi, dest_ton=own.dest_ton, dest_npi=own.dest_npi,
            registered_delivery=p.RECEIPT_ALWAYS,
        )  # fmt: skip

    def submits(self, link: Link, written: Written) -> list[Filled]:
        sender, digits, text, coding, parts = written
        long = self.terms.smpp.long
        if long == "udh":
            return super().submits(link, written)
        # Both other ways say in optional parameters what the first says in a header.
        form = self.form(link, sender, digits, coding.code, ALONE)
        if long == "payload":
            payload = Tlv(MESSAGE_PAYLOAD, coding.alphabet.write(text))
            return [form.fill(b"", optional((payload,)))]
        out = []
        for part in parts:
            concat, octets = udh.strip(part.content, part.udhi)
            assert concat is not None
            segment = (
                Tlv(SAR_MSG_REF_NUM, concat.reference.to_bytes(2, "big")),
                Tlv(SAR_TOTAL_SEGMENTS, bytes((part.total,))),
                Tlv(SAR_SEGMENT_SEQNUM, bytes((part.number,))),
            )
            out.append(form.fill(octets, optional(segment)))
        return out

    def answer(self, sequence: int, pdu: object) -> str | int | None:
        if type(pdu) is p.SubmitSmResp:
            return pdu.status or receipt.plain(pdu.message_id)
        return pdu.status or p.RSYSERR if isinstance(pdu, p.GenericNack) else None

    def heard(self, sequence: int, pdu: object) -> Told | Said | None:
        if not isinstance(pdu, p.DeliverSm | p.DataSm):
            return None
        if receipt.is_receipt(pdu):
            found = receipt.parse_receipt(pdu)
            return Told(
                self._told_id(found.message_id),
                None if pdu.esm_class & p.ESM_TYPE == p.ESM_INTERMEDIATE else found.state,
                found.stat,
                found.done_time,
                _source(pdu),
            )
        concat, data = content.part_of(pdu)
        return Said(_source(pdu), pdu.destination, concat, data, pdu.data_coding, "")

    def _told_id(self, message_id: str) -> str:
        """The id as the answer to the submit had it."""
        plain = receipt.plain(message_id)
        try:
            match self.terms.smpp.receipt_ids:
                case "decimal":
                    return f"{int(plain, 10):x}"
                case "hex":
                    return str(int(plain, 16))
        except ValueError:
            pass  # no number at all: it is as it is
        return plain

    def confirm(self, pdu: object, taken: bool) -> object:
        kind = p.DataSmResp if isinstance(pdu, p.DataSm) else p.DeliverSmResp
        return kind(status=p.ROK if taken else p.RX_T_APPN)

    def again(self, status: int) -> Again:
        late = (p.RINVPASWD, p.RINVSYSID, p.RINVSYSTYP)
        return "late" if status in late else "soon"

    def read(self, data: bytes, code: int) -> str | None:
        return content.read(data, code, self.codings)


def _source(pdu: p.DeliverSm | p.DataSm) -> str:
    """The phone, with + where the SMSC says that the number is international and it looks so."""
    known = pdu.source_ton == _INTERNATIONAL and len(pdu.source) > 11
    return "+" + pdu.source.lstrip("+") if known else pdu.source
