"""API keys: made, hashed, recognised; a revoked key stops working within 5 seconds, in every
process.

A key is `mck_<env>_<keyid>_<secret><crc>`: 10 base32 characters, 43 base62 characters (256 bits), 6
base62 characters of CRC-32 over all before, so that a mistyped key costs no look-up. The Store
holds HMAC-SHA256(pepper, secret) only.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import string
import zlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from msgcenter.api.problems import Problem
from msgcenter.clock import ALPHABET, Clock
from msgcenter.config import Config
from msgcenter.store import ApiKey, StoreError

FRESH_S = 3.0
"""How long a look-up is believed before the next one begins, behind the requests."""
LATEST_S = 4.0
"""How long at the most, should the next one take its time; with its own time this stays below 5 s."""
STALE_S = 300.0
"""How long an old answer is believed while the Store is away (nobody can revoke a key then
either)."""
CACHE = 10_000
KEYID, SECRET, CRC = 10, 43, 6
LEAST_PEPPER = 16
_BASE62 = string.digits + string.ascii_letters
_PREFIX = "mck_"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="msgcenter"'}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: the caller's name in callers.yaml, the key used, and the scopes the key itself was
    given (empty = all)."""

    caller: str
    keyid: str
    scopes: tuple[str, ...]


class KeyStore(Protocol):
    """The part of the Store that is needed here."""

    async def find_key(self, keyid: str) -> ApiKey | None: ...


def hash_secret(pepper: bytes, secret: str) -> str:
    """What the Store keeps of a secret: HMAC-SHA256 in hex. 256 random bits need no slow hash."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256).hex()


def make_key(env: str, pepper: bytes) -> tuple[str, str, str]:
    """A new (keyid, full key to show once, hash to store)."""
    keyid = "".join(secrets.choice(ALPHABET) for _ in range(KEYID))
    secret = _base62(secrets.randbits(256), SECRET)
    head = f"{_PREFIX}{env}_{keyid}_{secret}"
    return keyid, head + _base62(zlib.crc32(head.encode()), CRC), hash_secret(pepper, secret)


def pepper_of(config: Config) -> bytes:
    """The configured pepper, else that of the data folder. Raises OSError, ValueError."""
    given = config.process.api.pepper
    return load_pepper(config.process.data) if given is None else given.reveal().encode()


def load_pepper(data: Path) -> bytes:
    """The pepper of a data folder, made at first use and readable by its owner only.

    Raises OSError; ValueError when the file is too short to be one.
    """
    path = data / "pepper"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        made = data / f"pepper.{secrets.token_hex(8)}"
        try:
            with os.fdopen(
                os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            # whole or not at all, and the first of two processes wins
            with suppress(FileExistsError):
                path.hardlink_to(made)
        finally:
            made.unlink(missing_ok=True)
    pepper = path.read_bytes()
    if len(pepper) < LEAST_PEPPER:
        raise ValueError(f"{path} is too short; restore it, or remove it and make new keys")
    return pepper


def read_key(key: str) -> tuple[str, str] | None:
    """(keyid, secret) of a well-formed key, else None."""
    if not key.startswith(_PREFIX) or len(key) > 128 or not key.isascii():
        return None
    head, crc = key[:-CRC], key[-CRC:]
    env, _, rest = head.removeprefix(_PREFIX).partition("_")
    keyid, _, secret = rest.partition("_")
    if not env or len(keyid) != KEYID or len(secret) != SECRET:
        return None
    return (keyid, secret) if _base62(zlib.crc32(head.encode()), CRC) == crc else None


def _base62(number: int, width: int) -> str:
    out = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        out.append(_BASE62[digit])
    return "".join(reversed(out))


class Keyring:
    """Recognises keys; remembers look-ups (also of keys that do not exist) for FRESH_S. However many requests need one, a look-up
    is made once; a request waits for it only when too little is known."""

    def __init__(self, store: KeyStore, pepper: bytes, clock: Clock, log: Any) -> None:
        if len(pepper) < LEAST_PEPPER:
            raise ValueError(f"the pepper of API keys must have at least {LEAST_PEPPER} octets")
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._log = log
        self._known: OrderedDict[str, tuple[ApiKey | None, float]] = OrderedDict()
        self._looking: dict[str, asyncio.Task[ApiKey | None]] = {}
        self._dummy = hash_secret(pepper, "")

    async def identify(self, authorization: str) -> Identity:
        """Who sent this `Authorization` header. Raises Problem key_missing, key_invalid,
        store_unavailable."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Problem("key_missing", headers=_CHALLENGE)
        parts = read_key(token)
        if parts is None:
            raise Problem("key_invalid", headers=_CHALLENGE)
        keyid, secret = parts
        key = await self._find(keyid)
        given = hash_secret(self._pepper, secret)
        # always one comparison: a key that does not exist takes as long as one that does
        same = hmac.compare_digest(given, key.hash if key is not None else self._dummy)
        now = self._clock.now_ms()
        if (
            key is None
            or not same
            or (key.revoked_at and key.revoked_at <= now)
            or (key.expires_at and key.expires_at <= now)
        ):
            raise Problem("key_invalid", headers=_CHALLENGE)
        return Identity(key.caller, keyid, key.scopes)

    def forget(self, keyid: str) -> None:
        """This process just changed the key."""
        self._known.pop(keyid, None)
        self._looking.pop(keyid, None)  # it may have read the old one

    async def _find(self, keyid: str) -> ApiKey | None:
        now = self._clock.monotonic()
        known = self._known.get(keyid)
        if known is not None and now - known[1] < FRESH_S:
            return known[0]
        looking = self._looking.get(keyid)
        if looking is None:
            looking = self._looking[keyid] = asyncio.create_task(self._look(keyid))
            looking.add_done_callback(partial(self._looked, keyid))
        if known is not None and now - known[1] < LATEST_S:
            return known[0]
        try:
            return await asyncio.shield(looking)
        except StoreError as error:
            if known is not None and known[0] is not None and now - known[1] < STALE_S:
                self._log.warning("store away, key taken from memory", keyid=keyid)
                return known[0]
            raise Problem("store_unavailable", retry_after=2) from error

    async def _look(self, keyid: str) -> ApiKey | None:
        # the look-up's own time counts: what is believed is as old as its beginning
        began = self._clock.monotonic()
        key = await self._store.find_key(keyid)
        if self._looking.get(keyid) is not asyncio.current_task():
            return key  # forgotten meanwhile: this may be the key as it was
        self._known[keyid] = (key, began)
        self._known.move_to_end(keyid)
        while len(self._known) > CACHE:
            self._known.popitem(last=False)
        return key

    def _looked(self, keyid: str, task: asyncio.Task[ApiKey | None]) -> None:
        if self._looking.get(keyid) is task:
            del self._looking[keyid]
        if not task.cancelled():
            task.exception()  # whoever waits has it; the next request asks again
