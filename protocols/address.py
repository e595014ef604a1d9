"""Address: where a message goes or came from, as `scheme:value` (a URN); the scheme says which channels can reach it.

Schemes: `tel:+8613800138000`, `wecom:<corp>/<app>/<external_userid>`, `kf:<open_kfid>/<external_userid>`, `staff:<id>`,
`gridapp:<grid account>`, `role:<role>@<grid>`, `group:<id>`, `customer:<id>`, `caller:<name>` (a subscriber of events).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocols.errors import Malformed

SCHEMES = frozenset(
    {"tel", "wecom", "kf", "staff", "gridapp", "role", "group", "customer", "caller"}
)
MAX_VALUE = 256
_VALUE = re.compile(r"[^\s\x00-\x1f\x7f]+")
_E164 = re.compile(r"\+[1-9][0-9]{4,17}")


@dataclass(frozen=True, slots=True)
class Address:
    """One recipient or sender. Equal addresses are equal strings: values are in canonical form."""

    scheme: str
    value: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `scheme:value`; a `tel:` value must already be E.164 (`+` and digits).

        Raises Malformed for an unknown scheme, an empty, over-long or blank-holding value, a number not in E.164.
        """
        scheme, colon, value = text.partition(":")
        if not colon or scheme not in SCHEMES:
            raise Malformed(
                f"address {text[:40]!r}: needs one of the schemes {', '.join(sorted(SCHEMES))}"
            )
        if len(value) > MAX_VALUE or not _VALUE.fullmatch(value):
            raise Malformed(
                f"address scheme {scheme}: the value must be 1-{MAX_VALUE} characters without blanks"
            )
        if scheme == "tel" and not _E164.fullmatch(value):
            raise Malformed("address scheme tel: needs a number such as tel:+8613800138000")
        return cls(scheme, value)
