"""Signed requests: for callers whose entry says `signing`, a key alone is not enough.

The three headers of Standard Webhooks, over the id, the time and what is asked: `METHOD /path?query`, a line feed, the body
(of an upload: nothing, its id follows from its content). At most 300 s old; an id counts once in 600 s, in all processes.
"""

from __future__ import annotations

from msgcenter.api.problems import Problem
from msgcenter.config.rules import Signing
from msgcenter.state import State
from protocols.webhook.signing import TOLERANCE_S, BadSignature, verify

KEPT_S = 2.0 * TOLERANCE_S
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


async def check(
    signing: Signing,
    state: State,
    caller: str,
    *,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    now_s: int,
    fresh: str,
) -> None:
    """`fresh`: a word that no other request has. Raises Problem signature_invalid, signature_replayed; StateError."""
    secrets = [secret.reveal() for secret in signing.secrets]
    try:
        event = verify(secrets, headers, f"{method} {target}\n".encode() + body, now_s)
    except BadSignature as error:
        raise Problem("signature_invalid", why=str(error)) from error
    if await state.lock(f"signed:{caller}:{event}", fresh, KEPT_S):
        raise Problem("signature_replayed")
