"""A carrier's codes as a data table: which outcome a refusal means, by protocol and by the
account's own table of vendor codes.

Each protocol has one `Codes`; a code that neither table names is permanent for that message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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


CLASSES: Mapping[ResultClass, Rule] = {
    "throttled": Rule("channel", True, "throttled", "flow control"),
    "temporary": Rule("message", True, "vendor_temporary", "vendor code, temporary"),
    "recipient": Rule("recipient", False, "vendor_recipient", "vendor code, recipient refused"),
    "message": Rule("message", False, "vendor_refused", "vendor code, message refused"),
    "account": Rule("account", False, "vendor_account", "vendor code, account refused"),
    "channel": Rule("channel", True, "vendor_channel", "vendor code, gateway in trouble"),
}


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of one protocol. `label` opens the detail (`CMPP result`); `base` 16 writes codes
    in hex.
    """

    label: str
    rules: Mapping[int, Rule]
    base: int = 10

    def rule_of(self, code: int, vendor: Mapping[int, ResultClass] | None = None) -> Rule:
        """The rule for a code other than 0; `vendor`, the account's own table, comes first."""
        if vendor and code in vendor:
            return CLASSES[vendor[code]]
        return self.rules.get(code, CLASSES["message"])

    def outcome_of(
        self, code: int, vendor: Mapping[int, ResultClass] | None = None, after: float = 0.0
    ) -> Retry | Rejected:
        """The outcome of a message refused with `code`; `after` seconds when flow control asks to
        slow down.
        """
        rule = self.rule_of(code, vendor)
        shown = f"0x{code:08x}" if self.base == 16 else str(code)
        detail = f"{self.label} {shown}: {rule.words}"
        if rule.retry:
            return Retry(rule.scope, detail, after if rule.code == "throttled" else 0.0, rule.code)
        return Rejected(rule.scope, detail, rule.code)

    def is_flow_control(self, code: int, vendor: Mapping[int, ResultClass] | None = None) -> bool:
        """Whether the gateway asks to slow down and send the same again."""
        return self.rule_of(code, vendor).code == "throttled"


#: Stat of a report to state, the same words in CMPP, SMPP and SMGP. None: not final, to be ignored.
#: What is not listed is `undelivered`.
STATES: Mapping[str, ReportState | None] = {
    "DELIVRD": "delivered",
    "ACCEPTD": None,
    "ENROUTE": None,
    "UNKNOWN": "unknown",
}


def state_of(stat: str) -> ReportState | None:
    """The state a Stat stands for, whatever its case; None = not final, ignore. Empty is
    `unknown`.
    """
    word = stat.strip().upper()
    if not word:
        return "unknown"
    return STATES.get(word, "undelivered")
