"""What an HTTP answer to a webhook means, as one table: status to outcome.

Standard Webhooks: only 2xx is acceptance, 410 ends the subscription, 429 and 503 may say when to
come again. An answer that may have been made after the event was processed (500, 502, 504) leaves
the outcome unknown; the receiver knows repeats by `webhook-id`, so an unknown is settled by sending
the same event again.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from protocols.outcome import Outcome, Rejected, Retry, Scope, Sent, Unknown

MAX_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Statuses `first` to `last`. `verdict`: sent, retry, rejected or unknown."""

    first: int
    last: int
    verdict: str
    code: str
    scope: Scope = "recipient"


#: The first line that fits holds.
RULES: tuple[Rule, ...] = (
    Rule(200, 299, "sent", "sent"),
    Rule(300, 399, "retry", "redirect"),  # never followed: it would leave the checked address
    Rule(401, 401, "retry", "unauthorized"),  # a rotation in progress, a gateway being set up
    Rule(403, 407, "retry", "refused"),  # 404 is what a receiver says while it is being deployed
    Rule(408, 408, "retry", "receiver_timeout"),
    Rule(410, 410, "rejected", "gone"),
    Rule(425, 425, "retry", "too_early"),
    Rule(429, 429, "retry", "throttled"),
    Rule(400, 499, "rejected", "refused_event", "message"),
    Rule(503, 503, "retry", "unavailable"),
    Rule(500, 599, "unknown", "receiver_error"),
    Rule(0, 999, "retry", "not_http"),
)


def outcome_of(status: int, retry_after: str = "", now: int = 0) -> Outcome:
    """The outcome of an answer with `status`. `retry_after`: the header as it came; `now`:
    seconds since the epoch.
    """
    rule = next(rule for rule in RULES if rule.first <= status <= rule.last)
    detail = f"the subscriber answered HTTP {status}"
    match rule.verdict:
        case "sent":
            return Sent(detail=f"HTTP {status}")
        case "retry":
            return Retry(rule.scope, detail, seconds_of(retry_after, now), rule.code)
        case "rejected":
            return Rejected(rule.scope, detail, rule.code)
        case _:
            return Unknown(detail)


def seconds_of(retry_after: str, now: int) -> float:
    """Retry-After (RFC 9110, 10.2.3), seconds or a date, as seconds from `now`: 0 = not said or
    unreadable, at most 1 h.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_AFTER_S)
    try:
        when = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(when - now, 0.0), MAX_AFTER_S)
