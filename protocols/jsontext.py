"""JSON read under limits, and written byte for byte the same every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from protocols.errors import Malformed

#: Far more than any documented page (1,000 kf messages, 1,000 archive items).
MAX_BYTES = 16 * 1024 * 1024


def _refuse(constant: str) -> NoReturn:
    raise Malformed(f"JSON: {constant} is no number")


def parse(body: bytes, most: int = MAX_BYTES) -> dict[str, Any]:
    """A JSON object of at most `most` octets. Raises Malformed, which never repeats the content."""
    if len(body) > most:
        raise Malformed(f"JSON: {len(body)} octets, at most {most}")
    try:
        # Some clients put raw control characters inside texts; strict=False keeps such a message readable.
        value = json.loads(body.decode("utf-8-sig"), strict=False, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise Malformed("JSON: not UTF-8") from None
    except RecursionError:
        raise Malformed("JSON: nested too deep") from None
    except Malformed:
        raise
    except ValueError as error:
        raise Malformed(f"JSON: {str(error)[:80].splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise Malformed("JSON: an object expected")
    return value


def write(fields: Mapping[str, Any]) -> bytes:
    """UTF-8, names sorted, no white space: equal values are equal bytes. Raises Malformed for what JSON cannot hold."""
    try:
        return json.dumps(
            fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
        ).encode()
    except (UnicodeEncodeError, ValueError, TypeError) as error:
        raise Malformed(f"request: {type(error).__name__}") from None
