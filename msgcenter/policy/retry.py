"""How often and when a message is tried again: by category, with jitter, never past its expiry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgcenter.clock import Random
from protocols.envelope import Envelope
from protocols.outcome import Retry

#: Back-off before the n-th further try, seconds; the last one repeats. Up to 600 s it is a delay tier of the bus.
BACKOFF = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """A category's budget. `max_tries` counts every pass that the far end answered with Retry; `max_age_s` from acceptance,
    or from `send_at` when that is later. `backoff`: seconds before the n-th further try, the last one repeats.

    `on_unknown`: `once` allows one resend after `unknown_wait_s` without a receipt, marked `possibly_duplicate`.
    """

    max_tries: int = 10
    max_age_s: float = 24 * 3600.0
    on_unknown: Literal["never", "once"] = "never"
    unknown_wait_s: float = 90.0
    backoff: tuple[float, ...] = BACKOFF


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further try. `code`: stable reason code, one of `GIVEN_UP`."""

    code: str
    detail: str


GIVEN_UP = frozenset({"retries_exhausted", "expired_in_retry"})
"""Codes of a message that nobody refused: there was no time or no try left."""
WAITS_FOR_GROUP = "group_creating"
"""Code of a Retry that waits for a group to be there."""


def counts(retry: Retry) -> bool:
    """Whether a try is the message's own: a channel or an account that could not take it (link cut, flow control, login
    lost) is not its fault, nor is a group that is not there yet, an allowance that is used up (codes ending in `_limit`) or
    its turn behind another message (`waits`): none of them uses up a budget; age and expiry still bound it."""
    if retry.scope in ("channel", "account"):
        return False
    return retry.code not in (WAITS_FOR_GROUP, "waits") and not retry.code.endswith("_limit")


def next_try(
    rule: RetryRule, envelope: Envelope, retry: Retry, now_ms: int, rng: Random
) -> float | GiveUp:
    """Seconds until the next try, or why there is none.

    The far end's own `after` is respected when it is longer than the back-off. Jitter of +-20 % keeps a thousand messages
    refused together from coming back together. A try that would fall past the expiry is not made.
    """
    if counts(retry) and envelope.tries + 1 >= rule.max_tries:
        return GiveUp("retries_exhausted", f"{envelope.tries + 1} tries, the last: {retry.detail}")
    backoff = rule.backoff[min(envelope.tries, len(rule.backoff) - 1)]
    wait = max(retry.after, backoff * rng.uniform(0.8, 1.2))
    due = now_ms + wait * 1000
    if envelope.expires_at and due >= envelope.expires_at:
        return GiveUp(
            "expired_in_retry",
            f"no time for another try before the expiry; the last: {retry.detail}",
        )
    if due - max(envelope.created_at, envelope.not_before) > rule.max_age_s * 1000:
        return GiveUp(
            "retries_exhausted", f"older than {rule.max_age_s:.0f} s, the last: {retry.detail}"
        )
    return wait
