"""SMGP 3.0 as an SP speaks it (China Telecom): one connection for both directions, or one for each."""

from __future__ import annotations

from typing import Any, cast

from adapters.sms.dialects.contract import Again, Dialect, Said, Told, Use
from adapters.sms.settings import Endpoint
from protocols.smgp import link as smgp
from protocols.smgp import pdu as p
from protocols.smgp.report import parse_report
from protocols.smgp.results import CODES
from protocols.smgp.tags import PK_NUMBER, PK_TOTAL, TP_UDHI
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.text import Part
from protocols.sms.tlv import Tlv
from protocols.sms.udh import strip

_MODES: dict[Use, p.LoginMode] = {
    "both": p.LoginMode.BOTH,
    "send": p.LoginMode.SEND,
    "receive": p.LoginMode.RECEIVE,
}


class Smgp(Dialect):
    """MsgIDs are 20 hex digits."""

    codes = CODES

    def __init__(self, terms: Endpoint) -> None:
        super().__init__(terms)
        if terms.login == "pair":
            self.uses = ("send", "receive")

    def link(self, use: Use, now: float) -> Link:
        options: Any = self.terms_of_link()
        strict = self.terms.strict_auth
        return smgp.Link(Role.CLIENT, smgp.LinkOptions(strict_auth=strict, **options), now)

    def login(self, link: Link, use: Use, stamp: int, now: float) -> None:
        terms = self.terms
        client = cast(smgp.Link, link)
        client.login(terms.account, terms.secret.reveal(), stamp, now, _MODES[use])

    def submit(self, sender: str, code: int, part: Part) -> p.Submit:
        terms = self.terms
        tlvs: tuple[Tlv, ...] = ()
        if part.udhi:
            numbers = ((TP_UDHI, 1), (PK_TOTAL, part.total), (PK_NUMBER, part.number))
            tlvs = tuple([Tlv(tag, bytes((number,))) for tag, number in numbers])
        return p.Submit(
            recipients=("",),
            content=b"",
            source=sender,
            msg_format=code,
            service_id=terms.service_id,
            fee_type=terms.fee_type or "00",
            fee_code=terms.fee_code,
            tlvs=tlvs,
        )

    def answer(self, sequence: int, pdu: object) -> str | int | None:
        if type(pdu) is not p.SubmitResp:
            return None
        return pdu.status or pdu.msg_id

    def heard(self, sequence: int, pdu: object) -> Told | Said | None:
        if not isinstance(pdu, p.Deliver):
            return None
        if pdu.is_report:
            found = parse_report(pdu.content)
            code = found.stat if found.err in ("", "000") else f"{found.stat}/{found.err}"
            return Told(found.msg_id, found.state, code, found.done_time, pdu.source)
        concat, data = strip(pdu.content, pdu.udhi)
        return Said(pdu.source, pdu.destination, concat, data, pdu.msg_format, pdu.msg_id)

    def confirm(self, pdu: object, taken: bool) -> object:
        return p.DeliverResp(cast(p.Deliver, pdu).msg_id, p.OK if taken else p.BUSY)

    def again(self, status: int) -> Again:
        late = (p.BAD_SOURCE_IP, p.BAD_LOGIN, p.BAD_VERSION, 76)
        return "late" if status in late else "soon"
