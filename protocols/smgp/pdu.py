"""SMGP 3.0 protocol data units as frozen values, with the request and status numbers of the
specification.

Text fields are `str`, mapped octet for octet (latin-1) and cut at the first NUL; contents are
`bytes`; a MsgID is 20 hex digits. Source: SMGP 3.0 chapter 6; 1.3 has no FixedFee.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocols.smgp.tags import TP_UDHI
from protocols.sms import tlv
from protocols.sms.tlv import Tlv

V13 = 0x13
V30 = 0x30

LOGIN = 0x00000001
SUBMIT = 0x00000002
DELIVER = 0x00000003
ACTIVE_TEST = 0x00000004
EXIT = 0x00000006
QUERY = 0x00000007
RESPONSE = 0x80000000  #: bit 31: the answer to the request with the same low bits

OK = 0
BUSY = 1
TOO_MANY = 2
BAD_STRUCTURE = 10
BAD_COMMAND = 11
DUPLICATE = 12
BAD_SOURCE_IP = 20
BAD_LOGIN = 21
BAD_VERSION = 22

MAX_RECIPIENTS = 100
NO_ID = "0" * 20


class LoginMode(IntEnum):
    """What a connection is for; an account may need one for each direction."""

    SEND = 0
    RECEIVE = 1
    BOTH = 2


@dataclass(frozen=True, slots=True)
class Login:
    """Login. `timestamp` is the decimal number MMDDHHMMSS, `auth` 16 octets."""

    client_id: str
    auth: bytes
    timestamp: int
    mode: int = LoginMode.BOTH
    version: int = V30


@dataclass(frozen=True, slots=True)
class LoginResp:
    """Login answer; `version` is the highest the server supports."""

    status: int = OK
    auth: bytes = bytes(16)
    version: int = V30


@dataclass(frozen=True, slots=True)
class ActiveTest:
    """Are you there; header only."""


@dataclass(frozen=True, slots=True)
class ActiveTestResp:
    """Still here; header only."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Wish to end the session; header only."""


@dataclass(frozen=True, slots=True)
class ExitResp:
    """Consent to end the session; header only."""


@dataclass(frozen=True, slots=True)
class Submit:
    """One message (MT) to 1..100 recipients. `content` includes the UDH when TLV TP_udhi is 1.

    `fee_type`: "00" free, "01" per message, "02" monthly, "03" capped.
    """

    recipients: tuple[str, ...]
    content: bytes
    source: str
    msg_format: int = 15
    msg_type: int = 6
    need_report: int = 1
    priority: int = 0
    service_id: str = ""
    fee_type: str = "00"
    fee_code: str = "000000"
    fixed_fee: str = "000000"
    valid_time: str = ""
    at_time: str = ""
    charge_number: str = ""
    reserve: str = ""
    tlvs: tuple[Tlv, ...] = ()

    @property
    def udhi(self) -> int:
        return tlv.number(self.tlvs, TP_UDHI) or 0


@dataclass(frozen=True, slots=True)
class SubmitResp:
    """Answer to `Submit`."""

    msg_id: str = NO_ID
    status: int = OK


@dataclass(frozen=True, slots=True)
class Deliver:
    """One message from a phone (MO), or a status report when `is_report` is 1: then `content` is a
    `report.Report`, whose msg_id is the one to correlate on. `recv_time` is YYYYMMDDHHMMSS.
    """

    msg_id: str
    source: str
    destination: str
    content: bytes
    is_report: int = 0
    msg_format: int = 15
    recv_time: str = ""
    reserve: str = ""
    tlvs: tuple[Tlv, ...] = ()

    @property
    def udhi(self) -> int:
        return tlv.number(self.tlvs, TP_UDHI) or 0


@dataclass(frozen=True, slots=True)
class DeliverResp:
    """Answer to `Deliver`."""

    msg_id: str
    status: int = OK


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
    reserve: str = ""


Request = Login | Submit | Deliver | Query | ActiveTest | Exit
Response = LoginResp | SubmitResp | DeliverResp | QueryResp | ActiveTestResp | ExitResp
Pdu = Request | Response
