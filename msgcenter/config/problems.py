"""What is wrong with a configuration: problems with file, line, column, field and remedy, reported
all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value was written: line and column count from 1; line 0 means the whole of `file` (a
    missing file, a variable of the environment, the built-in table)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One fault. `path` is the dotted field inside the file; neither text ever holds a secret's
    value."""

    mark: Mark
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        field = f"{self.path}: " if self.path else ""
        return f"{self.mark}  {field}{self.message}; {self.remedy}"

    def as_dict(self) -> dict[str, str | int]:
        return {
            "file": self.mark.file,
            "line": self.mark.line,
            "column": self.mark.column,
            "path": self.path,
            "message": self.message,
            "remedy": self.remedy,
        }


class ConfigError(Exception):
    """The configuration cannot be used."""


class ConfigErrors(ConfigError):
    """Every problem of one configuration, sorted by place.

    `watched` lists the secret files that the refused configuration named, so that a later change of
    one of them is noticed although nothing was loaded.
    """

    def __init__(self, problems: Iterable[ConfigProblem], watched: Iterable[Path] = ()) -> None:
        self.problems = sorted(
            dict.fromkeys(problems), key=lambda p: (p.mark.file, p.mark.line, p.mark.column, p.path)
        )
        self.watched = tuple(watched)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def did_you_mean(word: str, known: Sequence[str], *, what: str) -> str:
    """A remedy for an unknown word: the nearest known one, else the list of all (`what` names
    them)."""
    # a long or odd word may be a value put in the wrong place; only known words are ever echoed
    near = difflib.get_close_matches(word[:80], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    if not known:
        return f"there are no {what}"
    return f"known {what}: {', '.join(known)}"


def dotted(path: Sequence[str | int]) -> str:
    """`("routes", 0, "channel")` -> `routes[0].channel`."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += f".{part}" if out else part
    return out
