"""The two MD5 digests with which CMPP and SMGP log in; they differ only in widths.

MD5 is what the protocols prescribe; it keeps nobody out who can record a login. Keep the link on a
private line.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def client_digest(name: str, gap: int, secret: str, timestamp: int) -> bytes:
    """MD5(name, `gap` octets 00, secret, timestamp MMDDHHMMSS as exactly ten digits)."""
    return _md5(name.encode() + bytes(gap) + secret.encode() + b"%010d" % timestamp)


def client_matches(
    digest: bytes, name: str, width: int, *, gap: int, secret: str, timestamp: int
) -> bool:
    """Whether a login is good; a name shorter than its field may have been hashed bare or padded
    with NUL to `width`.
    """
    return any(
        hmac.compare_digest(digest, client_digest(form, gap, secret, timestamp))
        for form in (name, name.ljust(width, "\0"))
    )


def server_digest(status: int, width: int, client: bytes, secret: str) -> bytes:
    """MD5(status in `width` octets, the client's digest, secret)."""
    return _md5(status.to_bytes(width, "big") + client + secret.encode())


def server_matches(
    digest: bytes, status: int, client: bytes, secret: str, widths: Iterable[int] = (4, 1)
) -> bool:
    """Whether the server knows the secret; servers hash four octets of status or one."""
    return any(
        hmac.compare_digest(digest, server_digest(status, width, client, secret))
        for width in widths
        if status < 1 << 8 * width
    )
