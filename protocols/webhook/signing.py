"""Standard Webhooks signatures: `v1`, HMAC-SHA256 over `id.timestamp.body`, several secrets at once
for rotation.

Source: the Standard Webhooks specification, "Signature scheme". The scheme `v1a` (ed25519) is not
made, and skipped when read. Time comes in as an argument, in seconds since the Unix epoch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from protocols.errors import Malformed

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"
PREFIX = "whsec_"
TOLERANCE_S = 300
#: A dot would let id, timestamp and body change places under the same signature.
_ID = re.compile(r"[A-Za-z0-9_:@/+=\-]{1,256}")
_SECONDS = re.compile(r"[0-9]{1,11}")


class BadSignature(Malformed):
    """Not signed by anybody we know, or not now. The text names the check that failed and never
    a secret.
    """


def secret_of(key: bytes) -> str:
    """A secret as people pass it on: `whsec_` and base64. Raises ValueError unless the key has
    24-64 octets.
    """
    if not 24 <= len(key) <= 64:
        raise ValueError(f"webhook key of {len(key)} octets: the specification asks for 24 to 64")
    return PREFIX + base64.b64encode(key).decode()


@lru_cache(maxsize=1024)
def key_of(secret: str) -> bytes:
    """The key in a `whsec_` secret. Raises Malformed, without repeating the secret."""
    if not secret.startswith(PREFIX):
        raise Malformed(f"webhook secret: starts with {PREFIX}")
    try:
        key = base64.b64decode(secret[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"webhook secret: {PREFIX} must be followed by base64") from None
    if not 24 <= len(key) <= 64:
        raise Malformed(f"webhook secret: {len(key)} octets of key, 24 to 64 needed")
    return key


def _mac(key: bytes, event_id: str, timestamp: str, body: bytes) -> bytes:
    return hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)


def sign(secrets: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers. Every secret signs, so that a rotation has no gap. Raises Malformed for
    no or a bad secret.
    """
    if not secrets:
        raise Malformed("webhook: no secret to sign with")
    if not _ID.fullmatch(event_id):
        raise Malformed(f"{ID}: 1-256 letters, digits and _:@/+=- without dots")
    seconds = str(timestamp)
    marks = [
        "v1," + base64.b64encode(_mac(key_of(secret), event_id, seconds, body)).decode()
        for secret in secrets
    ]
    return {ID: event_id, TIMESTAMP: seconds, SIGNATURE: " ".join(marks)}


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: int,
    tolerance: int = TOLERANCE_S,
) -> str:
    """Check a call against any of the secrets and return its id. `headers` with lower-case names
    (or case-blind).

    Raises BadSignature: a header missing or unreadable, more than `tolerance` seconds old or ahead,
    or no match.
    """
    event_id, seconds = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    marks = headers.get(SIGNATURE, "")
    if not _ID.fullmatch(event_id):
        raise BadSignature(f"{ID}: missing or unreadable")
    if not _SECONDS.fullmatch(seconds):
        raise BadSignature(f"{TIMESTAMP}: missing or not seconds since 1970")
    if abs(now - int(seconds)) > tolerance:
        raise BadSignature(f"{TIMESTAMP}: more than {tolerance} s away from our clock")
    given = []
    for mark in marks.split(" ")[:32]:
        version, _, value = mark.partition(",")
        if version == "v1":
            given.append(value.encode("utf-8", "replace"))
    found = False
    for secret in secrets:
        right = base64.b64encode(_mac(key_of(secret), event_id, seconds, body))
        for candidate in given:
            # No way out early: the time taken must not tell which secret or mark fitted.
            found |= hmac.compare_digest(right, candidate)
    if not found:
        raise BadSignature(f"{SIGNATURE}: no v1 signature by a known secret")
    return event_id
