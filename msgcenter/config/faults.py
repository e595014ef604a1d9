"""Turns what pydantic reports into problems with a place in the file, plain words and a remedy."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from msgcenter.config.problems import ConfigProblem, did_you_mean, dotted
from msgcenter.config.source import Node

_SIMPLE: dict[str, tuple[str, str]] = {
    "bool_parsing": ("must be true or false", "write true or false"),
    "bool_type": ("must be true or false", "write true or false"),
    "int_parsing": ("must be a whole number", "write digits only"),
    "int_type": ("must be a whole number", "write digits only"),
    "int_from_float": ("must be a whole number", "drop the fraction"),
    "float_parsing": ("must be a number", "write digits only"),
    "float_type": ("must be a number", "write digits only"),
    "string_type": ("must be text", "put it in quotes"),
    "path_type": ("must be a path", "write it as text"),
    "list_type": ("must be a list", "write `[a, b]` or one `- item` per line"),
    "tuple_type": ("must be a list", "write `[a, b]` or one `- item` per line"),
    "dict_type": ("must be a mapping", "write `key: value` lines below it"),
    "mapping_type": ("must be a mapping", "write `key: value` lines below it"),
    "model_type": ("must be a mapping", "write `key: value` lines below it"),
    "model_attributes_type": ("must be a mapping", "write `key: value` lines below it"),
    "finite_number": ("must be a finite number", "write digits only"),
}
_BOUNDS: dict[str, tuple[str, str, str]] = {
    "greater_than_equal": ("ge", "must be at least {}", "raise it to {} or more"),
    "greater_than": ("gt", "must be more than {}", "raise it above {}"),
    "less_than_equal": ("le", "must be at most {}", "lower it to {} or less"),
    "less_than": ("lt", "must be less than {}", "lower it below {}"),
    "too_short": ("min_length", "needs at least {} item(s)", "add {} or more"),
    "too_long": ("max_length", "takes at most {} item(s)", "remove some"),
    "string_too_short": ("min_length", "needs at least {} character(s)", "write {} or more"),
    "string_too_long": ("max_length", "takes at most {} characters", "shorten it"),
}
_PATTERNS: dict[str, tuple[str, str]] = {
    "^[0-9]+": ("must be digits", "write digits only, in quotes"),
    "^[a-z0-9]": (
        "is not a usable name",
        "use a-z, 0-9, - and _, beginning with a letter or digit, at most 64",
    ),
}


def explain(
    error: ValidationError,
    root: type[BaseModel] | Any,
    node: Node,
    prefix: Sequence[str | int] = (),
) -> list[ConfigProblem]:
    """Every fault in `error`, which came from validating `node` against `root` (a model or an
    annotation).

    `prefix` is the path of `node` inside its file. The input itself is compared with known words,
    never printed.
    """
    out = []
    items = error.errors(include_url=False)
    for item in items:
        loc = item["loc"]
        if item["type"] == "too_short" and any(
            len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in items
        ):
            continue  # it is short only because its faulty items were left out
        path = _written(loc, node, last=item["type"] in ("missing", "extra_forbidden"))
        message, remedy = _words(item, root, loc)
        out.append(ConfigProblem(node.at(path), dotted((*prefix, *path)), message, remedy))
    return out


def _written(loc: Sequence[str | int], node: Node, *, last: bool) -> tuple[str | int, ...]:
    """`loc` without the parts pydantic adds for itself (union members, `[key]`), which are in no
    file."""
    path: list[str | int] = []
    here: Node | None = node
    for i, part in enumerate(loc):
        child = here.child(part) if here else None
        if child is not None:
            path.append(part)
            here = child
        elif last and i == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _words(item: Any, root: Any, loc: Sequence[str | int]) -> tuple[str, str]:
    """What is wrong and what to do, for one of pydantic's own error types or one of ours."""
    kind: str = item["type"]
    context: Mapping[str, Any] = item.get("ctx", {})
    message = str(item["msg"]).removeprefix("Value error, ")
    words = message[:1].lower() + message[1:], "`msgcenter config schema` shows what is allowed"
    if kind == "config":
        words = str(context["message"]), str(context["remedy"])
    elif kind == "extra_forbidden":
        words = (
            "unknown key",
            did_you_mean(str(loc[-1]), known_keys(root, loc[:-1]), what="keys"),
        )
    elif kind == "missing":
        words = "is required", f"add `{loc[-1]}: …`"
    elif kind == "literal_error":
        known = _literals(str(context.get("expected", "")))
        remedy = did_you_mean(str(item.get("input")), known, what="values")
        if not remedy.startswith("did you mean"):
            remedy = "choose one of them"
        words = f"must be one of {', '.join(known)}", remedy
    elif kind in _BOUNDS:
        key, text, remedy = _BOUNDS[kind]
        bound = context.get(key)
        bound = f"{bound:g}" if isinstance(bound, float) else bound
        words = text.format(bound), remedy.format(bound)
    elif kind == "string_pattern_mismatch":
        start = str(context.get("pattern", ""))[:9]
        words = next((own for begin, own in _PATTERNS.items() if start.startswith(begin)), words)
    return _SIMPLE.get(kind, words)


def _literals(expected: str) -> list[str]:
    """pydantic's `'a', 'b' or 'c'` -> the words."""
    return expected.split("'")[1::2]


def known_keys(root: Any, loc: Sequence[str | int]) -> list[str]:
    """The keys of the model found at `loc` below `root`; empty where there is none."""
    annotation = root
    for part in loc:
        annotation = _below(annotation, part)
    model = _model(annotation)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _below(annotation: Any, part: str | int) -> Any:
    model = _model(annotation)
    if model is not None:
        field = model.model_fields.get(str(part))
        return field.annotation if field else None
    annotation = _bare(annotation)
    args = [arg for arg in get_args(annotation) if arg is not Ellipsis]
    origin = get_origin(annotation)
    return args[-1] if args and origin is not None else None


def _model(annotation: Any) -> type[BaseModel] | None:
    annotation = _bare(annotation)
    return (
        annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    )


def _bare(annotation: Any) -> Any:
    """Without Annotated and without `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            rest = [arg for arg in get_args(annotation) if arg is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation
