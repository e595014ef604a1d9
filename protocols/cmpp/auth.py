"""CMPP login digests (CMPP 3.0, 7.4.1), with the two readings of each that deployed peers use."""

from __future__ import annotations

from protocols.sms.digests import client_digest, client_matches, server_digest, server_matches

_GAP = 9
_SOURCE = 6


def source_digest(source: str, secret: str, timestamp: int) -> bytes:
    """AuthenticatorSource: MD5(Source_Addr, nine octets 00, secret, timestamp as exactly ten
    digits).
    """
    return client_digest(source, _GAP, secret, timestamp)


def source_matches(digest: bytes, source: str, secret: str, timestamp: int) -> bool:
    """Whether a login is good; an SP_Id shorter than six may have been hashed bare or padded with
    NUL to six.
    """
    return client_matches(digest, source, _SOURCE, gap=_GAP, secret=secret, timestamp=timestamp)


def ismg_digest(status: int, width: int, source_auth: bytes, secret: str) -> bytes:
    """AuthenticatorISMG: MD5(status in `width` octets as on the wire, AuthenticatorSource,
    secret).
    """
    return server_digest(status, width, source_auth, secret)


def ismg_matches(digest: bytes, status: int, source_auth: bytes, secret: str) -> bool:
    """Whether the server knows the secret; a 2.0 server may have hashed one or four octets of
    status.
    """
    return server_matches(digest, status, source_auth, secret)
