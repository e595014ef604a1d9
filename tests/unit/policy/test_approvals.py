"""Approvals: each named role, each by another person, for exactly the text that is to be applied."""

from __future__ import annotations

from msgcenter.policy.approvals import Approval, ApprovalRule, Missing, missing

RULE = ApprovalRule("rules", ("policy.yaml", "cities/*"), ("business", "legal", "planning"))
CHANGED = {"policy.yaml": "aa"}


def yes(role: str, who: str, at: int = 1, **more: str) -> Approval:
    return Approval(
        **{"file": "policy.yaml", "sha256": "aa", "role": role, "who": who, "at": at, **more}
    )  # type: ignore[arg-type]


ALL = [yes("business", "li"), yes("legal", "wang"), yes("planning", "zhao")]


def roles(given: list[Approval]) -> list[str]:
    return [one.role for one in missing([RULE], CHANGED, given)]


def test_all_roles_must_speak() -> None:
    assert missing([RULE], CHANGED, ALL) == ()
    assert roles([]) == ["business", "legal", "planning"]
    assert roles(ALL[:2]) == ["planning"]


def test_files_that_no_rule_names_are_free() -> None:
    assert missing([RULE], {"channels.yaml": "bb"}, []) == ()
    assert len(missing([RULE], {"cities/guangzhou.yaml": "bb"}, [])) == 3
    assert missing([], CHANGED, []) == ()


def test_an_approval_is_of_one_text() -> None:
    assert roles([*ALL[:2], yes("planning", "zhao", sha256="other")]) == ["planning"]
    assert roles([*ALL[:2], yes("planning", "zhao", file="words.yaml")]) == ["planning"]


def test_one_person_speaks_for_one_role() -> None:
    one = [yes(role, "li") for role in RULE.roles]
    assert len(missing([RULE], CHANGED, one)) == 2
    # li may stand for either; somebody else is found for the first
    assert roles([yes("business", "li"), yes("business", "wu"), yes("legal", "li"), ALL[2]]) == []


def test_a_rejection_stands_until_it_is_taken_back() -> None:
    no = yes("legal", "wang", 2, state="rejected")
    assert missing([RULE], CHANGED, [*ALL, no]) == (
        Missing("rules", "policy.yaml", "legal", "wang"),
    )
    assert roles([*ALL, no, yes("legal", "chen", 3)]) == ["legal"]
    assert roles([*ALL, no, yes("legal", "wang", 3)]) == []
    assert roles([yes("legal", "wang", 3), no, *ALL]) == [], "in whatever order they are kept"
    assert roles([no, *ALL]) == ["legal"]
