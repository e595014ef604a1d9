"""Variables: what a template asks for, by name and type, and a request's values read as these, or what is wrong with each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

VariableType = Literal["text", "integer", "number", "boolean", "date", "datetime", "url", "list"]

MAX_LIST = 100
MAX_NUMBER = Decimal(10) ** 15
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?")
_EXPECTED = {
    "text": "text",
    "integer": "a whole number",
    "number": 'a number, or one in quotes like "12.50"',
    "boolean": "true or false",
    "date": "a day like 2026-03-05",
    "datetime": "a time with offset like 2026-03-05T08:00:00+08:00",
    "url": "an http or https address",
    "list": f"a list of at most {MAX_LIST} texts",
}


@dataclass(frozen=True, slots=True)
class Variable:
    """`values`: the only ones allowed; none: any. `default`: as in a request, for one that is not given."""

    type: VariableType = "text"
    required: bool = True
    default: Any = None
    max_length: int = 200
    """Of a text, an address, and each text of a list; characters."""
    values: tuple[str, ...] = ()
    example: Any = None


@dataclass(frozen=True, slots=True)
class Wrong:
    """One variable that is missing, unknown or not of its type."""

    name: str
    what: Literal["missing", "unknown", "wrong"]
    expected: str = ""

    def __str__(self) -> str:
        if self.what == "wrong":
            return f"variable {self.name} must be {self.expected}"
        return f"variable {self.name} is {self.what}"


def read_variables(
    declared: Mapping[str, Variable], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Wrong]]:
    """The values as templates use them (Decimal, date, datetime …), and everything that is wrong. What is not declared is
    unknown; what is optional and not given is not in the values."""
    out: dict[str, Any] = {}
    wrong = [Wrong(name, "unknown") for name in given if name not in declared]
    for name, variable in declared.items():
        value = given.get(name, variable.default)
        if value is None:
            if variable.required:
                wrong.append(Wrong(name, "missing"))
            continue
        read = read_value(variable, value)
        if read is None:
            wrong.append(Wrong(name, "wrong", expected(variable)))
        else:
            out[name] = read
    return out, wrong


def expected(variable: Variable) -> str:
    """What a value must be, in words."""
    if variable.values:
        return f"one of {', '.join(variable.values)}"
    if variable.type in ("text", "url", "list"):
        return f"{_EXPECTED[variable.type]}, at most {variable.max_length} characters" + (
            " each" if variable.type == "list" else ""
        )
    return _EXPECTED[variable.type]


def read_value(variable: Variable, value: Any) -> Any:
    """One value; None when it is not of the type."""
    match variable.type:
        case "text":
            return _text(variable, value)
        case "url":
            text = _text(variable, value)
            return text if text and text.startswith(("http://", "https://")) else None
        case "integer":
            whole = type(value) is int and abs(value) < MAX_NUMBER
            return value if whole else None
        case "number":
            return _number(value)
        case "boolean":
            return value if type(value) is bool else None
        case "date":
            return _day(value)
        case "datetime":
            return _moment(value)
        case "list":
            if type(value) is not list or len(value) > MAX_LIST:
                return None
            texts = [_text(variable, one) for one in value]
            return None if None in texts else texts


def _text(variable: Variable, value: Any) -> str | None:
    if type(value) is not str or len(value) > variable.max_length or _CONTROL.search(value):
        return None
    return value if not variable.values or value in variable.values else None


def _number(value: Any) -> Decimal | None:
    if type(value) is str and not _NUMBER.fullmatch(value):
        return None
    if type(value) not in (int, float, str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < MAX_NUMBER else None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if type(value) is str and len(value) == 10 else None
    except ValueError:
        return None


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if type(value) is str else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def sample(variable: Variable) -> Any:
    """A value as a request would give it: the example, else one that fits."""
    if variable.example is not None:
        return variable.example
    if variable.values:
        return variable.values[0]
    return {
        "text": "示例"[: variable.max_length],
        "integer": 1,
        "number": "12.50",
        "boolean": True,
        "date": "2026-03-05",
        "datetime": "2026-03-05T08:00:00+08:00",
        "url": "https://example.com/",
        "list": ["示例"[: variable.max_length]],
    }[variable.type]
