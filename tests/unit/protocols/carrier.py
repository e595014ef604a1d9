"""Reads hand-worked vectors of the carrier protocols; the notation is described in
tests/vectors/README.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from protocols.sms.tlv import Tlv

VECTORS = Path(__file__).parents[2] / "vectors"
_TOKEN = re.compile(r'"([^"]*)"|([0-9a-f]{2})\*(\d+)|((?:[0-9a-f]{2})+)')
_OCTETS = ("auth", "content", "short_message")


@dataclass(frozen=True)
class Vector:
    name: str
    version: int
    sequence: int
    pdu: Any
    octets: bytes
    decode_only: bool
    notes: list[str]
    report: dict[str, Any] | None


def octets(notation: str) -> bytes:
    out = bytearray()
    for line in notation.splitlines():
        rest = line.split("#")[0].strip()
        while rest:
            match = _TOKEN.match(rest)
            assert match, f"not in the notation: {rest!r}"
            text, unit, times, plain = match.groups()
            if text is not None:
                out += text.encode("ascii")
            elif unit is not None:
                out += bytes.fromhex(unit) * int(times)
            else:
                out += bytes.fromhex(plain)
            rest = rest[match.end() :].strip()
    return bytes(out)


def _value(name: str, value: Any) -> Any:
    if name in _OCTETS:
        return octets(value)
    if name == "tlvs":
        return tuple(Tlv(tag, octets(data)) for tag, data in value)
    return tuple(value) if name == "recipients" else value


def load(folder: str, pdus: ModuleType, version: int = 0) -> list[Vector]:
    found = []
    for path in sorted((VECTORS / folder).glob("*.yaml")):
        for row in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if row is None:
                continue
            fields = {name: _value(name, value) for name, value in row["fields"].items()}
            found.append(
                Vector(
                    row["name"],
                    row.get("version", version),
                    row["sequence"],
                    getattr(pdus, row["pdu"])(**fields),
                    octets(row["octets"]),
                    row.get("decode_only", False),
                    row.get("notes", []),
                    row.get("report"),
                )
            )
    return found
