"""The one error of every codec: these bytes (or this text) are not what the protocol says."""

from __future__ import annotations


class Malformed(ValueError):
    """Input that cannot be read. The text names the field, the value (shortened, never a secret) and the expectation."""
