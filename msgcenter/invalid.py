"""Invalid: what could not be read, or never be made durable, as an item of the topic `invalid`: where it was found, why, its octets."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

INVALID_KEPT = 64 * 1024
"""Octets of each that are kept; its whole size is told beside them."""


def pack_invalid(source: str, bad: Sequence[tuple[str, bytes]], now_ms: int) -> list[bytes]:
    """An item for each of `bad` (why, octets), found in `source`."""
    return [
        msgpack.packb([source, reason, data[:INVALID_KEPT], len(data), now_ms])
        for reason, data in bad
    ]
