"""CMPP login digests (CMPP 3.0, 7.4.1), with the two readings of each that deployed peers use.

MD5 is what the protocol prescribes; it keeps nobody out who can record a login. Keep the link on a
private line.
"""

from __future__ import annotations

import hashlib
import hmac


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def source_digest(source: str, secret: str, timestamp: int) -> bytes:
    """AuthenticatorSource: MD5(Source_Addr, nine octets 00, secret, timestamp as exactly ten
    digits).
    """
    return _md5(source.encode() + bytes(9) + secret.encode() + b"%010d" % timestamp)


def source_matches(digest: bytes, source: str, secret: str, timestamp: int) -> bool:
    """Whether a login is good; an SP_Id shorter than six may have been hashed bare or padded with
    NUL to six.
    """
    padded = source.ljust(6, "\0")
    return any(
        hmac.compare_digest(digest, source_digest(form, secret, timestamp))
        for form in (source, padded)
    )


def ismg_digest(status: int, width: int, source_auth: bytes, secret: str) -> bytes:
    """AuthenticatorISMG: MD5(status in `width` octets as on the wire, AuthenticatorSource,
    secret).
    """
    return _md5(status.to_bytes(width, "big") + source_auth + secret.encode())


def ismg_matches(digest: bytes, status: int, source_auth: bytes, secret: str) -> bool:
    """Whether the server knows the secret; a 2.0 server may have hashed one or four octets of
    status.
    """
    return any(
        hmac.compare_digest(digest, ismg_digest(status, width, source_auth, secret))
        for width in (4, 1)
        if status < 1 << 8 * width
    )
