"""The hand-worked CMPP vectors."""

from __future__ import annotations

from protocols.cmpp import pdu as p
from tests.unit.protocols.carrier import load

VECTORS = load("cmpp", p)
