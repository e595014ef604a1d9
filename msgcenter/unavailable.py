"""Unavailable: what the bus, State, the Store, the spool and the media store raise when they cannot do it now; worth another try."""

from __future__ import annotations


class Unavailable(Exception):
    """A part of ours that is shared or durable did not answer. Whether it was done is not known; it may be repeated."""
