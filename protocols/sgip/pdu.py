"""SGIP 1.2 protocol data units as frozen values, with the command and result numbers of the
specification.

Text fields are `str`, mapped octet for octet (latin-1) and cut at the first NUL; contents are
`bytes`. Source: SGIP 1.2 (October 2001) chapter 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

BIND = 0x00000001
UNBIND = 0x00000002
SUBMIT = 0x00000003
DELIVER = 0x00000004
REPORT = 0x00000005
USER_REPORT = 0x00000011
RESPONSE = 0x80000000  #: bit 31: the answer to the request with the same low bits

OK = 0
BAD_LOGIN = 1
ALREADY_BOUND = 2
TOO_MANY = 3
BAD_LOGIN_TYPE = 4
BAD_FORMAT = 5
BAD_NUMBER = 6
BAD_ID = 7
BAD_LENGTH = 8
BAD_SEQUENCE = 9
BAD_OPERATION = 10
BUSY = 11

MAX_RECIPIENTS = 100
MAX_CONTENT = 2048  #: the length field takes more; handsets do not


class LoginType(IntEnum):
    """Which side logs in; the other types belong to gateways and name servers."""

    SP_TO_SMG = 1
    SMG_TO_SP = 2
    SMG_TO_SMG = 3
    TEST = 11


class State(IntEnum):
    """State of a Report; WAITING is not final."""

    DELIVERED = 0
    WAITING = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Bind:
    """Login; the password travels in clear. `login_type` is a `LoginType` from a sane peer."""

    name: str
    password: str = field(repr=False)
    login_type: int = LoginType.SP_TO_SMG
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class Unbind:
    """Wish to end the session; header only."""


@dataclass(frozen=True, slots=True)
class UnbindResp:
    """Consent to end the session; header only."""


@dataclass(frozen=True, slots=True)
class Submit:
    """One message (MT) to 1..100 recipients, whose numbers begin with 86. `content` includes the
    UDH when `udhi` is set.

    `charge_number`: empty = the recipients pay, 21 times "0" = the SP pays. `report_flag`: 0 only
    on error, 1 always, 2 never, 3 record of a monthly fee.
    """

    sp_number: str
    recipients: tuple[str, ...]
    content: bytes
    corp_id: str
    charge_number: str = "0" * 21
    service_type: str = ""
    fee_type: int = 1
    fee_value: str = "0"
    given_value: str = "0"
    agent_flag: int = 0
    more_late_to_mt: int = 2
    priority: int = 0
    expire_time: str = ""
    schedule_time: str = ""
    report_flag: int = 1
    tp_pid: int = 0
    udhi: int = 0
    coding: int = 8
    message_type: int = 0
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class Deliver:
    """One message from a phone (MO)."""

    user_number: str
    sp_number: str
    content: bytes
    tp_pid: int = 0
    udhi: int = 0
    coding: int = 8
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one recipient's message; `submit_sequence` is the 96-bit Sequence Number of
    its Submit (see `sequence`). `error` counts when `state` is 2.
    """

    submit_sequence: int
    user_number: str
    state: int
    error: int = 0
    report_type: int = 0
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class UserReport:
    """A phone's subscription changed; `condition`: 0 deregistered, 1 suspended, 2 normal."""

    sp_number: str
    user_number: str
    condition: int
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class BindResp:
    """Answer to `Bind`."""

    result: int = OK
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class SubmitResp:
    """Answer to `Submit`; the message id is the Sequence Number of the request."""

    result: int = OK
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class DeliverResp:
    """Answer to `Deliver`."""

    result: int = OK
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class ReportResp:
    """Answer to `Report`."""

    result: int = OK
    reserve: str = ""


@dataclass(frozen=True, slots=True)
class UserReportResp:
    """Answer to `UserReport`."""

    result: int = OK
    reserve: str = ""


Request = Bind | Unbind | Submit | Deliver | Report | UserReport
Response = BindResp | UnbindResp | SubmitResp | DeliverResp | ReportResp | UserReportResp
Pdu = Request | Response
