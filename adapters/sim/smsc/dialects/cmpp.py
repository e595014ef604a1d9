"""CMPP 2.0 and 3.0 as the simulated gateway speaks it."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from adapters.sim.smsc.dialects.contract import Results, Taken
from adapters.sim.smsc.options import Faults, Options
from protocols.cmpp import link as cmpp
from protocols.cmpp import pdu as p
from protocols.cmpp.auth import source_matches
from protocols.cmpp.encode import encode
from protocols.cmpp.msgid import MsgId, pack, run, to_hex
from protocols.cmpp.report import Report
from protocols.cmpp.terms import LinkOptions, Role
from protocols.sms import text, udh
from protocols.sms.link import Link
from protocols.sms.text import Part
from protocols.sms.udh import Concat


class Cmpp:
    """Msg_Ids carry `options.gateway`; those of deliveries a neighbouring one, so that the two never
    meet.
    """

    results = Results(
        p.RESULT_FLOW, p.RESULT_TOO_LONG, p.RESULT_MSG_SRC, p.RESULT_DEST_TERMINAL, p.STATUS_OTHER
    )
    id_wrap = 1 << 16

    def __init__(self, options: Options, faults: Faults) -> None:
        self._options = options
        self._faults = faults
        self._version = p.V30 if options.protocol == "cmpp3" else p.V20
        self.title = "CMPP 3.0" if self._version == p.V30 else "CMPP 2.0"

    def link(self, now: float) -> Link:
        terms = self._options.terms()
        return cmpp.Link(Role.SERVER, LinkOptions(version=self._version, **terms), now)

    def caller(self, now: float) -> Link | None:
        return None

    def call(self, link: Link, now: float) -> None:
        raise AssertionError("a CMPP gateway calls nobody")

    def delivers(self, link: Link) -> bool:
        return True

    def login_status(self, login: object) -> int:
        connect = cast(p.Connect, login)
        if connect.source != self._options.account:
            return p.STATUS_SOURCE
        secret = self._options.secret
        if not source_matches(connect.auth, connect.source, secret, connect.timestamp):
            return p.STATUS_AUTH
        return p.STATUS_VERSION if p.layout(connect.version) > self._version else p.STATUS_OK

    def accept(self, link: Link, sequence: int) -> None:
        cast(cmpp.Link, link).accept(sequence, self._options.secret)

    def refuse(self, link: Link, sequence: int, status: int) -> None:
        cast(cmpp.Link, link).refuse(sequence, status)

    def taken(self, pdu: object) -> Taken | None:
        if not isinstance(pdu, p.Submit):
            return None
        return Taken(
            pdu.recipients,
            pdu.src_id,
            pdu.msg_fmt,
            pdu.content,
            len(pdu.content) > self._options.max_octets,
            "always" if pdu.registered_delivery == 1 else "never",
            pdu.msg_src == self._options.account,
        )

    def number_ok(self, number: str) -> bool:
        return len(number) <= 21 and number.removeprefix("+").isdecimal()

    def part(self, pdu: object) -> tuple[Concat | None, bytes]:
        submit = cast(p.Submit, pdu)
        return udh.strip(submit.content, submit.udhi)

    def read(self, data: bytes, code: int) -> str | None:
        return text.decode(data, code)

    def base(self, at: datetime) -> int:
        gateway = self._options.gateway
        return pack(MsgId(at.month, at.day, at.hour, at.minute, at.second, gateway, 0))

    def ids(self, base: int, first: int, count: int, sequence: int) -> list[int]:
        return run(base | first, count)

    def delivery_id(self, base: int, number: int) -> int:
        return (base ^ 1 << 16) | number

    def shown(self, msg_id: int) -> str:
        return to_hex(msg_id)

    def answer(self, pdu: object, msg_id: int, result: int) -> object:
        return p.SubmitResp(msg_id, result)

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
        version = cast(cmpp.Link, link).version
        if self._faults.report_width:
            version = p.V30 if self._faults.report_width == 71 else p.V20
        report = Report(msg_id, stat, minute, minute, recipient, msg_id & 0xFFFFFFFF)
        return p.Deliver(deliver_id, taken.sender, recipient, report.encode(version), 1, 0)

    def split(self, text_: str, reference: int, wide: bool) -> tuple[int, list[Part]]:
        fmt = text.choose(text_)
        return fmt, text.split(text_, fmt, reference=reference, wide=wide)

    def mo(self, msg_id: int, sender: str, destination: str, code: int, part: Part) -> object:
        deliver = p.Deliver(msg_id, destination, sender, part.content, msg_fmt=code, udhi=part.udhi)
        encode(deliver, p.V20, 1)  # numbers that do not fit are the caller's fault, now
        return deliver

    def verdict(self, answer: object) -> int | None:
        return answer.result if isinstance(answer, p.DeliverResp) else None

    def other(self, pdu: object, totals: dict[str, int]) -> object | None:
        """The statistics of the only day this gateway has lived; nothing can be cancelled, it is
        with the handset already.
        """
        if isinstance(pdu, p.Query):
            return p.QueryResp(pdu.time, pdu.query_type, pdu.query_code, **totals)
        return p.CancelResp(1) if isinstance(pdu, p.Cancel) else None
