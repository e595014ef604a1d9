"""CMPP octets to PDUs and back, in the 2.0 and the 3.0 layout, reading what deployed peers really send.

`encode` raises ValueError for a value that does not fit its field (nothing is cut silently); `decode` raises only
`Malformed` (`BadLength` when the octets do not add up) and tolerates: response widths of the other version, a missing
or extra ACTIVE_TEST_RESP octet, up to 11 octets missing at the LinkID tail, and stray octets after the last field.
Each tolerated fault is named to `note`, when given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from struct import Struct
from typing import Any

from protocols.cmpp import pdu as p
from protocols.errors import Malformed

HEADER = Struct(">III")
HEADER_SIZE = 12
MAX_LENGTH = 4096  #: a 99-recipient 3.0 SUBMIT with 255 octets of content is 3586

_CONNECT = Struct(">6s16sBI")
_CONNECT_RESP_20 = Struct(">B16sB")
_CONNECT_RESP_30 = Struct(">I16sB")
_ID_RESULT_20 = Struct(">QB")
_ID_RESULT_30 = Struct(">QI")
# SUBMIT up to and including DestUsr_tl; 3.0 has a wider Fee_terminal_Id followed by its type octet.
_SUBMIT_20 = Struct(">QBBBB10sB21sBBB6s2s6s17s17s21sB")
_SUBMIT_30 = Struct(">QBBBB10sB32sBBBB6s2s6s17s17s21sB")
_SUBMIT_20_FULL = Struct(">III" + _SUBMIT_20.format[1:])
_SUBMIT_30_FULL = Struct(">III" + _SUBMIT_30.format[1:])
# DELIVER up to and including Msg_Length.
_DELIVER_20 = Struct(">Q21s10sBBB21sBB")
_DELIVER_30 = Struct(">Q21s10sBBB32sBBB")
_DELIVER_20_FULL = Struct(">III" + _DELIVER_20.format[1:])
_DELIVER_30_FULL = Struct(">III" + _DELIVER_30.format[1:])
_QUERY = Struct(">8sB10s8s")
_QUERY_RESP = Struct(">8sB10s8I")

_TAIL_20, _TAIL_30 = 8, 20  # Reserve, LinkID
_TAIL_MAY_MISS = 11
_SUBMIT_20_FIXED = _SUBMIT_20.size + 1  # + Msg_Length
_SUBMIT_30_FIXED = _SUBMIT_30.size + 2  # + Dest_terminal_type, Msg_Length

Note = Callable[[str], None]


class BadLength(Malformed):
    """The octets do not add up: a body too short, or an inner length that points past the end."""


# --- encode ---------------------------------------------------------------------------------------------------------


def encode(pdu: p.Pdu, version: int, sequence: int) -> bytes:
    """The PDU with its header, in the layout of `version` (0x20 or 0x30). Raises ValueError naming what does not fit."""
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
        head = _SUBMIT_30_FULL.pack(
            163 + len(targets) + length, p.SUBMIT, sequence,
            s.msg_id, s.pk_total, s.pk_number, s.registered_delivery, s.msg_level, service, s.fee_user_type,
            fee_terminal, s.fee_terminal_type, s.tp_pid, s.udhi, s.msg_fmt, msg_src, fee_type, fee_code,
            valid_time, at_time, src_id, n,
        )  # fmt: skip
        lengths = bytes((s.dest_type, length))
        return b"".join((head, targets, lengths, content, link_id.ljust(_TAIL_30, b"\0")))
    head = _SUBMIT_20_FULL.pack(
        138 + len(targets) + length, p.SUBMIT, sequence,
        s.msg_id, s.pk_total, s.pk_number, s.registered_delivery, s.msg_level, service, s.fee_user_type,
        fee_terminal, s.tp_pid, s.udhi, s.msg_fmt, msg_src, fee_type, fee_code,
        valid_time, at_time, src_id, n,
    )  # fmt: skip
    return b"".join((head, targets, bytes((length,)), content, link_id.ljust(_TAIL_20, b"\0")))


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
        head = _DELIVER_30_FULL.pack(
            109 + length, p.DELIVER, sequence, d.msg_id, dest, service, d.tp_pid, d.udhi, d.msg_fmt,
            source, d.source_type, d.registered_delivery, length,
        )  # fmt: skip
        return b"".join((head, content, link_id.ljust(_TAIL_30, b"\0")))
    head = _DELIVER_20_FULL.pack(
        85 + length, p.DELIVER, sequence, d.msg_id, dest, service, d.tp_pid, d.udhi, d.msg_fmt,
        source, d.registered_delivery, length,
    )  # fmt: skip
    return b"".join((head, content, link_id.ljust(_TAIL_20, b"\0")))


def _text(value: str, width: int, name: str) -> bytes:
    raw = value.encode("latin-1")
    if len(raw) > width:
        raise ValueError(f"{name} holds at most {width} octets")
    return raw


def _whole(command: int, sequence: int, body: bytes = b"") -> bytes:
    return HEADER.pack(HEADER_SIZE + len(body), command, sequence) + body


def _id_result(command: int, msg_id: int, result: int, wide: bool, sequence: int) -> bytes:
    body = (_ID_RESULT_30 if wide else _ID_RESULT_20).pack(msg_id, result)
    return HEADER.pack(24 if wide else 21, command, sequence) + body


def _encode_connect(c: p.Connect, _wide: bool, sequence: int) -> bytes:
    if len(c.auth) != 16:
        raise ValueError("Connect.auth is 16 octets")
    source = _text(c.source, 6, "Connect.source")
    return _whole(p.CONNECT, sequence, _CONNECT.pack(source, c.auth, c.version, c.timestamp))


def _encode_connect_resp(c: p.ConnectResp, wide: bool, sequence: int) -> bytes:
    if len(c.auth) != 16:
        raise ValueError("ConnectResp.auth is 16 octets")
    form = _CONNECT_RESP_30 if wide else _CONNECT_RESP_20
    return _whole(p.CONNECT | p.RESPONSE, sequence, form.pack(c.status, c.auth, c.version))


def _encode_query(q: p.Query, _wide: bool, sequence: int) -> bytes:
    body = _QUERY.pack(
        _text(q.time, 8, "Query.time"),
        q.query_type,
        _text(q.query_code, 10, "Query.query_code"),
        _text(q.reserve, 8, "Query.reserve"),
    )
    return _whole(p.QUERY, sequence, body)


def _encode_query_resp(q: p.QueryResp, _wide: bool, sequence: int) -> bytes:
    body = _QUERY_RESP.pack(
        _text(q.time, 8, "QueryResp.time"), q.query_type, _text(q.query_code, 10, "QueryResp.query_code"),
        q.mt_messages, q.mt_users, q.mt_ok, q.mt_waiting, q.mt_failed, q.mo_ok, q.mo_waiting, q.mo_failed,
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


# --- decode ---------------------------------------------------------------------------------------------------------


def known(command: int) -> bool:
    """Whether `decode` can read this Command_Id."""
    return command in _DECODERS


def decode(command: int, body: bytes, version: int, note: Note | None = None) -> p.Pdu:
    """Read one body (what follows the 12-octet header) of a known command. Raises Malformed.

    `version` picks the layout of requests; responses are read by their own length. `note` is called with a short
    constant (`stray_tail`, `short_tail`, `other_version_width`, `active_test_width`) per tolerated fault.
    """
    decoder = _DECODERS.get(command)
    if decoder is None:
        raise Malformed(f"unknown command 0x{command:08x}")
    return decoder(body, version >= p.V30, note or _ignore)


def _ignore(_what: str) -> None:
    """The note taker for callers that do not count."""


def _str(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("latin-1")


def _need(body: bytes, size: int, name: str, note: Note) -> None:
    if len(body) < size:
        raise BadLength(f"{name}: body of {len(body)} octets, {size} needed")
    if len(body) > size:
        note("stray_tail")


def _tail(body: bytes, start: int, wide: bool, name: str, note: Note) -> str:
    """Reserve or LinkID, from `start` to the end; a few octets may be missing or too many."""
    width = _TAIL_30 if wide else _TAIL_20
    missing = start + width - len(body)
    if missing:
        if missing > _TAIL_MAY_MISS or missing > width:
            raise BadLength(f"{name}: Msg_Length points {missing} octets past the end")
        note("short_tail" if missing > 0 else "stray_tail")
    tail = body[start : start + width]
    return _str(tail) if tail[:1] > b"\0" else ""


def _decode_submit(body: bytes, wide: bool, note: Note) -> p.Submit:
    if len(body) < (_SUBMIT_30_FIXED if wide else _SUBMIT_20_FIXED):
        raise BadLength(f"SUBMIT: body of {len(body)} octets is shorter than its fixed fields")
    if wide:
        (
            msg_id, pk_total, pk_number, registered, level, service, fee_user, fee_terminal, fee_terminal_type,
            pid, udhi, fmt, msg_src, fee_type, fee_code, valid_time, at_time, src_id, n,
        ) = _SUBMIT_30.unpack_from(body)  # fmt: skip
        at, terminal = _SUBMIT_30.size, 32
    else:
        (
            msg_id, pk_total, pk_number, registered, level, service, fee_user, fee_terminal,
            pid, udhi, fmt, msg_src, fee_type, fee_code, valid_time, at_time, src_id, n,
        ) = _SUBMIT_20.unpack_from(body)  # fmt: skip
        at, terminal, fee_terminal_type = _SUBMIT_20.size, 21, 0
    if not 1 <= n <= p.MAX_RECIPIENTS:
        raise Malformed(f"SUBMIT: DestUsr_tl {n} is outside 1..{p.MAX_RECIPIENTS}")
    end = at + terminal * n
    if len(body) < end + (2 if wide else 1):
        raise BadLength(f"SUBMIT: {n} recipients do not fit in a body of {len(body)} octets")
    if n == 1:
        recipients: tuple[str, ...] = (_str(body[at:end]),)
    else:
        recipients = tuple([_str(body[k : k + terminal]) for k in range(at, end, terminal)])
    dest_type = 0
    if wide:
        dest_type = body[end]
        end += 1
    start = end + 1
    stop = start + body[end]
    return p.Submit(
        recipients,
        body[start:stop],
        _str(src_id),
        _str(msg_src),
        fmt,
        udhi,
        pk_total,
        pk_number,
        registered,
        level,
        _str(service),
        fee_user,
        _str(fee_terminal),
        fee_terminal_type,
        pid,
        _str(fee_type),
        _str(fee_code),
        _str(valid_time),
        _str(at_time),
        dest_type,
        _tail(body, stop, wide, "SUBMIT", note),
        msg_id,
    )


def _decode_deliver(body: bytes, wide: bool, note: Note) -> p.Deliver:
    form = _DELIVER_30 if wide else _DELIVER_20
    start = form.size
    if len(body) < start:
        raise BadLength(f"DELIVER: body of {len(body)} octets is shorter than its fixed fields")
    source_type = 0
    if wide:
        msg_id, dest, service, pid, udhi, fmt, source, source_type, registered, length = (
            form.unpack_from(body)
        )
    else:
        msg_id, dest, service, pid, udhi, fmt, source, registered, length = form.unpack_from(body)
    stop = start + length
    return p.Deliver(
        msg_id,
        _str(dest),
        _str(source),
        body[start:stop],
        registered,
        fmt,
        udhi,
        _str(service),
        pid,
        source_type,
        _tail(body, stop, wide, "DELIVER", note),
    )


def _id_and_result(body: bytes, wide: bool, name: str, note: Note) -> tuple[int, int]:
    """Msg_Id and a result of one or four octets: by length (9 or 12) first, by version when neither fits."""
    size = len(body)
    if size == 12 or (size > 12 and wide):
        if not wide:
            note("other_version_width")
        elif size > 12:
            note("stray_tail")
        return _ID_RESULT_30.unpack_from(body)  # type: ignore[return-value]
    if size >= 9:
        note_tail = "stray_tail" if size > 9 else "other_version_width"
        if wide or size > 9:
            note(note_tail)
        return _ID_RESULT_20.unpack_from(body)  # type: ignore[return-value]
    raise BadLength(f"{name}: body of {size} octets, 9 or 12 needed")


def _decode_submit_resp(body: bytes, wide: bool, note: Note) -> p.SubmitResp:
    msg_id, result = _id_and_result(body, wide, "SUBMIT_RESP", note)
    return p.SubmitResp(msg_id, result)


def _decode_deliver_resp(body: bytes, wide: bool, note: Note) -> p.DeliverResp:
    msg_id, result = _id_and_result(body, wide, "DELIVER_RESP", note)
    return p.DeliverResp(msg_id, result)


def _decode_connect(body: bytes, _wide: bool, note: Note) -> p.Connect:
    _need(body, _CONNECT.size, "CONNECT", note)
    source, auth, version, timestamp = _CONNECT.unpack_from(body)
    return p.Connect(_str(source), auth, version, timestamp)


def _decode_connect_resp(body: bytes, wide: bool, note: Note) -> p.ConnectResp:
    size = len(body)
    if size < _CONNECT_RESP_20.size:
        raise BadLength(f"CONNECT_RESP: body of {size} octets, 18 or 21 needed")
    if size == _CONNECT_RESP_30.size or (size > _CONNECT_RESP_30.size and wide):
        form = _CONNECT_RESP_30
    else:
        form = _CONNECT_RESP_20
    if size > form.size:
        note("stray_tail")
    elif (form is _CONNECT_RESP_30) != wide:
        note("other_version_width")
    return p.ConnectResp(*form.unpack_from(body))


def _decode_query(body: bytes, _wide: bool, note: Note) -> p.Query:
    _need(body, _QUERY.size, "QUERY", note)
    time, kind, code, reserve = _QUERY.unpack_from(body)
    return p.Query(_str(time), kind, _str(code), _str(reserve))


def _decode_query_resp(body: bytes, _wide: bool, note: Note) -> p.QueryResp:
    _need(body, _QUERY_RESP.size, "QUERY_RESP", note)
    time, kind, code, *counters = _QUERY_RESP.unpack_from(body)
    return p.QueryResp(_str(time), kind, _str(code), *counters)


def _decode_cancel(body: bytes, _wide: bool, note: Note) -> p.Cancel:
    _need(body, 8, "CANCEL", note)
    return p.Cancel(int.from_bytes(body[:8], "big"))


def _decode_cancel_resp(body: bytes, wide: bool, note: Note) -> p.CancelResp:
    size = len(body)
    if size == 0:
        raise BadLength("CANCEL_RESP: empty body, 1 or 4 octets needed")
    width = 4 if size == 4 or (size > 4 and wide) else 1
    if size > width:
        note("stray_tail")
    elif (width == 4) != wide:
        note("other_version_width")
    return p.CancelResp(int.from_bytes(body[:width], "big"))


def _decode_active_test_resp(body: bytes, _wide: bool, note: Note) -> p.ActiveTestResp:
    if len(body) != 1:
        note("active_test_width")
    return p.ActiveTestResp(body[0] if body else 0)


def _empty(name: str, value: p.Pdu) -> Callable[[bytes, bool, Note], p.Pdu]:
    def read(body: bytes, _wide: bool, note: Note) -> p.Pdu:
        _need(body, 0, name, note)
        return value

    return read


_DECODERS: dict[int, Callable[[bytes, bool, Note], p.Pdu]] = {
    p.SUBMIT: _decode_submit,
    p.SUBMIT | p.RESPONSE: _decode_submit_resp,
    p.DELIVER: _decode_deliver,
    p.DELIVER | p.RESPONSE: _decode_deliver_resp,
    p.ACTIVE_TEST: _empty("ACTIVE_TEST", p.ActiveTest()),
    p.ACTIVE_TEST | p.RESPONSE: _decode_active_test_resp,
    p.CONNECT: _decode_connect,
    p.CONNECT | p.RESPONSE: _decode_connect_resp,
    p.TERMINATE: _empty("TERMINATE", p.Terminate()),
    p.TERMINATE | p.RESPONSE: _empty("TERMINATE_RESP", p.TerminateResp()),
    p.QUERY: _decode_query,
    p.QUERY | p.RESPONSE: _decode_query_resp,
    p.CANCEL: _decode_cancel,
    p.CANCEL | p.RESPONSE: _decode_cancel_resp,
}
