"""SMPP 3.4 protocol data units as frozen values, with the command and status numbers of the
specification.

Text fields are `str`, mapped octet for octet (latin-1); contents are `bytes`. A response carries
the `status` of its header; with one other than 0 it has no body. Source: SMPP 3.4 Issue 1.2,
chapter 4 (PDUs) and 5 (parameters).

Long because it is a list of PDUs, each a value with its fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from protocols.sms.tlv import Tlv

V34 = 0x34

OUTBIND = 0x0000000B
QUERY_SM = 0x00000003
SUBMIT_SM = 0x00000004
DELIVER_SM = 0x00000005
UNBIND = 0x00000006
REPLACE_SM = 0x00000007
CANCEL_SM = 0x00000008
ENQUIRE_LINK = 0x00000015
ALERT_NOTIFICATION = 0x00000102
DATA_SM = 0x00000103
RESPONSE = 0x80000000  #: bit 31: the answer to the request with the same low bits
GENERIC_NACK = 0x80000000  #: the answer to what could not be read

MAX_SEQUENCE = 0x7FFFFFFF
MAX_SHORT_MESSAGE = 254

ROK = 0x00
RINVMSGLEN = 0x01
RINVCMDLEN = 0x02
RINVCMDID = 0x03
RINVBNDSTS = 0x04
RALYBND = 0x05
RINVPRTFLG = 0x06
RINVREGDLVFLG = 0x07
RSYSERR = 0x08
RINVSRCADR = 0x0A
RINVDSTADR = 0x0B
RINVMSGID = 0x0C
RBINDFAIL = 0x0D
RINVPASWD = 0x0E
RINVSYSID = 0x0F
RCANCELFAIL = 0x11
RREPLACEFAIL = 0x13
RMSGQFUL = 0x14
RINVSERTYP = 0x15
RINVNUMDESTS = 0x33
RINVDLNAME = 0x34
RINVDESTFLAG = 0x40
RINVSUBREP = 0x42
RINVESMCLASS = 0x43
RCNTSUBDL = 0x44
RSUBMITFAIL = 0x45
RINVSRCTON = 0x48
RINVSRCNPI = 0x49
RINVDSTTON = 0x50
RINVDSTNPI = 0x51
RINVSYSTYP = 0x53
RINVREPFLAG = 0x54
RINVNUMMSGS = 0x55
RTHROTTLED = 0x58
RINVSCHED = 0x61
RINVEXPIRY = 0x62
RINVDFTMSGID = 0x63
RX_T_APPN = 0x64
RX_P_APPN = 0x65
RX_R_APPN = 0x66
RQUERYFAIL = 0x67
RINVOPTPARSTREAM = 0xC0
ROPTPARNOTALLWD = 0xC1
RINVPARLEN = 0xC2
RMISSINGOPTPARAM = 0xC3
RINVOPTPARAMVAL = 0xC4
RDELIVERYFAILURE = 0xFE
RUNKNOWNERR = 0xFF

#: esm_class: what kind of message (bits 5-2), and whether its content starts with a header.
ESM_TYPE = 0x3C
ESM_RECEIPT = 0x04
ESM_INTERMEDIATE = 0x20
ESM_UDHI = 0x40

#: registered_delivery, bits 1-0.
RECEIPT_ALWAYS = 1
RECEIPT_ON_FAILURE = 2


class Mode(IntEnum):
    """What a session may do; the value is the command of its bind."""

    RECEIVER = 0x00000001
    TRANSMITTER = 0x00000002
    TRANSCEIVER = 0x00000009


class MessageState(IntEnum):
    """message_state of query_sm_resp and of receipts."""

    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8


@dataclass(frozen=True, slots=True)
class Bind:
    """Login. The password travels in clear."""

    mode: Mode
    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    interface_version: int = V34
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""


@dataclass(frozen=True, slots=True)
class BindResp:
    """Login answer; TLV sc_interface_version tells the server's version, without it there are no
    TLVs to be sent to it.
    """

    mode: Mode
    system_id: str = ""
    tlvs: tuple[Tlv, ...] = ()
    status: int = ROK


@dataclass(frozen=True, slots=True)
class Outbind:
    """The SMSC asks an ESME to bind; it has no answer but a bind."""

    system_id: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unbind:
    """Wish to end the session; header only."""


@dataclass(frozen=True, slots=True)
class UnbindResp:
    """Consent to end the session; header only."""

    status: int = ROK


@dataclass(frozen=True, slots=True)
class EnquireLink:
    """Are you there; header only."""


@dataclass(frozen=True, slots=True)
class EnquireLinkResp:
    """Still here; header only."""

    status: int = ROK


@dataclass(frozen=True, slots=True)
class GenericNack:
    """The answer to a request whose header could not be used; header only."""

    status: int


@dataclass(frozen=True, slots=True)
class ShortMessage:
    """What submit_sm and deliver_sm have in common. `short_message` holds at most 254 octets,
    header included when `esm_class` has 0x40; longer content goes into TLV message_payload.
    """

    source: str
    destination: str
    short_message: bytes
    data_coding: int = 0
    esm_class: int = 0
    service_type: str = ""
    source_ton: int = 0
    source_npi: int = 0
    dest_ton: int = 1
    dest_npi: int = 1
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present: int = 0
    sm_default_msg_id: int = 0
    tlvs: tuple[Tlv, ...] = ()


@dataclass(frozen=True, slots=True)
class SubmitSm(ShortMessage):
    """One message (MT) to one recipient."""


@dataclass(frozen=True, slots=True)
class SubmitSmResp:
    """Answer to `SubmitSm`; `message_id` may be hexadecimal where receipts are decimal, see
    `receipt.same_id`.
    """

    message_id: str = ""
    status: int = ROK


@dataclass(frozen=True, slots=True)
class DeliverSm(ShortMessage):
    """One message from a phone (MO), or a receipt when `esm_class` & 0x3C is 0x04: then `source` is
    the recipient of the original message.
    """


@dataclass(frozen=True, slots=True)
class DeliverSmResp:
    """Answer to `DeliverSm`; `message_id` is unused."""

    message_id: str = ""
    status: int = ROK


@dataclass(frozen=True, slots=True)
class DataSm:
    """A message of either direction whose content is in TLV message_payload."""

    source: str
    destination: str
    data_coding: int = 0
    esm_class: int = 0
    service_type: str = ""
    source_ton: int = 0
    source_npi: int = 0
    dest_ton: int = 1
    dest_npi: int = 1
    registered_delivery: int = 0
    tlvs: tuple[Tlv, ...] = ()


@dataclass(frozen=True, slots=True)
class DataSmResp:
    """Answer to `DataSm`."""

    message_id: str = ""
    tlvs: tuple[Tlv, ...] = ()
    status: int = ROK


@dataclass(frozen=True, slots=True)
class QuerySm:
    """Asks what became of a message; the source must be that of its submit."""

    message_id: str
    source: str
    source_ton: int = 0
    source_npi: int = 0


@dataclass(frozen=True, slots=True)
class QuerySmResp:
    """What became of it; `final_date` is empty while it is on its way."""

    message_id: str = ""
    final_date: str = ""
    message_state: int = 0
    error_code: int = 0
    status: int = ROK


@dataclass(frozen=True, slots=True)
class CancelSm:
    """Drops a message not yet delivered; an empty `message_id` drops all of that source,
    destination and service type.
    """

    message_id: str
    source: str
    destination: str = ""
    service_type: str = ""
    source_ton: int = 0
    source_npi: int = 0
    dest_ton: int = 0
    dest_npi: int = 0


@dataclass(frozen=True, slots=True)
class CancelSmResp:
    """Answer to `CancelSm`; header only."""

    status: int = ROK


@dataclass(frozen=True, slots=True)
class ReplaceSm:
    """New content for a message not yet delivered."""

    message_id: str
    source: str
    short_message: bytes
    source_ton: int = 0
    source_npi: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    sm_default_msg_id: int = 0


@dataclass(frozen=True, slots=True)
class ReplaceSmResp:
    """Answer to `ReplaceSm`; header only."""

    status: int = ROK


@dataclass(frozen=True, slots=True)
class AlertNotification:
    """A phone is reachable again; it has no answer."""

    source: str
    esme: str
    source_ton: int = 0
    source_npi: int = 0
    esme_ton: int = 0
    esme_npi: int = 0
    tlvs: tuple[Tlv, ...] = ()


Request = (
    Bind
    | Outbind
    | Unbind
    | EnquireLink
    | SubmitSm
    | DeliverSm
    | DataSm
    | QuerySm
    | CancelSm
    | ReplaceSm
    | AlertNotification
)
Response = (
    BindResp
    | UnbindResp
    | EnquireLinkResp
    | GenericNack
    | SubmitSmResp
    | DeliverSmResp
    | DataSmResp
    | QuerySmResp
    | CancelSmResp
    | ReplaceSmResp
)
Pdu = Request | Response
