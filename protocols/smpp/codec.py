"""SMPP 3.4 PDUs to octets and back: one table of layouts serves both; reading raises only
`Malformed`.

Tolerated, and named to `note` when given: a body behind an error status (`error_body`), octets
after the last field (`stray_tail`), optional parameters of a response that do not add up
(`short_tlv`, `tlv_length`), a time of an unusual length (`time_width`), content both in
short_message and message_payload (`content_twice`), a successful submit_sm_resp without a
message_id (`no_message_id`).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any, cast

from protocols.errors import Malformed
from protocols.smpp import pdu as p
from protocols.smpp.tags import MESSAGE_PAYLOAD, TAGS
from protocols.sms.fields import BadLength, Content, Field, Layout, Note, Number, ignore
from protocols.sms.tlv import Tlv, Tlvs, find

HEADER = Struct(">IIII")
HEADER_SIZE = 16
MAX_LENGTH = 0x10000 + 512  #: room for a full message_payload; without it 8 KiB would do


@dataclass(frozen=True, slots=True)
class CString:
    """Text that ends with NUL, at most `most` octets with it. Servers accept longer passwords than
    the text allows, so reading knows no maximum.
    """

    most: int

    def write(self, value: str) -> bytes:
        raw = value.encode("latin-1")
        if len(raw) >= self.most:
            raise ValueError(f"{len(raw)} octets, at most {self.most - 1} fit before the NUL")
        if b"\0" in raw:
            raise ValueError("NUL inside the text would end it")
        return raw + b"\0"

    def read(self, body: bytes, at: int, _note: Note) -> tuple[str, int]:
        end = body.find(b"\0", at)
        if end < 0:
            raise BadLength(f"no NUL from octet {at} to the end at {len(body)}")
        return body[at:end].decode("latin-1"), end + 1


@dataclass(frozen=True, slots=True)
class Secret(CString):
    """A C-string of up to `most` octets by the text; many servers take more, so up to 64 are
    written. Its faults do not show it.
    """

    def write(self, value: str) -> bytes:
        return CString(max(self.most, 64)).write(value)


@dataclass(frozen=True, slots=True)
class Time:
    """Empty, or exactly 16 characters (`YYMMDDhhmmsstnnp`, see `times`)."""

    def write(self, value: str) -> bytes:
        if len(value) not in (0, 16):
            raise ValueError(f"{value[:40]!r} has {len(value)} characters, 0 or 16 needed")
        return CString(17).write(value)

    def read(self, body: bytes, at: int, note: Note) -> tuple[str, int]:
        value, end = CString(17).read(body, at, note)
        if len(value) not in (0, 16):
            note("time_width")
        return value, end


_SM = Content(1, p.MAX_SHORT_MESSAGE)
_OPTIONAL = Tlvs(TAGS)
_LENIENT = Tlvs(TAGS, lenient=True)
_SOURCE: dict[str, Field] = {
    "source_ton": Number(), "source_npi": Number(), "source": CString(21),
}  # fmt: skip
_DEST: dict[str, Field] = {
    "dest_ton": Number(), "dest_npi": Number(), "destination": CString(21),
}  # fmt: skip
_MESSAGE: dict[str, Field] = {
    "service_type": CString(6),
    **_SOURCE,
    **_DEST,
    "esm_class": Number(),
    "protocol_id": Number(),
    "priority_flag": Number(),
    "schedule_delivery_time": Time(),
    "validity_period": Time(),
    "registered_delivery": Number(),
    "replace_if_present": Number(),
    "data_coding": Number(),
    "sm_default_msg_id": Number(),
    "short_message": _SM,
    "tlvs": _OPTIONAL,
}
_BIND: dict[str, Field] = {
    "system_id": CString(16),
    "password": Secret(9),
    "system_type": CString(13),
    "interface_version": Number(),
    "addr_ton": Number(),
    "addr_npi": Number(),
    "address_range": CString(41),
}
_ID = CString(65)

_BINDS = {0x1: "bind_receiver", 0x2: "bind_transmitter", 0x9: "bind_transceiver"}
LAYOUTS: dict[int, Layout[Any]] = {
    **{command: Layout(p.Bind, label, **_BIND) for command, label in _BINDS.items()},
    **{
        command | p.RESPONSE: Layout(
            p.BindResp, f"{label}_resp", system_id=CString(16), tlvs=_LENIENT
        )
        for command, label in _BINDS.items()
    },
    p.OUTBIND: Layout(p.Outbind, "outbind", system_id=CString(16), password=Secret(9)),
    p.UNBIND: Layout(p.Unbind, "unbind"),
    p.UNBIND | p.RESPONSE: Layout(p.UnbindResp, "unbind_resp"),
    p.ENQUIRE_LINK: Layout(p.EnquireLink, "enquire_link"),
    p.ENQUIRE_LINK | p.RESPONSE: Layout(p.EnquireLinkResp, "enquire_link_resp"),
    p.GENERIC_NACK: Layout(p.GenericNack, "generic_nack"),
    p.SUBMIT_SM: Layout(p.SubmitSm, "submit_sm", **_MESSAGE),
    p.SUBMIT_SM | p.RESPONSE: Layout(p.SubmitSmResp, "submit_sm_resp", message_id=_ID),
    p.DELIVER_SM: Layout(p.DeliverSm, "deliver_sm", **_MESSAGE),
    p.DELIVER_SM | p.RESPONSE: Layout(p.DeliverSmResp, "deliver_sm_resp", message_id=_ID),
    p.DATA_SM: Layout(
        p.DataSm, "data_sm",
        service_type=CString(6),
        source_ton=Number(), source_npi=Number(), source=CString(65),
        dest_ton=Number(), dest_npi=Number(), destination=CString(65),
        esm_class=Number(), registered_delivery=Number(), data_coding=Number(), tlvs=_OPTIONAL,
    ),
    p.DATA_SM | p.RESPONSE: Layout(p.DataSmResp, "data_sm_resp", message_id=_ID, tlvs=_LENIENT),
    p.QUERY_SM: Layout(p.QuerySm, "query_sm", message_id=_ID, **_SOURCE),
    p.QUERY_SM | p.RESPONSE: Layout(
        p.QuerySmResp, "query_sm_resp",
        message_id=_ID, final_date=Time(), message_state=Number(), error_code=Number(),
    ),
    p.CANCEL_SM: Layout(
        p.CancelSm, "cancel_sm", service_type=CString(6), message_id=_ID, **_SOURCE, **_DEST
    ),
    p.CANCEL_SM | p.RESPONSE: Layout(p.CancelSmResp, "cancel_sm_resp"),
    p.REPLACE_SM: Layout(
        p.ReplaceSm, "replace_sm",
        message_id=_ID, **_SOURCE,
        schedule_delivery_time=Time(), validity_period=Time(), registered_delivery=Number(),
        sm_default_msg_id=Number(), short_message=_SM,
    ),
    p.REPLACE_SM | p.RESPONSE: Layout(p.ReplaceSmResp, "replace_sm_resp"),
    p.ALERT_NOTIFICATION: Layout(
        p.AlertNotification, "alert_notification",
        source_ton=Number(), source_npi=Number(), source=CString(65),
        esme_ton=Number(), esme_npi=Number(), esme=CString(65), tlvs=_OPTIONAL,
    ),
}  # fmt: skip
_COMMANDS = {layout.kind: command for command, layout in LAYOUTS.items()}


def known(command: int) -> bool:
    """Whether `decode` can read this command_id."""
    return command in LAYOUTS


def encode(pdu: p.Pdu, sequence: int) -> bytes:
    """The PDU with its header. Raises ValueError naming the field that does not fit."""
    if isinstance(pdu, p.Bind):
        command: int = pdu.mode
    elif isinstance(pdu, p.BindResp):
        command = pdu.mode | p.RESPONSE
    else:
        command = _COMMANDS[type(pdu)]
    layout = LAYOUTS[command]
    if not 0 <= sequence <= 0xFFFFFFFF:
        raise ValueError(f"{layout.label}: sequence_number {sequence} is outside 0..2^32-1")
    status = getattr(pdu, "status", p.ROK)
    if not 0 <= status <= 0xFFFFFFFF:
        raise ValueError(f"{layout.label}: command_status {status} is outside 0..2^32-1")
    if _content_twice(pdu):
        raise ValueError(f"{layout.label}: short_message and message_payload exclude each other")
    body = b"" if status else layout.write(pdu)
    return HEADER.pack(HEADER_SIZE + len(body), command, status, sequence) + body


def decode(command: int, status: int, body: bytes, note: Note | None = None) -> p.Pdu:
    """Read one body (what follows the 16-octet header) of a known command. Raises Malformed
    (`BadLength` for missing octets, `BadTlv` and `BadTlvLength` for optional parameters).
    """
    layout = LAYOUTS.get(command)
    if layout is None:
        raise Malformed(f"unknown command 0x{command:08x}")
    note = note or ignore
    given: dict[str, object] = {}
    if layout.kind in (p.Bind, p.BindResp):
        given["mode"] = p.Mode(command & ~p.RESPONSE)
    if command & p.RESPONSE:
        given["status"] = status
        if status or (not body and layout.kind in _BODY_MAY_MISS):
            if body:
                note("error_body")
            elif not status and layout.kind is p.SubmitSmResp:
                note("no_message_id")
            return cast("p.Pdu", layout.kind(**given))
    pdu = layout.read(body, note, **given)
    if _content_twice(pdu):
        note("content_twice")
    return cast("p.Pdu", pdu)


def optional(tlvs: tuple[Tlv, ...]) -> bytes:
    """Optional parameters as they stand at the end of a body. Raises ValueError for a value of a
    wrong length.
    """
    return _OPTIONAL.write(tlvs)


def _content_twice(pdu: object) -> bool:
    return (
        isinstance(pdu, p.ShortMessage)
        and bool(pdu.short_message)
        and find(pdu.tlvs, MESSAGE_PAYLOAD) is not None
    )


_BODY_MAY_MISS = (p.SubmitSmResp, p.DeliverSmResp, p.BindResp, p.DataSmResp)
