"""Request bodies as data: `{name}` in a tree of JSON values is replaced by a fact; a key whose fact is not there is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from protocols.errors import Malformed

_NAME = re.compile(r"\{([a-z_]+)\}")


def fill(template: Any, facts: Mapping[str, Any]) -> Any:
    """The tree with its facts. A text that is one `{name}` becomes the fact itself (a list, a number); None drops the key that
    holds it. Raises Malformed for a name that is no fact."""
    if isinstance(template, str):
        whole = _NAME.fullmatch(template)
        return _fact(whole[1], facts) if whole else text(template, facts)
    if isinstance(template, Mapping):
        filled = ((name, fill(value, facts)) for name, value in template.items())
        return {name: value for name, value in filled if value is not None}
    if isinstance(template, list | tuple):
        return [value for value in (fill(one, facts) for one in template) if value is not None]
    return template


def text(template: str, facts: Mapping[str, Any]) -> str:
    """A text with its facts; one that is not there is empty. Raises Malformed for a name that is no fact."""

    def put(match: re.Match[str]) -> str:
        value = _fact(match[1], facts)
        return "" if value is None else str(value)

    return _NAME.sub(put, template)


def _fact(name: str, facts: Mapping[str, Any]) -> Any:
    if name not in facts:
        raise Malformed(f"template: {{{name}}} is no fact; known are {', '.join(sorted(facts))}")
    return facts[name]
