"""Signatures of push engines as data: which facts are joined, how they are hashed, and how the result is written.

Sources: Getui REST v2 token (`sha256(appkey + timestamp + mastersecret)`) and receipt (`md5(appid + cid + taskid + msgid +
mastersecret)`), Umeng (`md5(METHOD + url + body + app_master_secret)`), Huawei message receipt (base64 of HMAC-SHA256).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from protocols.errors import Malformed
from protocols.push.template import text


@dataclass(frozen=True, slots=True)
class Signature:
    """`parts` are templates over facts; `secret` is the key of an HMAC and otherwise a part like any other."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    algorithm: Literal["sha256", "md5", "hmac-sha256"]
    parts: tuple[str, ...]
    glue: str = ""
    encoding: Literal["hex", "base64"] = "hex"

    def of(self, facts: Mapping[str, Any]) -> str:
        """Raises Malformed for a part that names no fact."""
        joined = self.glue.join(text(part, facts) for part in self.parts).encode()
        match self.algorithm:
            case "sha256":
                digest = hashlib.sha256(joined).digest()
            case "md5":  # what the engine asks for
                digest = hashlib.md5(joined, usedforsecurity=False).digest()
            case "hmac-sha256":
                digest = hmac.digest(str(facts["secret"]).encode(), joined, "sha256")
        return digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()

    def check(self, given: str, facts: Mapping[str, Any]) -> None:
        """Raises Malformed when `given` is another signature; letters of a hex one in either case."""
        right = self.of(facts)
        said = given.lower() if self.encoding == "hex" else given
        if not hmac.compare_digest(right.encode(), said.encode("utf-8", "replace")):
            raise Malformed("receipt: the signature does not fit")


def basic(key: str, secret: str) -> str:
    """The value of `Authorization` for HTTP Basic."""
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


def huawei_parts(header: str) -> tuple[str, str, str]:
    """(timestamp, nonce, value) of `X-HUAWEI-CALLBACK-ID: timestamp=…; nonce=…; value=…`, each "" when it is not there."""
    pairs = dict(part.strip().partition("=")[::2] for part in header.split(";"))
    return pairs.get("timestamp", ""), pairs.get("nonce", ""), pairs.get("value", "")
