"""The table of problem texts: every code in both languages with the same placeholders, every code that is raised is in it, and no
text stands anywhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

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


def test_the_words_put_into_a_text_are_in_the_table_too() -> None:
    """`why` and `what`, where they are written out."""
    found = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            for keyword in node.keywords if node.func.id == "Problem" else ():
                if keyword.arg in ("why", "what") and isinstance(keyword.value, ast.Constant):
                    found += 1
                    assert keyword.value.value in PHRASES, f"{path.name}:{node.lineno}"
    assert found > 20


def test_a_phrase_is_said_in_the_callers_language() -> None:
    problem = Problem("not_found", what="dead letter", id="dead_1")
    assert "dead letter `dead_1`" in problem.document("en")["detail"]
    assert "死信 `dead_1`" in problem.document("zh")["detail"]
