"""CMPP PDUs to octets, header included; a value that does not fit its field raises ValueError,
nothing is cut silently.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from protocols.cmpp import layouts as ly
from protocols.cmpp import pdu as p


def encode(pdu: p.Pdu, version: int, sequence: int) -> bytes:
    """The PDU with its header, in the layout of `version` (0x20 or 0x30). Raises ValueError naming
    what does not fit.
    """
    try:
        return _ENCODERS[type(pdu)](pdu, version >= p.V30, sequence)
    except struct.error as error:
        raise ValueError(f"{type(pdu).__name__}: number outside its field: {error}") from None


def _too_long(pdu: p.Submit | p.Deliver, wide: bool) -> ValueError:
    """Name the text field that does not fit; called only once something is known not to."""
    terminal = 32 if wide else 21
    widths = {
        "service_id": 10, "fee_terminal_id": terminal, "msg_src": 6, "fee_type": 2, "fee_code": 6,
        "valid_time": 17, "at_time": 17, "src_id": 21, "link_id": 20 if wide else 8,
        "dest_id": 21, "source": terminal, "content": 255,
    }  # fmt: skip
    for name, width in widths.items():
        if len(getattr(pdu, name, "")) > width:
            return ValueError(f"{type(pdu).__name__}.{name} holds at most {width} octets")
    return ValueError(f"{type(pdu).__name__}: every recipient holds at most {terminal} octets")


def _encode_submit(s: p.Submit, wide: bool, sequence: int) -> bytes:
    recipients = s.recipients
    n = len(recipients)
    content = s.content
    length = len(content)
    terminal = 32 if wide else 21
    service = s.service_id.encode("latin-1")
    fee_terminal = s.fee_terminal_id.encode("latin-1")
    msg_src = s.msg_src.encode("latin-1")
    fee_type = s.fee_type.encode("latin-1")
    fee_code = s.fee_code.encode("latin-1")
    valid_time = s.valid_time.encode("latin-1")
    at_time = s.at_time.encode("latin-1")
    src_id = s.src_id.encode("latin-1")
    link_id = s.link_id.encode("latin-1")
    if (
        len(service) > 10
        or len(fee_terminal) > terminal
        or len(msg_src) > 6
        or len(fee_type) > 2
        or len(fee_code) > 6
        or len(valid_time) > 17
        or len(at_time) > 17
        or len(src_id) > 21
        or len(link_id) > (20 if wide else 8)
        or length > 255
    ):
        raise _too_long(s, wide)
    if not 1 <= n <= p.MAX_RECIPIENTS:
        raise ValueError(f"Submit.recipients holds 1 to {p.MAX_RECIPIENTS} numbers")
    if n == 1:
        targets = recipients[0].encode("latin-1").ljust(terminal, b"\0")
    else:
        targets = b"".join([r.encode("latin-1").ljust(terminal, b"\0") for r in recipients])
    if len(targets) != terminal * n:
        raise _too_long(s, wide)
    if wide:
        head = ly.SUBMIT_30_FULL.pack(
            163 + len(targets) + length, p.SUBMIT, sequence,
            s.msg_id, s.pk_total, s.pk_number, s.registered_delivery, s.msg_level, service,
            s.fee_user_type,
            fee_terminal, s.fee_terminal_type, s.tp_pid, s.udhi, s.msg_fmt, msg_src, fee_type,
            fee_code,
            valid_time, at_time, src_id, n,
        )  # fmt: skip
        lengths = bytes((s.dest_type, length))
        return b"".join((head, targets, lengths, content, link_id.ljust(ly.TAIL_30, b"\0")))
    head = ly.SUBMIT_20_FULL.pack(
        138 + len(targets) + length, p.SUBMIT, sequence,
        s.msg_id, s.pk_total, s.pk_number, s.registered_delivery, s.msg_level, service,
        s.fee_user_type,
        fee_terminal, s.tp_pid, s.udhi, s.msg_fmt, msg_src, fee_type, fee_code,
        valid_time, at_time, src_id, n,
    )  # fmt: skip
    return b"".join((head, targets, bytes((length,)), content, link_id.ljust(ly.TAIL_20, b"\0")))


def _encode_deliver(d: p.Deliver, wide: bool, sequence: int) -> bytes:
    content = d.content
    length = len(content)
    dest = d.dest_id.encode("latin-1")
    service = d.service_id.encode("latin-1")
    source = d.source.encode("latin-1")
    link_id = d.link_id.encode("latin-1")
    if (
        len(dest) > 21
        or len(service) > 10
        or len(source) > (32 if wide else 21)
        or len(link_id) > (20 if wide else 8)
        or length > 255
    ):
        raise _too_long(d, wide)
    if wide:
        head = ly.DELIVER_30_FULL.pack(
            109 + length, p.DELIVER, sequence, d.msg_id, dest, service, d.tp_pid, d.udhi, d.msg_fmt,
            source, d.source_type, d.registered_delivery, length,
        )  # fmt: skip
        return b"".join((head, content, link_id.ljust(ly.TAIL_30, b"\0")))
    head = ly.DELIVER_20_FULL.pack(
        85 + length, p.DELIVER, sequence, d.msg_id, dest, service, d.tp_pid, d.udhi, d.msg_fmt,
        source, d.registered_delivery, length,
    )  # fmt: skip
    return b"".join((head, content, link_id.ljust(ly.TAIL_20, b"\0")))


def _text(value: str, width: int, name: str) -> bytes:
    raw = value.encode("latin-1")
    if len(raw) > width:
        raise ValueError(f"{name} holds at most {width} octets")
    return raw


def _whole(command: int, sequence: int, body: bytes = b"") -> bytes:
    return ly.HEADER.pack(ly.HEADER_SIZE + len(body), command, sequence) + body


def _id_result(command: int, msg_id: int, result: int, wide: bool, sequence: int) -> bytes:
    body = (ly.ID_RESULT_30 if wide else ly.ID_RESULT_20).pack(msg_id, result)
    return ly.HEADER.pack(24 if wide else 21, command, sequence) + body


def _encode_connect(c: p.Connect, _wide: bool, sequence: int) -> bytes:
    if len(c.auth) != 16:
        raise ValueError("Connect.auth is 16 octets")
    source = _text(c.source, 6, "Connect.source")
    return _whole(p.CONNECT, sequence, ly.CONNECT.pack(source, c.auth, c.version, c.timestamp))


def _encode_connect_resp(c: p.ConnectResp, wide: bool, sequence: int) -> bytes:
    if len(c.auth) != 16:
        raise ValueError("ConnectResp.auth is 16 octets")
    form = ly.CONNECT_RESP_30 if wide else ly.CONNECT_RESP_20
    return _whole(p.CONNECT | p.RESPONSE, sequence, form.pack(c.status, c.auth, c.version))


def _encode_query(q: p.Query, _wide: bool, sequence: int) -> bytes:
    body = ly.QUERY.pack(
        _text(q.time, 8, "Query.time"),
        q.query_type,
        _text(q.query_code, 10, "Query.query_code"),
        _text(q.reserve, 8, "Query.reserve"),
    )
    return _whole(p.QUERY, sequence, body)


def _encode_query_resp(q: p.QueryResp, _wide: bool, sequence: int) -> bytes:
    body = ly.QUERY_RESP.pack(
        _text(q.time, 8, "QueryResp.time"), q.query_type, _text(q.query_code, 10,
        "QueryResp.query_code"),
        q.mt_messages, q.mt_users, q.mt_ok, q.mt_waiting, q.mt_failed, q.mo_ok, q.mo_waiting,
        q.mo_failed,
    )  # fmt: skip
    return _whole(p.QUERY | p.RESPONSE, sequence, body)


def _encode_cancel(c: p.Cancel, _wide: bool, sequence: int) -> bytes:
    return _whole(p.CANCEL, sequence, struct.pack(">Q", c.msg_id))


def _encode_cancel_resp(c: p.CancelResp, wide: bool, sequence: int) -> bytes:
    return _whole(
        p.CANCEL | p.RESPONSE, sequence, struct.pack(">I" if wide else ">B", c.success_id)
    )


_ENCODERS: dict[type, Callable[[Any, bool, int], bytes]] = {
    p.Submit: _encode_submit,
    p.Deliver: _encode_deliver,
    p.SubmitResp: lambda r, wide, seq: _id_result(
        p.SUBMIT | p.RESPONSE, r.msg_id, r.result, wide, seq
    ),
    p.DeliverResp: lambda r, wide, seq: _id_result(
        p.DELIVER | p.RESPONSE, r.msg_id, r.result, wide, seq
    ),
    p.Connect: _encode_connect,
    p.ConnectResp: _encode_connect_resp,
    p.Terminate: lambda _pdu, _wide, seq: _whole(p.TERMINATE, seq),
    p.TerminateResp: lambda _pdu, _wide, seq: _whole(p.TERMINATE | p.RESPONSE, seq),
    p.ActiveTest: lambda _pdu, _wide, seq: _whole(p.ACTIVE_TEST, seq),
    p.ActiveTestResp: lambda r, _wide, seq: _whole(
        p.ACTIVE_TEST | p.RESPONSE, seq, bytes((r.reserved,))
    ),
    p.Query: _encode_query,
    p.QueryResp: _encode_query_resp,
    p.Cancel: _encode_cancel,
    p.CancelResp: _encode_cancel_resp,
}
