"""The terms of a CMPP link: those of every carrier link, and the version it speaks."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.cmpp import pdu as p
from protocols.cmpp.layouts import MAX_LENGTH
from protocols.sms import terms
from protocols.sms.terms import NotOpen, Role, State, WindowFull

__all__ = ["LinkOptions", "NotOpen", "Role", "State", "WindowFull"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions(terms.LinkOptions):
    """Contract terms of one connection; seconds. Defaults are the specification's W, T, C and N."""

    version: int = p.V30
    max_length: int = MAX_LENGTH
    strict_auth: bool = False
