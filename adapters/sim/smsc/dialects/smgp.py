"""SMGP 3.0 as the simulated gateway speaks it."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from adapters.sim.smsc.dialects.contract import Results, Taken
from adapters.sim.smsc.options import Options
from protocols.smgp import link as smgp
from protocols.smgp import msgid
from protocols.smgp import pdu as p
from protocols.smgp.auth import login_matches
from protocols.smgp.codec import encode
from protocols.smgp.report import Report
from protocols.smgp.tags import PK_NUMBER, PK_TOTAL, TP_UDHI
from protocols.sms import coding, udh
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.text import Part
from protocols.sms.tlv import Tlv
from protocols.sms.udh import Concat


class Smgp:
    """A MsgID is one for all recipients of a submit; deliveries count from the upper half."""

    title = "SMGP 3.0"
    results = Results(p.BUSY, 36, 46, 47, p.TOO_MANY)
    id_wrap = 500_000

    def __init__(self, options: Options) -> None:
        self._options = options

    def link(self, now: float) -> Link:
        return smgp.Link(Role.SERVER, smgp.LinkOptions(**self._options.terms()), now)

    def caller(self, now: float) -> Link | None:
        return None

    def call(self, link: Link, now: float) -> None:
        raise AssertionError("an SMGP gateway calls nobody")

    def delivers(self, link: Link) -> bool:
        return cast(smgp.Link, link).mode != p.LoginMode.SEND

    def login_status(self, login: object) -> int:
        asked = cast(p.Login, login)
        secret = self._options.secret
        known = asked.client_id == self._options.account
        if not known or not login_matches(asked.auth, asked.client_id, secret, asked.timestamp):
            return p.BAD_LOGIN
        return p.BAD_VERSION if asked.version > p.V30 else p.OK

    def accept(self, link: Link, sequence: int) -> None:
        cast(smgp.Link, link).accept(sequence, self._options.secret)

    def refuse(self, link: Link, sequence: int, status: int) -> None:
        cast(smgp.Link, link).refuse(sequence, status)

    def taken(self, pdu: object) -> Taken | None:
        if not isinstance(pdu, p.Submit):
            return None
        return Taken(
            pdu.recipients,
            pdu.source,
            pdu.msg_format,
            pdu.content,
            len(pdu.content) > self._options.max_octets,
            "always" if pdu.need_report == 1 else "never",
        )

    def number_ok(self, number: str) -> bool:
        return len(number) <= 21 and number.removeprefix("+").isdecimal()

    def part(self, pdu: object) -> tuple[Concat | None, bytes]:
        submit = cast(p.Submit, pdu)
        return udh.strip(submit.content, submit.udhi)

    def read(self, data: bytes, code: int) -> str | None:
        return coding.read(data, code, coding.SMGP)

    def base(self, at: datetime) -> int:
        gateway = self._options.gateway % 1_000_000
        return int(msgid.pack(gateway, at.month, at.day, at.hour, at.minute, 0), 16)

    def ids(self, base: int, first: int, count: int, sequence: int) -> list[int]:
        return [base + int(f"{first:06}", 16)] * count  # digits, not a number

    def delivery_id(self, base: int, number: int) -> int:
        return base + int(f"{number + self.id_wrap:06}", 16)

    def shown(self, msg_id: int) -> str:
        return f"{msg_id:020x}"

    def answer(self, pdu: object, msg_id: int, result: int) -> object:
        return p.SubmitResp(self.shown(msg_id), result)

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
        err = "000" if stat == "DELIVRD" else "001"
        report = Report(self.shown(msg_id), stat[:7], err, minute, minute)
        return p.Deliver(
            self.shown(deliver_id), recipient, taken.sender, report.encode(), 1, 0, f"20{minute}00"
        )

    def split(self, text: str, reference: int, wide: bool) -> tuple[int, list[Part]]:
        chosen = coding.measure(text, coding.SMGP, wide=wide).coding
        return chosen.code, coding.split(text, chosen, reference=reference, wide=wide)

    def mo(self, msg_id: int, sender: str, destination: str, code: int, part: Part) -> object:
        tlvs: tuple[Tlv, ...] = ()
        if part.udhi:
            numbers = ((TP_UDHI, 1), (PK_TOTAL, part.total), (PK_NUMBER, part.number))
            tlvs = tuple(Tlv(tag, bytes((number,))) for tag, number in numbers)
        deliver = p.Deliver(
            self.shown(msg_id), sender, destination, part.content, 0, code, tlvs=tlvs
        )
        encode(deliver, p.V30, 1)
        return deliver

    def verdict(self, answer: object) -> int | None:
        return answer.status if isinstance(answer, p.DeliverResp) else None

    def other(self, pdu: object, totals: dict[str, int]) -> object | None:
        if isinstance(pdu, p.Query):
            return p.QueryResp(pdu.time, pdu.query_type, pdu.query_code, reserve="", **totals)
        return None
