"""The table of problem texts: every code in both languages with the same placeholders, every code that is raised is in it, and no
text stands anywhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from msgcenter.api import problems
from msgcenter.api.problems import Problem
from msgcenter.api.texts import CODES, FIELD_CODES, PHRASES

SOURCES = sorted((Path(__file__).parents[3] / "msgcenter").rglob("*.py"))
TABLE = {**CODES, **FIELD_CODES}


@pytest.mark.parametrize("code", TABLE)
def test_every_text_is_there_in_both_languages(code: str) -> None:
    text = TABLE[code]
    for each in fields(text):
        if not each.name.endswith("_zh"):
            continue
        english, chinese = getattr(text, each.name.removesuffix("_zh")), getattr(text, each.name)
        assert bool(english) == bool(chinese), f"{code}.{each.name}"
        if english and re.sub(r"\{\w+\}", "", english).strip():
            assert re.search(r"[\u4e00-\u9fff]", chinese), f"{code}.{each.name} is not Chinese"
        assert not re.search(r"[\u4e00-\u9fff]", re.sub(r"省.*厅店", "", english)), code

        def facts(text: str) -> set[str]:
            return {name.removesuffix("_zh") for name in re.findall(r"\{(\w+)\}", text)}

        assert facts(chinese) <= facts(english), f"{code}.{each.name}"


def raised() -> Iterator[tuple[str, str, str]]:
    """(file and line, Problem or Fault, code) wherever the code is written out."""
    for path in SOURCES:
        if "Problem" not in (source := path.read_text()) and "Fault" not in source:
            continue
        if "msgcenter.api.problems" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            place = {"Problem": 0, "Fault": 1}.get(node.func.id)
            if place is None or len(node.args) <= place:
                continue
            code = node.args[place]
            if isinstance(code, ast.Constant):
                yield f"{path.name}:{node.lineno}", node.func.id, str(code.value)


def test_every_code_that_is_raised_is_in_the_table() -> None:
    found = list(raised())
    assert len(found) > 60
    for where, kind, code in found:
        assert code in (CODES if kind == "Problem" else FIELD_CODES), f"{where}: {code}"


def test_no_problem_is_worded_outside_the_table() -> None:
    """Only `Problem` makes a problem document, and only from the table."""
    for path in SOURCES:
        if path.name == "texts.py":
            continue
        source = path.read_text()
        assert "CodeText(" not in source, path
        assert "FieldText(" not in source, path
        if path.name != "problems.py" and path.parent.name == "api":
            assert "application/problem+json" not in re.sub(r'""".*?"""', "", source, flags=re.S), (
                path
            )


WORDY = {"why", "what", "expected", "limit", "hint"}
"""Facts that are words of ours; the others are names, values and lists of names."""
RAISED = {
    "BadSignature": ("protocols/webhook/signing.py",),
    "MediaRefused": ("msgcenter/media/kinds.py", "msgcenter/media/folder.py"),
    "Malformed": ("protocols/address.py", "adapters/platform.py"),
    "NoSuchVersion": ("msgcenter/rollout.py",),
}
"""Exceptions whose text becomes a fact."""
TABLES = {"strict.py": "_TYPES", "recipient.py": "_REASONS"}
"""Words that wait in a table of their own file."""


def said(node: ast.expr) -> str | None:
    """A text that is written out, with a number for what is filled in; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "7" for v in node.values)
    return None


def facts_of(node: ast.AST) -> list[tuple[object, ast.expr]]:
    """(name, value) of what a call that makes a problem, or a literal of facts, fills in."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        made = node.func.id in ("Problem", "Fault", "wrong")
        return [(keyword.arg, keyword.value) for keyword in node.keywords] if made else []
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [(key.value, value) for key, value in pairs if isinstance(key, ast.Constant)]
    return []


def tabled(path: Path, node: ast.AST) -> list[ast.expr]:
    """The words of the table in TABLES."""
    if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
        return []
    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    return node.value.values if TABLES.get(path.name) in names else []


def worded() -> Iterator[tuple[str, str]]:
    """(file and line, words) of ours that become part of a problem's text."""
    root = Path(__file__).parents[3]
    for path in SOURCES:
        if path.parent.name != "api" or path.name == "texts.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            values = [value for name, value in facts_of(node) if name in WORDY]
            for value in values + tabled(path, node):
                if (words := said(value)) is not None:
                    yield f"{path.name}:{value.lineno}", words
    for error, name in ((error, name) for error, names in RAISED.items() for name in names):
        for node in ast.walk(ast.parse((root / name).read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == error and node.args and (words := said(node.args[0])):
                # what an address is about stands before what is wrong with it
                own = words.partition(": ")[2] if name == "protocols/address.py" else words
                yield f"{name}:{node.lineno}", own


def test_the_words_put_into_a_text_are_in_the_table_too() -> None:
    found = list(worded())
    assert len(found) > 60
    missing = [
        f"{where}: {words!r}"
        for where, words in found
        if re.search(r"[A-Za-z]{2}", words)  # not a number, or names that are filled in
        and not re.search(r"[\u4e00-\u9fff]", str(problems._words(words, "zh")))
    ]
    assert not missing, missing


def test_every_phrase_keeps_what_is_filled_in() -> None:
    for phrase, chinese in PHRASES.items():
        places = set(re.findall(r"\{(\w+)\}", chinese))
        assert places <= set(re.findall(r"\{(\w+)\}", phrase)), phrase
        filled = re.sub(r"\{(\w+)\}", r"<\1>", phrase)
        assert problems._words(filled, "zh") == re.sub(r"\{(\w+)\}", r"<\1>", chinese), phrase


def test_a_phrase_is_said_in_the_callers_language() -> None:
    problem = Problem("not_found", what="dead letter", id="dead_1")
    assert "dead letter `dead_1`" in problem.document("en")["detail"]
    assert "死信 `dead_1`" in problem.document("zh")["detail"]
