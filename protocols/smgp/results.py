"""What SMGP's codes mean to us: Status of a Submit_Resp to outcome, err of a report to words.

Source: SMGP 3.0, 6.2.5 and 6.2.48; retry classes as operated. 128-255 belong to vendors (over-speed
is among them on some gateways): an account may name the class of such a code, else it is permanent
for that message.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.smgp import pdu as p
from protocols.sms.results import Codes, Rule, state_of

__all__ = ["CODES", "ERRORS", "STATUSES", "state_of"]

STATUSES: Mapping[int, Rule] = {
    p.BUSY: Rule("channel", True, "throttled", "system busy"),
    p.TOO_MANY: Rule("channel", True, "session", "too many connections"),
    p.BAD_STRUCTURE: Rule("message", False, "protocol_fault", "bad structure"),
    p.BAD_COMMAND: Rule("message", False, "protocol_fault", "bad command"),
    p.DUPLICATE: Rule("message", False, "protocol_fault", "duplicate sequence"),
    p.BAD_SOURCE_IP: Rule("channel", True, "login", "source IP"),
    p.BAD_LOGIN: Rule("channel", True, "login", "authentication"),
    p.BAD_VERSION: Rule("channel", True, "login", "version"),
    30: Rule("message", False, "protocol_fault", "MsgType"),
    31: Rule("message", False, "protocol_fault", "Priority"),
    32: Rule("account", False, "fee_code", "FeeType"),
    33: Rule("account", False, "fee_code", "FeeCode"),
    34: Rule("message", False, "protocol_fault", "MsgFormat"),
    35: Rule("message", False, "protocol_fault", "time format"),
    36: Rule("message", False, "too_long", "message length"),
    37: Rule("message", False, "expired", "validity has passed"),
    38: Rule("message", False, "protocol_fault", "query type"),
    39: Rule("account", False, "no_route", "routing error"),
    40: Rule("account", False, "fee_code", "FixedFee"),
    43: Rule("account", False, "service_id", "service"),
    44: Rule("message", False, "protocol_fault", "ValidTime"),
    45: Rule("message", False, "protocol_fault", "AtTime"),
    46: Rule("account", False, "src_id", "source number"),
    47: Rule("recipient", False, "bad_number", "destination number"),
    48: Rule("account", False, "fee_number", "charge number"),
    49: Rule("account", False, "msg_src", "SP code"),
    58: Rule("account", False, "no_route", "no matching route"),
    73: Rule("account", False, "service_id", "MServiceID"),
    74: Rule("account", True, "hour_not_allowed", "hour not allowed for this SP"),
    75: Rule("account", True, "daily_quota", "daily quota used up"),
    76: Rule("channel", True, "login", "account expired"),
}
CODES = Codes("SMGP status", STATUSES)

#: err of a status report in words.
ERRORS: Mapping[str, str] = {
    "000": "ok",
    "001": "user cannot communicate",
    "002": "user busy",
    "003": "no such part",
    "004": "illegal user",
    "005": "user blacklisted",
    "006": "system error",
    "007": "handset memory full",
    "008": "terminal without messaging",
    "009": "bad data",
    "010": "data lost",
    "999": "unknown",
}
