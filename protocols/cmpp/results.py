"""What CMPP's codes mean to us, as two tables: Result of a SUBMIT_RESP to outcome, Stat of a report
to state.

Source: CMPP 3.0 (QB-GF-028-2003) 7.4.2.2 and 7.4.5.2; retry classes as operated. Results 100-199
belong to vendors: an account may name the class of such a code, else it is permanent for that
message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from protocols.cmpp import pdu as p
from protocols.outcome import Rejected, Retry, Scope
from protocols.payload import ReportState

#: Classes that an account's own table may give to a vendor code.
ResultClass = Literal["throttled", "temporary", "recipient", "message", "account", "channel"]


@dataclass(frozen=True, slots=True)
class Rule:
    """`retry`: worth another try. `code`: our reason code."""

    scope: Scope
    retry: bool
    code: str
    words: str


RESULTS: Mapping[int, Rule] = {
    p.RESULT_STRUCTURE: Rule("message", False, "protocol_fault", "bad structure"),
    p.RESULT_COMMAND: Rule("message", False, "protocol_fault", "bad command"),
    p.RESULT_DUPLICATE: Rule("message", False, "protocol_fault", "duplicate sequence"),
    p.RESULT_LENGTH: Rule("message", False, "protocol_fault", "bad length"),
    p.RESULT_FEE_CODE: Rule("account", False, "fee_code", "bad fee code"),
    p.RESULT_TOO_LONG: Rule("message", False, "too_long", "longer than the maximum"),
    p.RESULT_SERVICE: Rule("account", False, "service_id", "bad service code"),
    p.RESULT_FLOW: Rule("channel", True, "throttled", "flow control"),
    p.RESULT_FEE_NUMBER: Rule("recipient", False, "not_served", "number not served here"),
    p.RESULT_SRC_ID: Rule("account", False, "src_id", "bad Src_Id"),
    p.RESULT_MSG_SRC: Rule("account", False, "msg_src", "bad Msg_src"),
    p.RESULT_FEE_TERMINAL: Rule("recipient", False, "bad_number", "bad Fee_terminal_Id"),
    p.RESULT_DEST_TERMINAL: Rule("recipient", False, "bad_number", "bad Dest_terminal_Id"),
}
CLASSES: Mapping[ResultClass, Rule] = {
    "throttled": RESULTS[p.RESULT_FLOW],
    "temporary": Rule("message", True, "vendor_temporary", "vendor code, temporary"),
    "recipient": Rule("recipient", False, "vendor_recipient", "vendor code, recipient refused"),
    "message": Rule("message", False, "vendor_refused", "vendor code, message refused"),
    "account": Rule("account", False, "vendor_account", "vendor code, account refused"),
    "channel": Rule("channel", True, "vendor_channel", "vendor code, gateway in trouble"),
}

#: None: not final, to be ignored. What is not listed is `undelivered`.
STATES: Mapping[str, ReportState | None] = {
    "DELIVRD": "delivered",
    "ACCEPTD": None,
    "ENROUTE": None,
    "UNKNOWN": "unknown",
}


def rule_of(result: int, vendor: Mapping[int, ResultClass] | None = None) -> Rule:
    """The rule for a Result other than 0; `vendor`, the account's own table, comes first."""
    if vendor and result in vendor:
        return CLASSES[vendor[result]]
    return RESULTS.get(result, CLASSES["message"])


def outcome_of(
    result: int, vendor: Mapping[int, ResultClass] | None = None, after: float = 0.0
) -> Retry | Rejected:
    """The outcome of a message refused with `result`; `after` seconds when flow control asks to
    slow down.
    """
    rule = rule_of(result, vendor)
    detail = f"CMPP result {result}: {rule.words}"
    if rule.retry:
        return Retry(rule.scope, detail, after if rule.code == "throttled" else 0.0, rule.code)
    return Rejected(rule.scope, detail, rule.code)


def is_flow_control(result: int, vendor: Mapping[int, ResultClass] | None = None) -> bool:
    """Whether the gateway asks to slow down and send the same again."""
    return rule_of(result, vendor).code == "throttled"


def state_of(stat: str) -> ReportState | None:
    """The state a Stat stands for, whatever its case; None = not final, ignore. Empty is
    `unknown`.
    """
    word = stat.strip().upper()
    if not word:
        return "unknown"
    return STATES.get(word, "undelivered")
