"""SMPP 3.4 as the simulated SMSC speaks it; data_coding 0 is GSM-7, unpacked."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from adapters.sim.smsc.dialects.contract import Results, Taken
from adapters.sim.smsc.options import Faults, Options
from protocols.smpp import content
from protocols.smpp import link as smpp
from protocols.smpp import pdu as p
from protocols.smpp.codec import encode
from protocols.smpp.receipt import WORDS, Receipt
from protocols.smpp.tags import MESSAGE_PAYLOAD, MESSAGE_STATE, RECEIPTED_MESSAGE_ID
from protocols.sms import coding, tlv
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.text import Part
from protocols.sms.tlv import Tlv
from protocols.sms.udh import Concat

_STATES = {word: state for state, word in WORDS.items()}


class Smpp:
    """Message ids are hexadecimal; receipts repeat them in decimal when the switch says so."""

    title = "SMPP 3.4"
    results = Results(p.RTHROTTLED, p.RINVMSGLEN, p.RINVSRCADR, p.RINVDSTADR, p.RBINDFAIL)
    id_wrap = 1 << 16

    def __init__(self, options: Options, faults: Faults) -> None:
        self._options = options
        self._faults = faults

    def link(self, now: float) -> Link:
        return smpp.Link(Role.SERVER, smpp.LinkOptions(**self._options.terms()), now)

    def caller(self, now: float) -> Link | None:
        return None

    def call(self, link: Link, now: float) -> None:
        raise AssertionError("this SMSC does not outbind")

    def delivers(self, link: Link) -> bool:
        return cast(smpp.Link, link).mode is not p.Mode.TRANSMITTER

    def login_status(self, login: object) -> int:
        bind = cast(p.Bind, login)
        if bind.system_id != self._options.account:
            return p.RINVSYSID
        return p.ROK if bind.password == self._options.secret else p.RINVPASWD

    def accept(self, link: Link, sequence: int) -> None:
        cast(smpp.Link, link).accept(sequence, "msgcenter-sim")

    def refuse(self, link: Link, sequence: int, status: int) -> None:
        cast(smpp.Link, link).refuse(sequence, status)

    def taken(self, pdu: object) -> Taken | None:
        if not isinstance(pdu, p.SubmitSm | p.DataSm):
            return None
        wanted = pdu.registered_delivery & 3
        octets = content.content_of(pdu)
        whole = tlv.find(pdu.tlvs, MESSAGE_PAYLOAD) is not None
        room = self._options.max_octets * (160 if pdu.data_coding == 0 else 140) // 140
        return Taken(
            (pdu.destination,),
            pdu.source,
            pdu.data_coding,
            octets,
            not whole and len(octets) > room,
            {p.RECEIPT_ALWAYS: "always", p.RECEIPT_ON_FAILURE: "failure"}.get(wanted, "never"),  # type: ignore[arg-type]
        )

    def number_ok(self, number: str) -> bool:
        return len(number) <= 20 and number.removeprefix("+").isdecimal()

    def part(self, pdu: object) -> tuple[Concat | None, bytes]:
        return content.part_of(cast(p.SubmitSm, pdu))

    def read(self, data: bytes, code: int) -> str | None:
        return content.read(data, code, coding.SMPP)

    def base(self, at: datetime) -> int:
        return int(f"{at:%m%d%H%M%S}") << 16

    def ids(self, base: int, first: int, count: int, sequence: int) -> list[int]:
        return [base | first]

    def delivery_id(self, base: int, number: int) -> int:
        return base | number

    def shown(self, msg_id: int) -> str:
        return f"{msg_id:x}"

    def answer(self, pdu: object, msg_id: int, result: int) -> object:
        kind = p.DataSmResp if isinstance(pdu, p.DataSm) else p.SubmitSmResp
        return kind(status=result) if result else kind(self.shown(msg_id))

    def report(
        self,
        link: Link,
        taken: Taken,
        recipient: str,
        msg_id: int,
        *,
        stat: str,
        minute: str,
        deliver_id: int,
    ) -> object:
        faults = self._faults
        shown = str(msg_id) if faults.decimal_receipts else self.shown(msg_id)
        err = "000" if stat == "DELIVRD" else "001"
        state = _STATES.get(stat)
        tlvs: tuple[Tlv, ...] = (Tlv(RECEIPTED_MESSAGE_ID, shown.encode() + b"\0"),)
        if state is not None:
            tlvs += (Tlv(MESSAGE_STATE, bytes((state,))),)
        return p.DeliverSm(
            recipient, taken.sender, Receipt(shown, stat, err, minute, minute).encode(),
            esm_class=p.ESM_RECEIPT, source_ton=1, source_npi=1, dest_ton=0, dest_npi=0,
            tlvs=() if faults.plain_receipts else tlvs,
        )  # fmt: skip

    def split(self, text: str, reference: int, wide: bool) -> tuple[int, list[Part]]:
        chosen = coding.measure(text, coding.SMPP, wide=wide).coding
        return chosen.code, coding.split(text, chosen, reference=reference, wide=wide)

    def mo(self, msg_id: int, sender: str, destination: str, code: int, part: Part) -> object:
        deliver = p.DeliverSm(
            sender, destination, part.content, code, p.ESM_UDHI if part.udhi else 0,
            source_ton=1, source_npi=1, dest_ton=0, dest_npi=0,
        )  # fmt: skip
        encode(deliver, 1)
        return deliver

    def verdict(self, answer: object) -> int | None:
        known = isinstance(answer, p.DeliverSmResp | p.DataSmResp | p.GenericNack)
        return answer.status if known else None  # type: ignore[attr-defined]

    def other(self, pdu: object, totals: dict[str, int]) -> object | None:
        """Everything is with the handset already."""
        match pdu:
            case p.QuerySm(message_id):
                return p.QuerySmResp(message_id, "", p.MessageState.DELIVERED)
            case p.CancelSm():
                return p.CancelSmResp(p.RCANCELFAIL)
            case p.ReplaceSm():
                return p.ReplaceSmResp(p.RREPLACEFAIL)
        return None
