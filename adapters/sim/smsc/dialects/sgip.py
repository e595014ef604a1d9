"""SGIP 1.2 as the simulated gateway speaks it: it takes submits where it listens, and calls the SP
to deliver and report.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import cast

from adapters.sim.smsc.dialects.contract import Results, Taken
from adapters.sim.smsc.options import Options
from msgcenter.clock import Clock
from protocols.sgip import link as sgip
from protocols.sgip import pdu as p
from protocols.sgip.codec import encode
from protocols.sgip.sequence import to_hex
from protocols.sms import coding, udh
from protocols.sms.link import Link
from protocols.sms.terms import Role
from protocols.sms.text import Part
from protocols.sms.udh import Concat

_CHINA = timezone(timedelta(hours=8))
#: ErrorCode of a Report by the word other protocols have for it; digits stand for themselves.
_ERRORS = {"EXPIRED": 25, "UNDELIV": 21, "REJECTD": 29, "DELETED": 28, "UNKNOWN": 32}


class Sgip:
    """The id of a message is the Sequence Number of its submit, the same for all its recipients."""

    title = "SGIP 1.2"
    results = Results(88, p.BAD_LENGTH, p.BAD_FORMAT, p.BAD_NUMBER, p.TOO_MANY)
    id_wrap = 1 << 32

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock

    def _stamp(self) -> int:
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).astimezone(_CHINA)
        return int(f"{now:%m%d%H%M%S}")

    def _link(self, role: Role, now: float) -> sgip.Link:
        options = sgip.LinkOptions(**self._options.terms())
        return sgip.Link(role, self._options.gateway, self._stamp, options, now)

    def link(self, now: float) -> Link:
        return self._link(Role.SERVER, now)

    def caller(self, now: float) -> Link | None:
        return self._link(Role.CLIENT, now) if self._options.sp_port else None

    def call(self, link: Link, now: float) -> None:
        options = self._options
        bind = p.Bind(options.account, options.secret, p.LoginType.SMG_TO_SP)
        cast(sgip.Link, link).login(bind, now)

    def delivers(self, link: Link) -> bool:
        return link.role is Role.CLIENT

    def login_status(self, login: object) -> int:
        bind = cast(p.Bind, login)
        if (bind.name, bind.password) != (self._options.account, self._options.secret):
            return p.BAD_LOGIN
        return p.OK if bind.login_type == p.LoginType.SP_TO_SMG else p.BAD_LOGIN_TYPE

    def accept(self, link: Link, sequence: int) -> None:
        cast(sgip.Link, link).accept(sequence)

    def refuse(self, link: Link, sequence: int, status: int) -> None:
        cast(sgip.Link, link).refuse(sequence, status)

    def taken(self, pdu: object) -> Taken | None:
        if not isinstance(pdu, p.Submit):
            return None
        return Taken(
            pdu.recipients,
            pdu.sp_number,
            pdu.coding,
            pdu.content,
            len(pdu.content) > self._options.max_octets,
            {0: "failure", 1: "always"}.get(pdu.report_flag, "never"),  # type: ignore[arg-type]
        )

    def number_ok(self, number: str) -> bool:
        """Numbers begin with 86 here, or they are none."""
        return len(number) <= 21 and number.isdecimal() and number.startswith("86")

    def part(self, pdu: object) -> tuple[Concat | None, bytes]:
        submit = cast(p.Submit, pdu)
        return udh.strip(submit.content, submit.udhi)

    def read(self, data: bytes, code: int) -> str | None:
        return coding.read(data, code, (*coding.SGIP, coding.CODINGS["smgp"][1]))

    def base(self, at: datetime) -> int:
        return int(f"{at:%m%d%H%M%S}") << 32

    def ids(self, base: int, first: int, count: int, sequence: int) -> list[int]:
        return [sequence] * count

    def delivery_id(self, base: int, number: int) -> int:
        return base | number

    def shown(self, msg_id: int) -> str:
        return to_hex(msg_id)

    def answer(self, pdu: object, msg_id: int, result: int) -> object:
        return p.SubmitResp(result)

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
        if stat == "DELIVRD":
            return p.Report(msg_id, recipient, p.State.DELIVERED)
        if stat in ("ACCEPTD", "ENROUTE"):
            return p.Report(msg_id, recipient, p.State.WAITING)
        error = int(stat) & 0xFF if stat.isdecimal() else _ERRORS.get(stat, 21)
        return p.Report(msg_id, recipient, p.State.FAILED, error)

    def split(self, text: str, reference: int, wide: bool) -> tuple[int, list[Part]]:
        chosen = coding.measure(text, coding.SGIP, wide=wide).coding
        return chosen.code, coding.split(text, chosen, reference=reference, wide=wide)

    def mo(self, msg_id: int, sender: str, destination: str, code: int, part: Part) -> object:
        deliver = p.Deliver(sender, destination, part.content, udhi=part.udhi, coding=code)
        encode(deliver, 1)
        return deliver

    def verdict(self, answer: object) -> int | None:
        known = isinstance(answer, p.DeliverResp | p.ReportResp | p.UserReportResp)
        return answer.result if known else None  # type: ignore[attr-defined]

    def other(self, pdu: object, totals: dict[str, int]) -> object | None:
        return None
