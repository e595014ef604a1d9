"""The receipt text that SMSCs write (`id:… sub:… dlvrd:… submit date:… done date:… stat:… err:…
text:…`), read in every variant that is known; SMPP and SMGP share it.

Source: SMPP 3.4, appendix B; SMGP 3.0, 6.2.48. The form is the vendor's own, so nothing is required
of it: what is not found is empty.
"""

from __future__ import annotations

import re

_KEY = re.compile(
    r"(?<![a-z])(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err|te?xt)\s*:", re.IGNORECASE
)


def parse(text: str) -> dict[str, str]:
    """The values by key: `id`, `sub`, `dlvrd`, `submit`, `done`, `stat`, `err`, `text`; only those
    found.

    Keys count once, in any order and case. The text is free and may hold what looks like a key:
    it ends what is read, unless the state had not come before it.
    """
    found: dict[str, str] = {}
    marks = list(_KEY.finditer(text))
    for k, mark in enumerate(marks):
        key = mark[1].lower().replace("_", " ").split(" ")[0].removesuffix("date")
        if key in ("text", "txt"):
            found.setdefault("text", text[mark.end() :].rstrip("\0"))
            if "stat" in found:
                break
            continue
        end = marks[k + 1].start() if k + 1 < len(marks) else len(text)
        found.setdefault(key, text[mark.end() : end].strip(" \0,;"))
    return found


def stamp(value: str) -> str:
    """A date of a receipt as YYMMDDhhmm; 10, 12 (seconds) and 14 (four-digit year) digits are
    known, the rest is empty.
    """
    digits = value.strip()
    if not digits.isdecimal() or len(digits) not in (10, 12, 14) or not int(digits):
        return ""
    return digits[2:12] if len(digits) == 14 else digits[:10]
