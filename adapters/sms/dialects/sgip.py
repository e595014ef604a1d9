"""SGIP 1.2 as an SP speaks it (China Unicom): we connect to submit, the gateway connects to us to
deliver and report.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, cast

from adapters.sms.dialects.contract import Again, Called, Said, Told, Use
from adapters.sms.settings import Endpoint
from protocols.payload import ReportState
from protocols.sgip import link as sgip
from protocols.sgip import pdu as p
from protocols.sgip.results import CODES, state_of
from protocols.sgip.sequence import to_hex
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.text import Part
from protocols.sms.udh import strip


class Sgip(Called):
    """The id of a message is the Sequence Number of its Submit, 24 hex digits."""

    codes = CODES
    country_prefix = True

    def __init__(self, terms: Endpoint, stamp: Callable[[], int]) -> None:
        super().__init__(terms)
        self._stamp = stamp

    def link(self, use: Use, now: float) -> Link:
        options: Any = self.terms_of_link() | {"idle": 0.0}  # kept open; the gateway may close it
        role = Role.SERVER if use == "listen" else Role.CLIENT
        return sgip.Link(role, self.terms.sgip.node, self._stamp, sgip.LinkOptions(**options), now)

    def login(self, link: Link, use: Use, stamp: int, now: float) -> None:
        bind = p.Bind(self.terms.account, self.terms.secret.reveal(), p.LoginType.SP_TO_SMG)
        cast(sgip.Link, link).login(bind, now)

    def knows(self, login: object) -> bool:
        bind, own = cast(p.Bind, login), self.terms.sgip
        name = own.listen_account or self.terms.account
        secret = (own.listen_secret or self.terms.secret).reveal()
        theirs, ours = f"{bind.name}\0{bind.password}", f"{name}\0{secret}"
        return hmac.compare_digest(theirs.encode(), ours.encode())

    def admit(self, link: Link, sequence: int, login: object) -> bool:
        server, bind = cast(sgip.Link, link), cast(p.Bind, login)
        if not self.knows(login):
            server.refuse(sequence, p.BAD_LOGIN)
        elif bind.login_type != p.LoginType.SMG_TO_SP:
            server.refuse(sequence, p.BAD_LOGIN_TYPE)
        else:
            server.accept(sequence)
            return True
        return False

    def submit(self, sender: str, code: int, part: Part) -> p.Submit:
        terms, own = self.terms, self.terms.sgip
        return p.Submit(
            sp_number=sender,
            recipients=("",),
            content=b"",
            corp_id=own.corp_id,
            charge_number=own.charge_number,
            service_type=terms.service_id,
            fee_type=int(terms.fee_type or "1"),
            fee_value=terms.fee_code.lstrip("0") or "0",
            udhi=part.udhi,
            coding=code,
        )

    def answer(self, sequence: int, pdu: object) -> str | int | None:
        if type(pdu) is not p.SubmitResp:
            return None
        return pdu.result or to_hex(sequence)

    def heard(self, sequence: int, pdu: object) -> Told | Said | None:
        if isinstance(pdu, p.Report):
            if pdu.report_type:  # of a forwarded Deliver, not of a Submit
                return None
            state: ReportState | None = state_of(pdu)
            code = str(pdu.error) if pdu.state == p.State.FAILED else ""
            return Told(to_hex(pdu.submit_sequence), state, code, "", pdu.user_number)
        if isinstance(pdu, p.Deliver):
            concat, data = strip(pdu.content, pdu.udhi)
            return Said(pdu.user_number, pdu.sp_number, concat, data, pdu.coding, to_hex(sequence))
        return None

    def confirm(self, pdu: object, taken: bool) -> object:
        result = p.OK if taken else p.BUSY
        if isinstance(pdu, p.Report):
            return p.ReportResp(result)
        return p.UserReportResp(result) if isinstance(pdu, p.UserReport) else p.DeliverResp(result)

    def again(self, status: int) -> Again:
        return "late" if status in (p.BAD_LOGIN, p.BAD_LOGIN_TYPE) else "soon"
