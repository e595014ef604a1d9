"""Fuzzing: schemathesis as a process against a running API, by its OpenAPI document: every check (its default), a fixed seed."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path(__file__).parent / "schemathesis.toml"
#: Answers without an end, and the pages for people.
_LEFT_OUT = "/stream$|^/docs$"
_CASES = re.compile(r"([\d,]+) generated")


@dataclass(frozen=True, slots=True)
class Probed:
    """How a run ended: `cases` requests were made; `told` is its report."""

    status: int
    cases: int
    told: str


def command(base: str, key: str, examples: int, phases: str = "fuzzing") -> list[str]:
    """`examples`: so many requests, valid and not, for each operation."""
    return [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
        *("run", f"{base}/openapi.json", "--header", f"Authorization: Bearer {key}"),
        *("--phases", phases, "--max-examples", str(examples)),
        *("--mode", "all", "--seed", "7", "--generation-deterministic", "--no-shrink"),
        *("--continue-on-failure", "--request-timeout", "30"),
        *("--exclude-path-regex", _LEFT_OUT, "--warnings", "off", "--no-color"),
    ]


def read(status: int, told: str) -> Probed:
    """What a run said."""
    found = _CASES.search(told)
    return Probed(status, int(found[1].replace(",", "")) if found else 0, told)
