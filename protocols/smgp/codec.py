"""SMGP 3.0 and 1.3 PDUs to octets and back: one table of layouts serves both; reading raises only
`Malformed`.

Tolerated, and named to `note` when given: a Reserve cut short or left out (`short_tail`), optional
parameters that do not add up (`short_tlv`, `tlv_length`: the rest is kept), octets after the last
field (`stray_tail`).
"""

from __future__ import annotations

from struct import Struct
from typing import Any, cast

from protocols.errors import Malformed
from protocols.smgp import pdu as p
from protocols.smgp.tags import TAGS
from protocols.sms.fields import (
    Content,
    Field,
    Hex,
    Layout,
    Note,
    Number,
    Numbers,
    Raw,
    Tail,
    Text,
    ignore,
)
from protocols.sms.tlv import Tlvs

HEADER = Struct(">III")
HEADER_SIZE = 12
SUBMIT_RESP = Struct(">III10sI")  #: a whole one: header, MsgID, Status
MAX_LENGTH = 4096

_PHONE = Text(21)
_RESERVE = Tail(8)
_TLVS = Tlvs(TAGS, lenient=True)
_FIXED_FEE: dict[str, Field] = {"fixed_fee": Text(6)}


def _submit(fixed_fee: dict[str, Field]) -> Layout[p.Submit]:
    return Layout(
        p.Submit, "Submit",
        msg_type=Number(), need_report=Number(), priority=Number(), service_id=Text(10),
        fee_type=Text(2), fee_code=Text(6), **fixed_fee, msg_format=Number(), valid_time=Text(17),
        at_time=Text(17), source=_PHONE, charge_number=_PHONE,
        recipients=Numbers(21, p.MAX_RECIPIENTS), content=Content(), reserve=_RESERVE, tlvs=_TLVS,
    )  # fmt: skip


LAYOUTS: dict[int, Layout[Any]] = {
    p.LOGIN: Layout(
        p.Login, "Login",
        client_id=Text(8), auth=Raw(16), mode=Number(), timestamp=Number(4), version=Number(),
    ),
    p.LOGIN | p.RESPONSE: Layout(
        p.LoginResp, "Login_Resp", status=Number(4), auth=Raw(16), version=Number()
    ),
    p.SUBMIT: _submit(_FIXED_FEE),
    p.SUBMIT | p.RESPONSE: Layout(p.SubmitResp, "Submit_Resp", msg_id=Hex(10), status=Number(4)),
    p.DELIVER: Layout(
        p.Deliver, "Deliver",
        msg_id=Hex(10), is_report=Number(), msg_format=Number(), recv_time=Text(14),
        source=_PHONE, destination=_PHONE, content=Content(), reserve=_RESERVE, tlvs=_TLVS,
    ),
    p.DELIVER | p.RESPONSE: Layout(p.DeliverResp, "Deliver_Resp", msg_id=Hex(10), status=Number(4)),
    p.ACTIVE_TEST: Layout(p.ActiveTest, "Active_Test"),
    p.ACTIVE_TEST | p.RESPONSE: Layout(p.ActiveTestResp, "Active_Test_Resp"),
    p.EXIT: Layout(p.Exit, "Exit"),
    p.EXIT | p.RESPONSE: Layout(p.ExitResp, "Exit_Resp"),
    p.QUERY: Layout(
        p.Query, "Query", time=Text(8), query_type=Number(), query_code=Text(10), reserve=_RESERVE
    ),
    p.QUERY | p.RESPONSE: Layout(
        p.QueryResp, "Query_Resp",
        time=Text(8), query_type=Number(), query_code=Text(10), mt_messages=Number(4),
        mt_users=Number(4), mt_ok=Number(4), mt_waiting=Number(4), mt_failed=Number(4),
        mo_ok=Number(4), mo_waiting=Number(4), mo_failed=Number(4), reserve=_RESERVE,
    ),
}  # fmt: skip
_COMMANDS = {layout.kind: command for command, layout in LAYOUTS.items()}
_SUBMIT_13 = _submit({})


def known(command: int) -> bool:
    """Whether `decode` can read this RequestID."""
    return command in LAYOUTS


def _layout(command: int, version: int) -> Layout[Any]:
    return _SUBMIT_13 if command == p.SUBMIT and version < p.V30 else LAYOUTS[command]


def encode(pdu: p.Pdu, version: int, sequence: int) -> bytes:
    """The PDU with its header, in the layout of `version` (0x30 or 0x13). Raises ValueError naming
    the field that does not fit.
    """
    command = _COMMANDS[type(pdu)]
    layout = _layout(command, version)
    if not 0 <= sequence <= 0xFFFFFFFF:
        raise ValueError(f"{layout.label}: SequenceID {sequence} is outside 0..2^32-1")
    body = layout.write(pdu)
    return HEADER.pack(HEADER_SIZE + len(body), command, sequence) + body


def decode(command: int, body: bytes, version: int, note: Note | None = None) -> p.Pdu:
    """Read one body (what follows the 12-octet header) of a known command. Raises Malformed."""
    if command not in LAYOUTS:
        raise Malformed(f"unknown command 0x{command:08x}")
    return cast("p.Pdu", _layout(command, version).read(body, note or ignore))
