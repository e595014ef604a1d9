"""Strict JSON: a body becomes a model or a list of faults; repeated keys, NaN and needless depth
are refused although pydantic would let them pass.

The fast way costs one pydantic pass: every key of a valid body is a declared field, so a body has
no repeated key when it holds exactly as many `"…":` as fields were set. Only when the counts differ
is it read a second time, exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from msgcenter.api.body import Body
from msgcenter.api.content import PAYLOADS
from msgcenter.api.problems import Fault, Problem
from msgcenter.config.problems import did_you_mean

M = TypeVar("M", bound=Body)

MAX_FAULTS = 200
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KEYS = re.compile(rb'(?<!\\)"[ \t\r\n]*:')


class Invalid(Exception):
    """The body is JSON but not this model: `faults` says why, `data` is the parsed body (a dict or
    another value)."""

    def __init__(self, faults: list[Fault], data: Any) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults
        self.data = data


def read_model(model: type[M], body: bytes) -> M:
    """The body as `model`. Raises Problem (not JSON, repeated key, too deep) or Invalid (wrong
    fields)."""
    try:
        value = model.model_validate_json(body)
    except ValidationError as error:
        raise Invalid(faults_of(error, model), read_json(body)) from error
    if len(_KEYS.findall(body)) != _count(value):
        read_json(body)
    return value


def read_json(body: bytes) -> Any:
    """Any JSON value, exactly: raises Problem for bytes that are not UTF-8 JSON, NaN, a repeated
    key, deep nesting."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
        if _ESCAPED_SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise Problem("json_too_deep") from error
    except json.JSONDecodeError as error:
        raise Problem(
            "json_invalid", why=f"{error.msg} (line {error.lineno} column {error.colno})"
        ) from error
    except UnicodeEncodeError as error:
        raise Problem("json_invalid", why="half of a surrogate pair is no character") from error
    except UnicodeDecodeError as error:
        raise Problem("json_invalid", why=f"not UTF-8 at octet {error.start}") from error
    except ValueError as error:
        # an integer with more digits than Python converts
        raise Problem("json_invalid", why="a number is too long") from error


def read_item(model: type[M], data: Any) -> M:
    """One already parsed element of a body as `model`. Raises Invalid."""
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise Invalid(faults_of(error, model), data) from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Problem("json_duplicate_key", key=key[:80])
            seen.add(key)
    return out


def _constant(name: str) -> Any:
    raise Problem("json_invalid", why=f"{name} is not JSON")


def _count(value: Any) -> int:
    """How many keys the JSON of a valid Body had, were none repeated."""
    names = value.__pydantic_fields_set__
    count = len(names)
    for name in value.__nested__:
        if name in names:
            inner = getattr(value, name)
            if type(inner) is list:
                for item in inner:
                    count += _count(item)
            elif inner is not None:
                count += _count(inner)
    return count


# -- pydantic's errors in our words -------------------------------------------------------------


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every error as a Fault, in order of the fields; at most MAX_FAULTS."""
    details = error.errors(include_url=False, include_context=True)
    return [_fault(detail, model) for detail in details[:MAX_FAULTS]]


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> Fault:
    kind = detail["type"]
    loc = detail["loc"]
    field = dotted(_untagged(loc))
    value = detail.get("input")
    facts: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "missing":
        return Fault(field, "missing", facts={"name": loc[-1] if loc else ""})
    if kind == "extra_forbidden":
        name = str(loc[-1]) if loc else ""
        known = _known(model, loc[:-1])
        hint = did_you_mean(name, known, what="fields")
        return Fault(field, "unknown_field", value, {"hint": hint})
    if kind == "problem":
        # raised by our own validators as PydanticCustomError("problem", …, {"code": …, facts})
        own = {name: fact for name, fact in facts.items() if name != "code"}
        return Fault(field, str(facts["code"]), value, own)
    if kind in ("string_too_long", "too_long", "bytes_too_long"):
        return Fault(field, "too_long", value, {"limit": facts.get("max_length", "?")})
    if kind in ("string_too_short", "too_short"):
        return Fault(field, "too_short", value, {"limit": facts.get("min_length", "?")})
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        known_words = str(facts.get("expected") or facts.get("expected_tags") or "").replace(
            "'", ""
        )
        if kind == "union_tag_invalid":
            field, value = f"{field}.{facts.get('discriminator', '').strip(chr(39))}", facts["tag"]
        return Fault(field, "not_one_of", value, {"known": known_words.replace(" or ", ", ")})
    if kind == "union_tag_not_found":
        name = str(facts.get("discriminator", "")).strip("'")
        return Fault(f"{field}.{name}", "missing", facts={"name": name})
    if kind == "string_pattern_mismatch":
        return Fault(field, "pattern", value, {"expected": f"pattern {facts.get('pattern')}"})
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        sign = {"ge": "≥", "le": "≤", "gt": ">", "lt": "<"}
        bound = ", ".join(f"{sign.get(name, name)} {bound}" for name, bound in facts.items())
        return Fault(field, "out_of_range", value, {"expected": bound})
    if kind.startswith(("datetime", "timezone")):
        return Fault(field, "time_invalid", value)
    if expected := _TYPES.get(kind):
        return Fault(field or "(body)", "wrong_type", value, {"expected": expected})
    return Fault(field or "(body)", "invalid", value, {"why": detail["msg"]})


_TYPES = {
    "string_type": "text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
    "float_type": "a number",
    "finite_number": "a finite number",
}


def dotted(loc: Sequence[str | int]) -> str:
    """`("messages", 0, "to")` -> `messages[0].to`."""
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else part)
    return out


def _known(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The field names (as written in JSON) of the object at `loc`."""
    schema = model.model_json_schema()
    node: Mapping[str, Any] = schema
    for part in loc:
        node = _resolved(node, schema)
        if tagged := _tagged(node).get(str(part)):
            node = {"$ref": tagged}
            continue
        properties = node.get("properties", {})
        node = node.get("items", {}) if isinstance(part, int) else properties.get(part, {})
    return list(_resolved(node, schema).get("properties", {}))


def _tagged(node: Mapping[str, Any]) -> Mapping[str, str]:
    """Tag -> schema of a union that is told apart by one."""
    found: Mapping[str, str] = node.get("discriminator", {}).get("mapping", {})
    return found


def _untagged(loc: Sequence[str | int]) -> list[str | int]:
    """Without the tags that pydantic puts behind the name of a tagged union: no field is called so in the JSON."""
    return [
        part
        for number, part in enumerate(loc)
        if not (number and loc[number - 1] == "content" and part in PAYLOADS)
    ]


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(8):
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2]
            node = cast(Mapping[str, Any], schema["$defs"][name])
            continue
        choices = node.get("anyOf") or node.get("oneOf")
        if not choices or _tagged(node):
            return node
        node = next((choice for choice in choices if choice.get("type") != "null"), {})
    return node
