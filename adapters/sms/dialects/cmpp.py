"""CMPP 2.0 and 3.0 as an SP speaks it (China Mobile)."""

from __future__ import annotations

from typing import Any, cast

from adapters.sms.dialects.contract import Again, Dialect, Said, Told, Use
from adapters.sms.settings import Endpoint
from protocols.cmpp import link as cmpp
from protocols.cmpp import pdu as p
from protocols.cmpp.msgid import to_hex
from protocols.cmpp.report import parse_report
from protocols.cmpp.results import CODES, state_of
from protocols.cmpp.terms import LinkOptions, Role
from protocols.sms import text
from protocols.sms.coding import ASCII, UCS2, Coding
from protocols.sms.link import Link
from protocols.sms.text import Part
from protocols.sms.udh import strip


class Cmpp(Dialect):
    """Msg_Ids are 16 hex digits. A gateway that finds the version too high is spoken to in 2.0."""

    codes = CODES

    def __init__(self, terms: Endpoint) -> None:
        super().__init__(terms)
        self._version = p.V30 if terms.protocol == "cmpp3" else p.V20
        if terms.ascii_septets:
            self.codings = (
                Coding(ASCII, text.ASCII, text.SEPTETS),
                Coding(UCS2, text.UCS2, text.LIMITS[text.UCS2]),
            )

    def link(self, use: Use, now: float) -> Link:
        options: Any = self.terms_of_link()
        strict = self.terms.strict_auth
        return cmpp.Link(
            Role.CLIENT, LinkOptions(version=self._version, strict_auth=strict, **options), now
        )

    def login(self, link: Link, use: Use, stamp: int, now: float) -> None:
        terms = self.terms
        cast(cmpp.Link, link).login(terms.account, terms.secret.reveal(), stamp, now)

    def submit(self, sender: str, code: int, part: Part) -> p.Submit:
        terms = self.terms
        return p.Submit(
            ("",), b"", sender, terms.account, code, part.udhi, part.total, part.number,
            service_id=terms.service_id, fee_user_type=terms.fee_user_type,
            fee_type=terms.fee_type or "01", fee_code=terms.fee_code,
        )  # fmt: skip

    def answer(self, sequence: int, pdu: object) -> str | int | None:
        if type(pdu) is not p.SubmitResp:
            return None
        return pdu.result or to_hex(pdu.msg_id)

    def heard(self, sequence: int, pdu: object) -> Told | Said | None:
        if not isinstance(pdu, p.Deliver):
            return None
        if pdu.registered_delivery:
            found = parse_report(pdu.content)
            return Told(
                to_hex(found.msg_id),
                state_of(found.stat),
                found.stat,
                found.done_time,
                found.recipient or pdu.source,
            )
        concat, data = strip(pdu.content, pdu.udhi)
        return Said(pdu.source, pdu.dest_id, concat, data, pdu.msg_fmt, to_hex(pdu.msg_id))

    def confirm(self, pdu: object, taken: bool) -> object:
        msg_id = cast(p.Deliver, pdu).msg_id
        return p.DeliverResp(msg_id, p.RESULT_OK if taken else p.RESULT_FLOW)

    def again(self, status: int) -> Again:
        if status == p.STATUS_VERSION and self._version == p.V30:
            self._version = p.V20
            return "now"
        return "late" if status in (p.STATUS_SOURCE, p.STATUS_AUTH) else "soon"
