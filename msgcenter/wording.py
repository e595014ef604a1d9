"""Wording: decisions as an operator reads them: which rule, what it does and why, and when the message is looked at again.

It reads the `decisions` of the API's answers, so that the command line, the sandbox and a console say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")

_DOES = {
    "send": "lets it go",
    "pass": "has room",
    "counted": "counts it and sets no limit",
    "resolved": "names the address",
    "routed": "takes it",
    "wait": "makes it wait",
    "hold": "makes it wait",
    "merge": "makes it wait, to be sent as one with others",
    "merged": "ends it",
    "stands": "lets it go for others, too",
    "held": "makes it wait",
    "downgrade": "sends it another way",
    "review": "wants somebody to look at it",
    "refuse": "refuses it",
    "rejected": "refuses it",
    "drop": "refuses it",
    "suppressed": "stops it",
    "retry": "cannot say yet",
}
_STAGES = {
    "block": "block list",
    "consent": "consent",
    "content": "content",
    "quiet": "quiet time",
    "reserve": "frequency cap",
    "resolve": "recipient",
    "review": "review",
    "wait_until": "time asked for",
    "expire": "validity",
    "admit": "right before the send",
    "hours": "right before the send",
    "route": "route",
}


def decision_words(decision: Mapping[str, Any]) -> str:
    """One decision: `frequency cap "daily" refuses it: person (daily: 3 of 3); next eligible 2026-06-16 08:00:00 (Asia/Shanghai)`."""
    stage = _STAGES.get(decision["stage"], decision["stage"])
    does = _DOES.get(decision["verdict"], decision["verdict"])
    words = f'{stage} "{decision["rule"]}" {does}'
    if decision.get("detail"):
        words += f": {decision['detail']}"
    facts = [f"{name}: {_fact(name, v)}" for name, v in (decision.get("facts") or {}).items() if v]
    if facts:
        words += f" ({', '.join(facts)})"
    if decision.get("next_at") and stage == "review":
        words += f"; if nobody decides by {time_words(decision['next_at'])}, it ends unsent"
    elif decision.get("next_at"):
        words += f"; next eligible {time_words(decision['next_at'])}"
    elif decision["verdict"] in ("refuse", "drop", "rejected", "suppressed"):
        words += "; waiting does not help"
    return words


def _fact(name: str, value: str) -> str:
    """Times among the facts are epoch milliseconds."""
    if name.endswith("_at") and value.isdecimal():
        return time_words(datetime.fromtimestamp(int(value) / 1000, UTC).isoformat())
    return value


def time_words(at: str) -> str:
    """An RFC 3339 time as the clocks of the operator show it: `2026-06-16 08:00:00 (Asia/Shanghai)`."""
    local = datetime.fromisoformat(at).astimezone(SHANGHAI)
    return f"{local:%Y-%m-%d %H:%M:%S} ({SHANGHAI.key})"
