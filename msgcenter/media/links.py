"""Links: short-lived addresses of files for those who have no key: `/m/<id>?exp=<Unix seconds>&sig=<HMAC>`."""

from __future__ import annotations

import base64
import hashlib
import hmac

LONGEST_S = 7 * 86400


class Links:
    """Signs and checks. The key follows from the pepper of API keys, which all processes share."""

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, b"media links", hashlib.sha256)

    def path(self, media: str, expires_s: int) -> str:
        return f"/m/{media}?exp={expires_s}&sig={self._sign(media, expires_s)}"

    def good(self, media: str, exp: str, sig: str) -> int:
        """The time (Unix seconds) a link ends at, 0 when it was not made by us."""
        if not (exp.isascii() and exp.isdigit() and len(exp) <= 12):
            return 0
        good = hmac.compare_digest(self._sign(media, int(exp)).encode(), sig.encode())
        return int(exp) if good else 0

    def _sign(self, media: str, expires_s: int) -> str:
        digest = hmac.digest(self._key, f"{media}\n{expires_s}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest[:18]).decode()
