"""SMGP login digests (SMGP 3.0, 6.2.2 and 6.2.4), with the readings that deployed peers use."""

from __future__ import annotations

from protocols.sms.digests import client_digest, client_matches, server_digest, server_matches

_GAP = 7
_CLIENT = 8


def login_digest(client_id: str, secret: str, timestamp: int) -> bytes:
    """AuthenticatorClient: MD5(ClientID, seven octets 00, secret, timestamp as exactly ten
    digits).
    """
    return client_digest(client_id, _GAP, secret, timestamp)


def login_matches(digest: bytes, client_id: str, secret: str, timestamp: int) -> bool:
    """Whether a login is good; a ClientID shorter than eight may have been hashed bare or padded."""
    return client_matches(digest, client_id, _CLIENT, gap=_GAP, secret=secret, timestamp=timestamp)


def gateway_digest(status: int, client_auth: bytes, secret: str) -> bytes:
    """AuthenticatorServer: MD5(Status 4, AuthenticatorClient, secret)."""
    return server_digest(status, 4, client_auth, secret)


def gateway_matches(digest: bytes, status: int, client_auth: bytes, secret: str) -> bool:
    """Whether the server knows the secret; some hash one octet of status."""
    return server_matches(digest, status, client_auth, secret)
