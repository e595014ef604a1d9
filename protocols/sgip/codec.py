"""SGIP 1.2 PDUs to octets and back: one table of layouts serves both; reading raises only
`Malformed`.

Tolerated, and named to `note` when given: a Reserve cut short or left out (`short_tail`), octets
after the last field (`stray_tail`).
"""

from __future__ import annotations

from struct import Struct
from typing import Any, cast

from protocols.errors import Malformed
from protocols.sgip import pdu as p
from protocols.sms.fields import Content, Layout, Note, Number, Numbers, Tail, Text, ignore

HEADER = Struct(">IIQI")  # the Sequence Number as 8 and 4 octets
HEADER_SIZE = 20
SUBMIT_RESP = Struct(">IIQIB8x")  #: a whole one: header, Result, Reserve
#: A submit to 100 recipients is 143 + 2100 + content: the text's own 2 KB would not hold it.
MAX_LENGTH = 4096

_PHONE = Text(21)
_RESERVE = Tail(8)
_ANSWERS = {
    p.BIND: p.BindResp,
    p.SUBMIT: p.SubmitResp,
    p.DELIVER: p.DeliverResp,
    p.REPORT: p.ReportResp,
    p.USER_REPORT: p.UserReportResp,
}
LAYOUTS: dict[int, Layout[Any]] = {
    p.BIND: Layout(
        p.Bind, "Bind", login_type=Number(), name=Text(16), password=Text(16), reserve=_RESERVE
    ),
    p.UNBIND: Layout(p.Unbind, "Unbind"),
    p.UNBIND | p.RESPONSE: Layout(p.UnbindResp, "Unbind_Resp"),
    p.SUBMIT: Layout(
        p.Submit, "Submit",
        sp_number=_PHONE, charge_number=_PHONE, recipients=Numbers(21, p.MAX_RECIPIENTS),
        corp_id=Text(5), service_type=Text(10), fee_type=Number(), fee_value=Text(6),
        given_value=Text(6), agent_flag=Number(), more_late_to_mt=Number(), priority=Number(),
        expire_time=Text(16), schedule_time=Text(16), report_flag=Number(), tp_pid=Number(),
        udhi=Number(), coding=Number(), message_type=Number(), content=Content(4, p.MAX_CONTENT),
        reserve=_RESERVE,
    ),
    p.DELIVER: Layout(
        p.Deliver, "Deliver",
        user_number=_PHONE, sp_number=_PHONE, tp_pid=Number(), udhi=Number(), coding=Number(),
        content=Content(4, p.MAX_CONTENT), reserve=_RESERVE,
    ),
    p.REPORT: Layout(
        p.Report, "Report",
        submit_sequence=Number(12), report_type=Number(), user_number=_PHONE, state=Number(),
        error=Number(), reserve=_RESERVE,
    ),
    p.USER_REPORT: Layout(
        p.UserReport, "UserRpt",
        sp_number=_PHONE, user_number=_PHONE, condition=Number(), reserve=_RESERVE,
    ),
    **{
        command | p.RESPONSE: Layout(kind, kind.__name__, result=Number(), reserve=_RESERVE)
        for command, kind in _ANSWERS.items()
    },
}  # fmt: skip
_COMMANDS = {layout.kind: command for command, layout in LAYOUTS.items()}


def known(command: int) -> bool:
    """Whether `decode` can read this Command ID."""
    return command in LAYOUTS


def encode(pdu: p.Pdu, sequence: int) -> bytes:
    """The PDU with its header; `sequence` is the 96-bit number. Raises ValueError naming the field
    that does not fit.
    """
    command = _COMMANDS[type(pdu)]
    layout = LAYOUTS[command]
    if not 0 <= sequence < 1 << 96:
        raise ValueError(f"{layout.label}: Sequence Number {sequence} is outside 0..2^96-1")
    body = layout.write(pdu)
    high, low = sequence >> 32, sequence & 0xFFFFFFFF
    return HEADER.pack(HEADER_SIZE + len(body), command, high, low) + body


def decode(command: int, body: bytes, note: Note | None = None) -> p.Pdu:
    """Read one body (what follows the 20-octet header) of a known command. Raises Malformed."""
    layout = LAYOUTS.get(command)
    if layout is None:
        raise Malformed(f"unknown command 0x{command:08x}")
    return cast("p.Pdu", layout.read(body, note or ignore))
