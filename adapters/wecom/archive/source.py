"""What the archive is read through: the interface of a source, what every code of it means (one table), and our private keys by version."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from msgcenter.adapter import Malformed, Secret
from protocols.wecom.archive import SDK_RETURNS, Chunk, Encrypted, Page
from protocols.wecom.errcodes import row_of

BITS = 2048


class Means(Enum):
    """What a code of a source asks of us."""

    AGAIN = "again"  # the same call, backing off
    SMALLER = "smaller"  # ask for fewer items
    GAP = "gap"  # what was asked for is gone
    SETUP = "setup"  # nothing goes until somebody mends it
    KEY = "key"  # this item cannot be read until its key is here
    ITEM = "item"  # this item cannot be read
    FILE = "file"  # this file cannot be had


#: Return codes of the library, and errcodes that stand in its answers, -> what to do. A code not listed is tried again.
CODES: Mapping[int, Means] = {
    10000: Means.SETUP,
    10001: Means.AGAIN,
    10002: Means.AGAIN,
    10003: Means.AGAIN,
    10004: Means.ITEM,
    10005: Means.FILE,
    10006: Means.ITEM,
    10007: Means.KEY,
    10008: Means.ITEM,
    10009: Means.SETUP,
    10010: Means.GAP,
    10011: Means.SETUP,
    301042: Means.SETUP,
    301048: Means.FILE,
    301052: Means.SETUP,
    301053: Means.SETUP,
    301058: Means.SMALLER,
}


class SourceError(Exception):
    """A call of the source failed with `code`: `means` says what that asks for."""

    def __init__(self, code: int, detail: str = "") -> None:
        known = SDK_RETURNS.get(code)
        words = known[0] if known else row_of(code).words
        super().__init__(f"archive {code}: {words}" + (f" ({detail[:160]})" if detail else ""))
        self.code = code
        self.means = CODES.get(code) or (
            Means.SETUP if row_of(code).cls == "setup" else Means.AGAIN
        )


class Source(Protocol):
    """Every call raises SourceError."""

    def open(self) -> AbstractAsyncContextManager[None]:
        """Calls can be made inside. Raises when the source cannot be used at all, with the remedy in its words."""
        ...

    async def fetch(self, seq: int, limit: int) -> Page:
        """At most `limit` items after `seq` (0 = the oldest there are), of the last five days."""
        ...

    async def decrypt(self, item: Encrypted) -> bytes:
        """The message as JSON."""
        ...

    async def media(self, file_id: str, index: str) -> Chunk:
        """A piece of a file, at most 512 KB; `index` "" = the first, else as the piece before told."""
        ...


class Keys:
    """Our RSA private keys by version. `proved`: versions that have opened something, so that what they do not open is damaged."""

    def __init__(self, pems: Mapping[int, Secret]) -> None:
        """Raises Malformed for what is no RSA private key."""
        self._keys = {version: _load(version, pem.reveal()) for version, pem in pems.items()}
        self.proved: set[int] = set()

    def open(self, item: Encrypted) -> bytes:
        """The key text of an item, in the PKCS#1 v1.5 envelope. Raises SourceError 10007, 10008."""
        key = self._keys.get(item.key_version)
        if key is None:
            have = ", ".join(map(str, sorted(self._keys)))
            told = f"publickey_ver {item.key_version}, we have {have}: add it under `keys`"
            raise SourceError(10007, told)
        try:
            return key.decrypt(base64.b64decode(item.random_key, validate=True), PKCS1v15())
        except (binascii.Error, ValueError) as error:
            raise SourceError(10008, type(error).__name__) from None


def _load(version: int, pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError) as error:
        raise Malformed(
            f"keys.{version}: no private key in PEM form ({type(error).__name__}); "
            "give the RSA key whose public part stands in the admin console, without a password"
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size != BITS:
        raise Malformed(f"keys.{version}: an RSA key of {BITS} bits is expected")
    return key
