"""Opaque cursors: a place in a list as URL-safe text, base64 of compact JSON; nobody but this file
reads them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from msgcenter.store import BadCursor

MAX_PARTITIONS = 4096
_REMEDY = "give back `next_cursor` as it came, or none to start from the beginning"


def _encode(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> object:
    if len(cursor) > 65536:
        raise BadCursor(f"cursor of {len(cursor)} characters: {_REMEDY}")
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        value: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise BadCursor(f"cursor {cursor[:40]!r} cannot be read: {_REMEDY}") from error
    return value


def encode_place(at: int, key: str) -> str:
    """The cursor after the row (at, key) of a list sorted by a time and an id."""
    return _encode([at, key])


def decode_place(cursor: str) -> tuple[int, str]:
    """Read what `encode_place` made. Raises BadCursor."""
    match _decode(cursor):
        case [int(at), str(key)] if 0 <= at < 2**63 and "\x00" not in key:
            return at, key
    raise BadCursor(f"cursor {cursor[:40]!r} is not one of this list: {_REMEDY}")


def encode_positions(positions: Mapping[int, int]) -> str:
    """The cursor of the event log: the last position read of each partition."""
    return _encode([[partition, positions[partition]] for partition in sorted(positions)])


def decode_positions(cursor: str) -> dict[int, int]:
    """Read what `encode_positions` made; the empty text is the beginning. Raises BadCursor."""
    if not cursor:
        return {}
    value = _decode(cursor)
    positions: dict[int, int] = {}
    if isinstance(value, list) and len(value) <= MAX_PARTITIONS:
        for pair in value:
            match pair:
                case [int(partition), int(position)] if (
                    0 <= partition < 2**31 and 0 <= position < 2**63
                ):
                    positions[partition] = position
                case _:
                    break
        else:
            return positions
    raise BadCursor(f"cursor {cursor[:40]!r} is not one of the event log: {_REMEDY}")
