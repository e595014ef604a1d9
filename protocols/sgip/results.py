"""What SGIP's codes mean to us: Result of a response to outcome, State and ErrorCode of a Report to
state and reason.

Source: SGIP 1.2, 4.2 and its error table (1-20 belong to responses, 21-33 to reports, 88 is the
over-speed of deployed gateways); retry classes as operated. Others are the gateway's own: an
account may name their class, else they are permanent for that message.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.payload import ReportState
from protocols.sgip import pdu as p
from protocols.sms.results import Codes, Rule

RESULTS: Mapping[int, Rule] = {
    p.BAD_LOGIN: Rule("channel", True, "login", "bad login"),
    p.ALREADY_BOUND: Rule("channel", True, "session", "already bound"),
    p.TOO_MANY: Rule("channel", True, "session", "too many connections"),
    p.BAD_LOGIN_TYPE: Rule("channel", True, "login", "bad login type"),
    p.BAD_FORMAT: Rule("message", False, "protocol_fault", "parameter format"),
    p.BAD_NUMBER: Rule("recipient", False, "bad_number", "bad number"),
    p.BAD_ID: Rule("message", False, "protocol_fault", "message id"),
    p.BAD_LENGTH: Rule("message", False, "too_long", "message length"),
    p.BAD_SEQUENCE: Rule("message", False, "protocol_fault", "bad or repeated sequence"),
    p.BAD_OPERATION: Rule("account", False, "not_allowed", "illegal operation"),
    p.BUSY: Rule("channel", True, "throttled", "node busy"),
    21: Rule("message", True, "unreachable_now", "destination unreachable now"),
    22: Rule("account", False, "no_route", "wrong route"),
    23: Rule("account", False, "no_route", "no route"),
    24: Rule("account", False, "fee_number", "charge number invalid"),
    25: Rule("recipient", True, "recipient_unreachable", "user unreachable"),
    26: Rule("recipient", True, "recipient_full", "handset memory full"),
    27: Rule("recipient", False, "bad_number", "no SMS support"),
    28: Rule("recipient", True, "recipient_error", "handset receive error"),
    29: Rule("recipient", False, "bad_number", "unknown user"),
    30: Rule("recipient", False, "not_supported", "function not supported"),
    31: Rule("recipient", False, "bad_device", "illegal device"),
    32: Rule("channel", True, "far_end_trouble", "system failure"),
    33: Rule("channel", True, "throttled", "SMSC queue full"),
    88: Rule("channel", True, "throttled", "over speed"),
}
CODES = Codes("SGIP result", RESULTS)

STATES: Mapping[int, ReportState | None] = {
    p.State.DELIVERED: "delivered",
    p.State.WAITING: None,
    p.State.FAILED: "undelivered",
}


def state_of(report: p.Report) -> ReportState | None:
    """The state a Report tells; None = not final, ignore. A State outside the table is `unknown`."""
    return STATES.get(report.state, "unknown")


def reason_of(report: p.Report) -> str:
    """The ErrorCode of a failed message in words, empty for other states."""
    if report.state != p.State.FAILED:
        return ""
    return f"{report.error} {CODES.rule_of(report.error).words}"
