"""Signed words: what stands in an address for people who have no key: short links, preference pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARS, MARK_CHARS = 10, 5
"""Of a short word: 59 bits that say which, 29 bits that say it was made here. A guess costs no look into the Store."""


class Signed:
    """Makes and reads them. The key follows from the pepper of API keys, which all processes share, and from what they are for."""

    def __init__(self, pepper: bytes, purpose: str) -> None:
        self._key = hmac.digest(pepper, f"signed {purpose}".encode(), hashlib.sha256)

    def short(self, bits: int) -> tuple[str, str]:
        """(id, word) from random bits (64): 15 letters and digits."""
        name = _base62(bits, ID_CHARS)
        return name, name + self._mark(name)

    def word_of(self, name: str) -> str:
        """The short word of an id."""
        return name + self._mark(name)

    def id_of(self, word: str) -> str:
        """The id of a short word, "" when it was not made here."""
        name, mark = word[:ID_CHARS], word[ID_CHARS:]
        if len(word) != ID_CHARS + MARK_CHARS or not word.isascii():
            return ""
        return name if hmac.compare_digest(self._mark(name), mark) else ""

    def long(self, text: str, until_s: int) -> str:
        """A word that holds a text and ends at a time (Unix seconds)."""
        head = _base64(f"{until_s} {text}".encode())
        return f"{head}.{_base64(self._digest(head)[:18])}"

    def read(self, word: str) -> tuple[str, int] | None:
        """(text, until) of a long word, None when it was not made here. Whether it is over is for the caller to see."""
        head, _, mark = word.partition(".")
        good = _base64(self._digest(head)[:18])
        if not word.isascii() or not hmac.compare_digest(good, mark):
            return None
        try:
            until, _, text = (
                base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)).decode().partition(" ")
            )
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (text, int(until)) if until.isdigit() else None

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)

    def _mark(self, name: str) -> str:
        return _base62(int.from_bytes(self._digest(name)[:8], "big"), MARK_CHARS)


def _base62(number: int, width: int) -> str:
    out: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        out.append(_BASE62[digit])
    return "".join(out)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
