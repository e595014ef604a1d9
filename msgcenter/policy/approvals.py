"""Approvals: which named roles must still agree before a changed rule file may be applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """Changes to `files` (names or patterns like `cities/*`) need one approval of each role, each by another person."""

    name: str
    files: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's word on one exact text. `sha256`: of the file's bytes, as `config status` shows it. `at`: epoch
    milliseconds."""

    file: str
    sha256: str
    role: str
    who: str
    at: int
    state: Literal["approved", "rejected"] = "approved"


@dataclass(frozen=True, slots=True)
class Missing:
    """What stands in the way: `rejected_by` names who refused, else the role has not spoken (or only who spoke for another)."""

    rule: str
    file: str
    role: str
    rejected_by: str = ""


def missing(
    rules: Iterable[ApprovalRule], changed: Mapping[str, str], given: Iterable[Approval]
) -> tuple[Missing, ...]:
    """What is still needed for `changed` (file name -> sha256 of its new text); empty: it may be applied.

    `rules` must be those in force, not the new file's: else a change could lift its own approval. An approval holds for
    exactly the text it was given for; a person's last word counts, and speaks for one role only.
    """
    last: dict[tuple[str, str, str, str], Approval] = {}
    for approval in sorted(given, key=lambda a: a.at):
        last[approval.file, approval.sha256, approval.role, approval.who] = approval
    out: list[Missing] = []
    for rule in rules:
        for file, sha256 in sorted(changed.items()):
            if not any(fnmatchcase(file, pattern) for pattern in rule.files):
                continue
            words = [a for a in last.values() if (a.file, a.sha256) == (file, sha256)]
            no = {a.role: a.who for a in words if a.state == "rejected"}
            yes: dict[str, list[str]] = {}
            for a in words:
                if a.state == "approved":
                    yes.setdefault(a.role, []).append(a.who)
            filled = _assign([role for role in rule.roles if role not in no], yes)
            out += [
                Missing(rule.name, file, role, no.get(role, ""))
                for role in rule.roles
                if role not in filled
            ]
    return tuple(out)


def _assign(roles: list[str], yes: Mapping[str, list[str]]) -> dict[str, str]:
    """Role -> person, each person once, as many roles as can be filled (augmenting paths; roles are few)."""
    taken: dict[str, str] = {}  # person -> role

    def place(role: str, tried: set[str]) -> bool:
        for who in yes.get(role, ()):
            if who in tried:
                continue
            tried.add(who)
            if who not in taken or place(taken[who], tried):
                taken[who] = role
                return True
        return False

    for role in roles:
        place(role, set())
    return {role: who for who, role in taken.items()}
