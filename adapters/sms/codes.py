"""A province's own codes (`config/…/codes.yaml`), laid over the protocols' tables: result to class,
Stat to state, and the codes that say that a number has moved to another carrier.

    cmpp:
      results: {103: throttled, 110: recipient}   # of answers
      stats: {"MK:0012": undelivered, "DTBLACK": undelivered}   # of receipts; ignore = not final
      ported: {"NP:1243": unicom, "NP:1244": "!"}  # "!" = some other carrier than the one asked
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from msgcenter.adapter import Strict, TextFile, fault
from protocols.payload import ReportState
from protocols.sms.results import ResultClass

Carrier = Literal["mobile", "unicom", "telecom", "broadnet"]
Family = Literal["cmpp", "smpp", "sgip", "smgp"]
Told = Literal["delivered", "undelivered", "unknown", "ignore"]

#: Stats that say so everywhere; third-party lists, hence few.
PORTED: Mapping[str, str] = {"NP:1243": "unicom"}


class FamilyCodes(Strict):
    """One protocol's rows."""

    results: dict[int, ResultClass] = Field(default_factory=dict)
    stats: dict[str, Told] = Field(default_factory=dict)
    ported: dict[str, Carrier | Literal["!"]] = Field(default_factory=dict)

    def state(self, code: str, state: ReportState | None) -> ReportState | None:
        """What a receipt's code means here; `state` is what the protocol's own table says."""
        told = self.stats.get(code)
        if told is None:
            return state
        return None if told == "ignore" else told

    def ported_to(self, code: str) -> str:
        """The carrier that has the number now, `!` = another than was asked, "" = no such code."""
        return self.ported.get(code) or PORTED.get(code) or ("!" if code.startswith("NP:") else "")


class ProvinceCodes(Strict):
    """A whole file; a protocol that it leaves out has the protocol's own table alone."""

    cmpp: FamilyCodes = FamilyCodes()
    smpp: FamilyCodes = FamilyCodes()
    sgip: FamilyCodes = FamilyCodes()
    smgp: FamilyCodes = FamilyCodes()

    def of(self, protocol: str) -> FamilyCodes:
        """By the name of a protocol: `cmpp2`, `smpp`, …"""
        found: FamilyCodes = getattr(self, protocol.rstrip("23"))
        return found


def read_codes(file: TextFile | None) -> ProvinceCodes:
    """The rows of a file, none without one. Raises the configuration's own fault naming file and
    row.
    """
    if file is None:
        return ProvinceCodes()
    try:
        return ProvinceCodes.model_validate(yaml.safe_load(file.text) or {})
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise fault(f"{file.name}{line} is not YAML", "correct it there") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        row = " → ".join(str(step) for step in first["loc"] if step != "[key]")
        raise fault(f"{file.name}, {row}: {first['msg']}", "correct this row there") from None
