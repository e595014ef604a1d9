"""CMPP 2.0 and 3.0 protocol data units as frozen values, with the command, result and status
numbers of the specification.

Text fields are `str`, mapped octet for octet (latin-1) and cut at the first NUL; contents are
`bytes`. Fields that exist only in 3.0 (`fee_terminal_type`, `dest_type`, `source_type`) read as 0
from a 2.0 peer and are not written to one. Source: CMPP 3.0 (QB-GF-028-2003) chapter 7; 2.0 widths
as its known implementations agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

V20 = 0x20
V30 = 0x30

CONNECT = 0x00000001
TERMINATE = 0x00000002
SUBMIT = 0x00000004
DELIVER = 0x00000005
QUERY = 0x00000006
CANCEL = 0x00000007
ACTIVE_TEST = 0x00000008
RESPONSE = 0x80000000  #: bit 31: the answer to the request with the same low bits

RESULT_OK = 0
RESULT_STRUCTURE = 1
RESULT_COMMAND = 2
RESULT_DUPLICATE = 3
RESULT_LENGTH = 4
RESULT_FEE_CODE = 5
RESULT_TOO_LONG = 6
RESULT_SERVICE = 7
RESULT_FLOW = 8
RESULT_FEE_NUMBER = 9
RESULT_SRC_ID = 10
RESULT_MSG_SRC = 11
RESULT_FEE_TERMINAL = 12
RESULT_DEST_TERMINAL = 13

STATUS_OK = 0
STATUS_STRUCTURE = 1
STATUS_SOURCE = 2
STATUS_AUTH = 3
STATUS_VERSION = 4
STATUS_OTHER = 5  #: and up; too many connections on several gateways

MAX_RECIPIENTS = 99
MAX_SEQUENCE = 0xFFFFFFFF


def layout(version: int) -> int:
    """The field layout (`V20` or `V30`) for a version octet; peers write 0x00, 0x01 and 0x21 for
    the 2.0 layout too.
    """
    return V30 if version >= V30 else V20


@dataclass(frozen=True, slots=True)
class Connect:
    """Login. `source` is the six-digit SP_Id, `timestamp` the decimal number MMDDHHMMSS, `auth` 16
    octets.
    """

    source: str
    auth: bytes
    version: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class ConnectResp:
    """Login answer; `version` is the highest the server supports, `auth` zeros when `status` is not
    0.
    """

    status: int
    auth: bytes = bytes(16)
    version: int = V30


@dataclass(frozen=True, slots=True)
class Terminate:
    """Wish to end the session; header only."""


@dataclass(frozen=True, slots=True)
class TerminateResp:
    """Consent to end the session; header only."""


@dataclass(frozen=True, slots=True)
class ActiveTest:
    """Are you there; header only."""


@dataclass(frozen=True, slots=True)
class ActiveTestResp:
    """Still here; one reserved octet, which some peers leave out."""

    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Submit:
    """One message (MT) to 1..99 recipients. `content` includes the UDH when `udhi` is set; at most
    255 octets.
    """

    recipients: tuple[str, ...]
    content: bytes
    src_id: str
    msg_src: str
    msg_fmt: int = 8
    udhi: int = 0
    pk_total: int = 1
    pk_number: int = 1
    registered_delivery: int = 1
    msg_level: int = 0
    service_id: str = ""
    fee_user_type: int = 2
    fee_terminal_id: str = ""
    fee_terminal_type: int = 0
    tp_pid: int = 0
    fee_type: str = "01"
    fee_code: str = "000000"
    valid_time: str = ""
    at_time: str = ""
    dest_type: int = 0
    link_id: str = ""
    msg_id: int = 0


class SubmitResp(NamedTuple):
    """Answer to `Submit`; with several recipients `msg_id` starts a run (see `msgid.run`)."""

    msg_id: int
    result: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """One message from a phone (MO), or a status report when `registered_delivery` is 1.

    MO: `source` is the phone, `dest_id` the number it wrote to. Report: `source` is the recipient
    of the original message, `dest_id` its Src_Id, and `content` a `Report`, whose msg_id is the one
    to correlate on.
    """

    msg_id: int
    dest_id: str
    source: str
    content: bytes
    registered_delivery: int = 0
    msg_fmt: int = 8
    udhi: int = 0
    service_id: str = ""
    tp_pid: int = 0
    source_type: int = 0
    link_id: str = ""


@dataclass(frozen=True, slots=True)
class DeliverResp:
    """Answer to `Deliver`; a missing or non-zero one makes gateways send the same message again."""

    msg_id: int
    result: int


@dataclass(frozen=True, slots=True)
class Query:
    """Asks for one day's totals (not the state of a message). `time` YYYYMMDD; `query_type` 0 all,
    1 by service code.
    """

    time: str
    query_type: int = 0
    query_code: str = ""
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class QueryResp:
    """One day's totals, counted in messages except `mt_users`."""

    time: str
    query_type: int
    query_code: str
    mt_messages: int
    mt_users: int
    mt_ok: int
    mt_waiting: int
    mt_failed: int
    mo_ok: int
    mo_waiting: int
    mo_failed: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Asks to drop a message not yet delivered; many gateways do not implement it."""

    msg_id: int


@dataclass(frozen=True, slots=True)
class CancelResp:
    """`success_id` 0 done, 1 failed."""

    success_id: int


Request = Connect | Terminate | Submit | Deliver | Query | Cancel | ActiveTest
Response = (
    ConnectResp | TerminateResp | SubmitResp | DeliverResp | QueryResp | CancelResp | ActiveTestResp
)
Pdu = Request | Response
