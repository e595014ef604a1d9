"""Frozen dataclasses read leniently from what a far end sends: each field says where its value is and in which form it wants it.

The source is a tree of dictionaries, lists and texts, from XML or JSON alike. A missing value or one of another type is the
field's empty value, never an error: a page of a thousand messages must not be lost to one odd field in one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
Reader = Callable[[Mapping[str, Any]], Any]

_READ = "read"
#: Longer digits are no number of this protocol, and slow to read.
_DIGITS = 20


def _walk(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if isinstance(tree, list):
            tree = next((each for each in tree if isinstance(each, Mapping)), None)
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _first(tree: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> Any:
    for path in paths:
        value = _walk(tree, path)
        if value is not None:
            return value
    return None


def as_text(value: Any) -> str:
    """Text as it is, a number in digits, of a list its first item; anything else is empty."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, int | float) else ""


def as_int(value: Any) -> int:
    """A whole number of at most 63 bits, also from digits; anything else is 0."""
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else 0
    text = as_text(value).strip()
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS:
        return as_int(int(text))
    return 0


def as_float(value: Any) -> float:
    """A number, also from digits; anything else, and what is not finite, is 0.0."""
    try:
        number = float(as_text(value)[:40])
    except ValueError:
        return 0.0
    return number if abs(number) < 1e15 else 0.0


def as_list(value: Any) -> list[Any]:
    """A list as it is, a single value as a list of one, nothing as an empty one."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _spec(paths: tuple[str, ...], empty: Any, convert: Callable[[Any], Any]) -> Any:
    split = tuple(tuple(path.split("/")) for path in paths)
    return field(default=empty, metadata={_READ: lambda tree: convert(_first(tree, split))})


def text(*paths: str) -> str:
    """A text at the first of `paths` that is there; `a/b` goes down."""
    found: str = _spec(paths, "", as_text)
    return found


def number(*paths: str) -> int:
    """A whole number."""
    found: int = _spec(paths, 0, as_int)
    return found


def real(*paths: str) -> float:
    """A decimal number."""
    found: float = _spec(paths, 0.0, as_float)
    return found


def flag(*paths: str) -> bool:
    """True for true, any number but 0, and the texts true and 1."""
    found: bool = _spec(paths, False, lambda value: value == "true" or as_int(value) != 0)
    return found


def texts(*paths: str, sep: str = "") -> tuple[str, ...]:
    """All texts of a repeated element or list; with `sep`, the parts of one text."""

    def convert(value: Any) -> tuple[str, ...]:
        if sep and isinstance(value, str):
            return tuple(part.strip() for part in value.split(sep) if part.strip())
        return tuple(as_text(each) for each in as_list(value) if not isinstance(each, Mapping))

    found: tuple[str, ...] = _spec(paths, (), convert)
    return found


def many(kind: type[T], *paths: str) -> tuple[T, ...]:
    """A list of such parts; what is no part is left out."""
    found: tuple[T, ...] = _spec(
        paths,
        (),
        lambda value: tuple(
            load(kind, each) for each in as_list(value) if isinstance(each, Mapping)
        ),
    )
    return found


def other(read: Callable[[Any], T], empty: T, *paths: str) -> T:
    """A value that `read` makes of whatever is there (None if nothing is)."""
    found: T = _spec(paths, empty, read)
    return found


@cache
def _readers(kind: type) -> tuple[tuple[str, Reader], ...]:
    return tuple(
        (each.name, each.metadata[_READ]) for each in fields(kind) if _READ in each.metadata
    )


def load(kind: Callable[..., T], tree: Mapping[str, Any], /, **given: Any) -> T:
    """An instance of `kind` from `tree`; `given` are fields that do not come from there."""
    readers = _readers(kind)
    return kind(**given, **{name: read(tree) for name, read in readers if name not in given})


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf as (path, text), siblings in the order of their names, repeated ones in their own order."""
    if isinstance(tree, Mapping):
        for name in sorted(tree):
            yield from flatten(tree[name], f"{path}/{name}" if path else name)
    elif isinstance(tree, list):
        for index, each in enumerate(tree):
            yield from flatten(each, f"{path}[{index}]")
    else:
        yield path, as_text(tree)
