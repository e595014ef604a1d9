"""Callback crypto of WeCom (docs 90930, 90968): SHA-1 signature first, then AES-256-CBC, PKCS#7 over 32 octets, and the receiver's id.

Nonces, timestamps and the 16 random octets are arguments. Everything that is wrong with a callback is told to the outside in
one and the same text, so that nobody can learn from an answer how far a forgery got.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from Crypto.Cipher import AES

from protocols.errors import Malformed

Check: TypeAlias = Literal["signature", "cipher", "receiver", "envelope", "content"]

BLOCK = 32
RANDOM = 16
_HEAD = RANDOM + 4
_KEY = re.compile(r"[A-Za-z0-9+/]{43}")
_SECONDS = re.compile(r"[0-9]{1,11}")


class Refused(Malformed):
    """A callback that is not from WeCom, not for us, or damaged. The text is the same for every cause.

    `check` says which check failed, for our own metrics and log; it never goes into an answer.
    """

    def __init__(self, check: Check) -> None:
        super().__init__("callback refused")
        self.check = check


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted text with its signature. `encrypt`: base64; `signature`: 40 lower-case hex digits."""

    encrypt: str
    signature: str
    timestamp: str
    nonce: str


def key_of(encoding_aes_key: str) -> bytes:
    """The 32 octets in an EncodingAESKey of 43 characters; spare bits of the last one may be anything.

    Raises Malformed without repeating the key.
    """
    if not _KEY.fullmatch(encoding_aes_key):
        raise Malformed("EncodingAESKey: 43 characters A-Z a-z 0-9 expected")
    return base64.b64decode(encoding_aes_key + "=")


def is_fresh(timestamp: str, now: int, tolerance: int) -> bool:
    """Whether a callback's `timestamp` (seconds, as it came) is at most `tolerance` seconds away from `now`.

    A window is our policy; WeCom names none. A nonce may come twice: a retry repeats it.
    """
    return bool(_SECONDS.fullmatch(timestamp)) and abs(now - int(timestamp)) <= tolerance


class Crypt:
    """Signs, checks, encrypts and decrypts for one callback address.

    `receive_id`: the corp id; a suite id for a provider's command callbacks. Raises Malformed for a bad key.
    """

    def __init__(self, token: str, encoding_aes_key: str, receive_id: str) -> None:
        self._token = _octets(token)
        self._key = key_of(encoding_aes_key)
        self._receive_id = receive_id.encode()

    def __repr__(self) -> str:
        return f"Crypt({self._receive_id.decode()})"

    def signature(self, timestamp: str, nonce: str, encrypt: str) -> str:
        """SHA-1 over token, timestamp, nonce and cipher text in the order of their octets, as lower-case hex."""
        parts = sorted((self._token, _octets(timestamp), _octets(nonce), _octets(encrypt)))
        return hashlib.sha1(b"".join(parts), usedforsecurity=False).hexdigest()

    def decrypt(self, msg_signature: str, timestamp: str, nonce: str, encrypt: str) -> bytes:
        """The message inside. Raises Refused for whatever is wrong; nothing is decrypted before the signature fits."""
        right = self.signature(timestamp, nonce, encrypt)
        if not hmac.compare_digest(right.encode(), _octets(msg_signature)):
            raise Refused("signature")
        try:
            sealed = base64.b64decode(_octets(encrypt), validate=True)
        except (binascii.Error, ValueError):
            raise Refused("cipher") from None
        if not sealed or len(sealed) % BLOCK:
            raise Refused("cipher")
        opened = AES.new(self._key, AES.MODE_CBC, iv=self._key[:16]).decrypt(sealed)
        pad = opened[-1]
        if not 1 <= pad <= BLOCK or opened[-pad:] != bytes([pad]) * pad:
            raise Refused("cipher")
        opened = opened[:-pad]
        # The 16 octets in front are noise and may be anything, so this is read as bytes throughout.
        end = _HEAD + int.from_bytes(opened[RANDOM:_HEAD], "big")
        if len(opened) < _HEAD or end > len(opened):
            raise Refused("cipher")
        if not hmac.compare_digest(opened[end:], self._receive_id):
            raise Refused("receiver")
        return opened[_HEAD:end]

    def encrypt(self, plain: bytes, timestamp: str, nonce: str, random16: bytes) -> Sealed:
        """Encrypt and sign. Raises ValueError unless `random16` has 16 octets: they must be unpredictable."""
        if len(random16) != RANDOM:
            raise ValueError(f"{len(random16)} random octets: {RANDOM} needed")
        text = random16 + len(plain).to_bytes(4, "big") + plain + self._receive_id
        pad = BLOCK - len(text) % BLOCK
        cipher = AES.new(self._key, AES.MODE_CBC, iv=self._key[:16])
        encrypt = base64.b64encode(cipher.encrypt(text + bytes([pad]) * pad)).decode()
        return Sealed(encrypt, self.signature(timestamp, nonce, encrypt), timestamp, nonce)

    def echo(self, msg_signature: str, timestamp: str, nonce: str, echostr: str) -> bytes:
        """What to answer, bare, to the GET that verifies the address: `echostr` (percent-decoded) in plain. Raises Refused."""
        return self.decrypt(msg_signature, timestamp, nonce, echostr)


def _octets(text: str) -> bytes:
    # Text from a query string may hold lone surrogates; a signature over them simply never fits.
    return text.encode("utf-8", "backslashreplace")
