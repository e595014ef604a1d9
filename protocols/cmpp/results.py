"""What CMPP's codes mean to us: Result of a SUBMIT_RESP to outcome, Stat of a report to state.

Source: CMPP 3.0 (QB-GF-028-2003) 7.4.2.2 and 7.4.5.2; retry classes as operated. Results 100-199
belong to vendors: an account may name the class of such a code, else it is permanent for that
message.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.cmpp import pdu as p
from protocols.sms.results import CLASSES, STATES, Codes, ResultClass, Rule, state_of

__all__ = [
    "CLASSES",
    "CODES",
    "RESULTS",
    "STATES",
    "ResultClass",
    "Rule",
    "is_flow_control",
    "outcome_of",
    "rule_of",
    "state_of",
]

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
CODES = Codes("CMPP result", RESULTS)
rule_of = CODES.rule_of
outcome_of = CODES.outcome_of
is_flow_control = CODES.is_flow_control
