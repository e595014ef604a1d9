"""What SMPP's command_status means to us: the status of a submit_sm_resp (or generic_nack) to
outcome.

Source: SMPP 3.4, 5.1.3; retry classes as operated. 0x400-0x4FF belong to vendors: an account may
name the class of such a code, else it is permanent for that message.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.smpp import pdu as p
from protocols.sms.results import Codes, Rule

STATUSES: Mapping[int, Rule] = {
    p.RINVMSGLEN: Rule("message", False, "too_long", "message length"),
    p.RINVCMDLEN: Rule("message", False, "protocol_fault", "command length"),
    p.RINVCMDID: Rule("message", False, "protocol_fault", "command id"),
    p.RINVBNDSTS: Rule("channel", True, "session", "wrong bind status"),
    p.RALYBND: Rule("channel", True, "session", "already bound"),
    p.RINVPRTFLG: Rule("message", False, "protocol_fault", "priority flag"),
    p.RINVREGDLVFLG: Rule("message", False, "protocol_fault", "registered delivery flag"),
    p.RSYSERR: Rule("channel", True, "far_end_trouble", "system error"),
    p.RINVSRCADR: Rule("account", False, "src_id", "source address"),
    p.RINVDSTADR: Rule("recipient", False, "bad_number", "destination address"),
    p.RINVMSGID: Rule("message", False, "protocol_fault", "message id"),
    p.RBINDFAIL: Rule("channel", True, "session", "bind failed"),
    p.RINVPASWD: Rule("channel", True, "login", "password"),
    p.RINVSYSID: Rule("channel", True, "login", "system id"),
    p.RCANCELFAIL: Rule("message", False, "cancel_failed", "cancel failed"),
    p.RREPLACEFAIL: Rule("message", False, "replace_failed", "replace failed"),
    p.RMSGQFUL: Rule("channel", True, "throttled", "message queue full"),
    p.RINVSERTYP: Rule("account", False, "service_id", "service type"),
    p.RINVNUMDESTS: Rule("message", False, "protocol_fault", "number of destinations"),
    p.RINVDLNAME: Rule("message", False, "protocol_fault", "distribution list"),
    p.RINVDESTFLAG: Rule("message", False, "protocol_fault", "destination flag"),
    p.RINVSUBREP: Rule("message", False, "protocol_fault", "submit with replace"),
    p.RINVESMCLASS: Rule("message", False, "protocol_fault", "esm_class"),
    p.RCNTSUBDL: Rule("message", False, "protocol_fault", "submit to distribution list"),
    p.RSUBMITFAIL: Rule("message", True, "submit_failed", "submit failed"),
    p.RINVSRCTON: Rule("account", False, "src_id", "source type of number"),
    p.RINVSRCNPI: Rule("account", False, "src_id", "source numbering plan"),
    p.RINVDSTTON: Rule("recipient", False, "bad_number", "destination type of number"),
    p.RINVDSTNPI: Rule("recipient", False, "bad_number", "destination numbering plan"),
    p.RINVSYSTYP: Rule("channel", True, "login", "system type"),
    p.RINVREPFLAG: Rule("message", False, "protocol_fault", "replace flag"),
    p.RINVNUMMSGS: Rule("message", False, "protocol_fault", "number of messages"),
    p.RTHROTTLED: Rule("channel", True, "throttled", "throttled"),
    p.RINVSCHED: Rule("message", False, "protocol_fault", "scheduled delivery time"),
    p.RINVEXPIRY: Rule("message", False, "protocol_fault", "validity period"),
    p.RINVDFTMSGID: Rule("message", False, "protocol_fault", "predefined message"),
    p.RX_T_APPN: Rule("message", True, "far_end_temporary", "receiver: temporary"),
    p.RX_P_APPN: Rule("message", False, "far_end_permanent", "receiver: permanent"),
    p.RX_R_APPN: Rule("message", False, "far_end_refused", "receiver: refused"),
    p.RQUERYFAIL: Rule("message", False, "query_failed", "query failed"),
    p.RINVOPTPARSTREAM: Rule("message", False, "protocol_fault", "optional parameters"),
    p.ROPTPARNOTALLWD: Rule("message", False, "protocol_fault", "optional parameter not allowed"),
    p.RINVPARLEN: Rule("message", False, "protocol_fault", "parameter length"),
    p.RMISSINGOPTPARAM: Rule("message", False, "protocol_fault", "optional parameter missing"),
    p.RINVOPTPARAMVAL: Rule("message", False, "protocol_fault", "optional parameter value"),
    p.RDELIVERYFAILURE: Rule("message", True, "delivery_failure", "delivery failure"),
    p.RUNKNOWNERR: Rule("message", True, "far_end_unknown", "unknown error"),
}
CODES = Codes("SMPP status", STATUSES, base=16)
