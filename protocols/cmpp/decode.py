"""CMPP octets to PDUs, reading what deployed peers really send; raises only `Malformed`.

Tolerated: response widths of the other version, a missing or extra ACTIVE_TEST_RESP octet, up to 11
octets missing at the LinkID tail, stray octets after the last field. Each tolerated fault is named
to `note`, when given.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.cmpp import layouts as ly
from protocols.cmpp import pdu as p
from protocols.errors import Malformed

Note = Callable[[str], None]


class BadLength(Malformed):
    """The octets do not add up: a body too short, or an inner length that points past the end."""


def known(command: int) -> bool:
    """Whether `decode` can read this Command_Id."""
    return command in _DECODERS


def decode(command: int, body: bytes, version: int, note: Note | None = None) -> p.Pdu:
    """Read one body (what follows the 12-octet header) of a known command. Raises Malformed.

    `version` picks the layout of requests; responses are read by their own length. `note` is called
    with a short constant (`stray_tail`, `short_tail`, `other_version_width`, `active_test_width`)
    per tolerated fault.
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
    width = ly.TAIL_30 if wide else ly.TAIL_20
    missing = start + width - len(body)
    if missing:
        if missing > ly.TAIL_MAY_MISS or missing > width:
            raise BadLength(f"{name}: Msg_Length points {missing} octets past the end")
        note("short_tail" if missing > 0 else "stray_tail")
    tail = body[start : start + width]
    return _str(tail) if tail[:1] > b"\0" else ""


def _decode_submit(body: bytes, wide: bool, note: Note) -> p.Submit:
    if len(body) < (ly.SUBMIT_30_FIXED if wide else ly.SUBMIT_20_FIXED):
        raise BadLength(f"SUBMIT: body of {len(body)} octets is shorter than its fixed fields")
    if wide:
        (
            msg_id, pk_total, pk_number, registered, level, service, fee_user, fee_terminal,
            fee_terminal_type,
            pid, udhi, fmt, msg_src, fee_type, fee_code, valid_time, at_time, src_id, n,
        ) = ly.SUBMIT_30.unpack_from(body)  # fmt: skip
        at, terminal = ly.SUBMIT_30.size, 32
    else:
        (
            msg_id, pk_total, pk_number, registered, level, service, fee_user, fee_terminal,
            pid, udhi, fmt, msg_src, fee_type, fee_code, valid_time, at_time, src_id, n,
        ) = ly.SUBMIT_20.unpack_from(body)  # fmt: skip
        at, terminal, fee_terminal_type = ly.SUBMIT_20.size, 21, 0
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
    form = ly.DELIVER_30 if wide else ly.DELIVER_20
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
    """Msg_Id and a result of one or four octets: by length (9 or 12) first, by version when neither
    fits.
    """
    size = len(body)
    if size == 12 or (size > 12 and wide):
        if not wide:
            note("other_version_width")
        elif size > 12:
            note("stray_tail")
        return ly.ID_RESULT_30.unpack_from(body)
    if size >= 9:
        note_tail = "stray_tail" if size > 9 else "other_version_width"
        if wide or size > 9:
            note(note_tail)
        return ly.ID_RESULT_20.unpack_from(body)
    raise BadLength(f"{name}: body of {size} octets, 9 or 12 needed")


def _decode_submit_resp(body: bytes, wide: bool, note: Note) -> p.SubmitResp:
    msg_id, result = _id_and_result(body, wide, "SUBMIT_RESP", note)
    return p.SubmitResp(msg_id, result)


def _decode_deliver_resp(body: bytes, wide: bool, note: Note) -> p.DeliverResp:
    msg_id, result = _id_and_result(body, wide, "DELIVER_RESP", note)
    return p.DeliverResp(msg_id, result)


def _decode_connect(body: bytes, _wide: bool, note: Note) -> p.Connect:
    _need(body, ly.CONNECT.size, "CONNECT", note)
    source, auth, version, timestamp = ly.CONNECT.unpack_from(body)
    return p.Connect(_str(source), auth, version, timestamp)


def _decode_connect_resp(body: bytes, wide: bool, note: Note) -> p.ConnectResp:
    size = len(body)
    if size < ly.CONNECT_RESP_20.size:
        raise BadLength(f"CONNECT_RESP: body of {size} octets, 18 or 21 needed")
    form = (
        ly.CONNECT_RESP_30
        if size == ly.CONNECT_RESP_30.size or (size > ly.CONNECT_RESP_30.size and wide)
        else ly.CONNECT_RESP_20
    )
    if size > form.size:
        note("stray_tail")
    elif (form is ly.CONNECT_RESP_30) != wide:
        note("other_version_width")
    return p.ConnectResp(*form.unpack_from(body))


def _decode_query(body: bytes, _wide: bool, note: Note) -> p.Query:
    _need(body, ly.QUERY.size, "QUERY", note)
    time, kind, code, reserve = ly.QUERY.unpack_from(body)
    return p.Query(_str(time), kind, _str(code), _str(reserve))


def _decode_query_resp(body: bytes, _wide: bool, note: Note) -> p.QueryResp:
    _need(body, ly.QUERY_RESP.size, "QUERY_RESP", note)
    time, kind, code, *counters = ly.QUERY_RESP.unpack_from(body)
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
