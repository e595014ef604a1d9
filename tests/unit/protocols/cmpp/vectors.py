"""Reads the hand-worked CMPP vectors: the notation is described in tests/vectors/cmpp/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from protocols.cmpp import pdu as p

FOLDER = Path(__file__).parents[3] / "vectors" / "cmpp"
_TOKEN = re.compile(r'"([^"]*)"|([0-9a-f]{2})\*(\d+)|((?:[0-9a-f]{2})+)')


@dataclass(frozen=True)
class Vector:
    name: str
    version: int
    sequence: int
    pdu: p.Pdu
    octets: bytes
    decode_only: bool
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
    if name in ("auth", "content"):
        return octets(value)
    return tuple(value) if name == "recipients" else value


def load() -> list[Vector]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for row in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if row is None:
                continue
            fields = {name: _value(name, value) for name, value in row["fields"].items()}
            found.append(
                Vector(
                    row["name"],
                    row["version"],
                    row["sequence"],
                    getattr(p, row["pdu"])(**fields),
                    octets(row["octets"]),
                    row.get("decode_only", False),
                    row.get("report"),
                )
            )
    return found


VECTORS = load()
