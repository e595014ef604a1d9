"""Every key of every configuration file as one Markdown page, made from the JSON Schemas that editors read; docs/configuration.md is it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from msgcenter.config.categories import POLICY
from msgcenter.config.schema import json_schema
from msgcenter.config.values import format_duration, format_size

_HEAD = """# Configuration: every key

Made from the models that read the files: `msgcenter reference configuration --out docs/configuration.md`. How the files work together:
[the guide for operators](ops-guide.md). What your folder says with all defaults filled in: `msgcenter config show`. The same for editors:
`msgcenter config schema`.

- A *duration* is written `30s`, `5m`, `2h`, `7d`, `1h30m`, `250ms`, or as a number of seconds; a *size* `64KB`, `1MB`, or in octets.
- A *secret* is never written itself, only where it is: `${env:NAME}` or `${file:/path}` (mode 600).
- `<name>` is any name that you choose: lower-case letters, digits, `-` and `_`.
- A key of `msgcenter.yaml` can come from the environment, which wins: `bus.url` is `MSGCENTER__BUS__URL`, or
  `MSGCENTER__BUS__URL_FILE` for a file that holds it.
"""
#: Schema name -> where the file lies in the folder.
_PLACES = {
    "city": "cities/NAME.yaml",
    "template": "templates/NAME.yaml",
    "policy_test": "NAME_test.yaml",
}
_DURATION = "ms|s|m|h|d"
_SIZE = "[KMG]i?"
_SECRET = "(env|file)"  # noqa: S105 - a part of a pattern


class Row(NamedTuple):
    """One key: its path below the file, what may stand there, what holds without it, what it does."""

    path: str
    type: str
    default: str
    meaning: str


def page(settings: Mapping[str, type[BaseModel]]) -> str:
    """The whole page; `settings`: channel kind -> the model of its settings."""
    parts = [_HEAD]
    schemas = json_schema()
    for name, schema in schemas.items():
        rows = list(_Walk(schema).rows())
        parts.append(f"## {_PLACES.get(name, f'{name}.yaml')}\n{_says(schema)}\n{_table(rows)}")
        if name == "channels":
            parts += [_kind(kind, model) for kind, model in sorted(settings.items())]
        if name == "policy":
            parts.append("### The shipped categories\n\n" + _categories())
    return "\n".join(parts)


def _kind(kind: str, model: type[BaseModel]) -> str:
    rows = list(_Walk(model.model_json_schema()).rows())
    return f"### Settings of kind `{kind}`\n\n{_table(rows)}"


class _Walk:
    """The keys of one schema; what is met a second time is referred to, not repeated."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})
        self._met: dict[str, str] = {}

    def rows(self) -> Iterator[Row]:
        yield from self._below(self._schema, "")

    def _below(self, schema: Mapping[str, Any], path: str) -> Iterator[Row]:
        needed = schema.get("required", ())
        for key, field in () if self._by_name(schema) else schema.get("properties", {}).items():
            yield from self._key(field, f"{path}.{key}".lstrip("."), key in needed)
        if entry := self._by_name(schema):
            yield from self._inside(entry, f"{path}.<name>".lstrip("."))

    def _key(self, field: Mapping[str, Any], path: str, required: bool) -> Iterator[Row]:
        inner = self._resolved(field)
        meaning = field.get("description") or inner.get("description", "")
        default = "required" if required else _default(field, inner)
        yield Row(path, self._type(field), default, " ".join(meaning.split()))
        yield from self._inside(field, path)

    def _inside(self, field: Mapping[str, Any], path: str) -> Iterator[Row]:
        """The keys of an object, of a list's items, of a map's entries."""
        for each in _alternatives(field):
            if each.get("type") == "array":
                yield from self._inside(each.get("items", {}), f"{path}[]")
                continue
            name = each.get("$ref", "").rpartition("/")[2]
            if name in self._met:
                yield Row(f"{path}.*", "", "", f"as `{self._met[name]}`")
                continue
            inner = self._resolved(each)
            if name and (inner.get("properties") or self._by_name(inner)):
                self._met[name] = path
            yield from self._below(inner, path)

    def _resolved(self, field: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a field refers to, or the field."""
        if "$ref" not in field:
            return field
        found: Mapping[str, Any] = self._definitions[field["$ref"].rpartition("/")[2]]
        return found

    @staticmethod
    def _by_name(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The schema of each entry of a map."""
        if patterns := schema.get("patternProperties"):
            entry: Mapping[str, Any] = next(iter(patterns.values()))
            return entry
        more = schema.get("additionalProperties")
        return more if isinstance(more, dict) and more else None

    def _type(self, field: Mapping[str, Any]) -> str:
        kinds = dict.fromkeys(self._kind(each) for each in _alternatives(field))
        words = [kind for kind in kinds if kind]
        for one in ("duration", "size"):
            if one in words:
                return one
        return " or ".join(words)

    def _kind(self, field: Mapping[str, Any]) -> str:
        field = self._resolved(field)
        if "enum" in field or "const" in field:
            values = field.get("enum", [field.get("const")])
            return " ".join(f"`{value}`" for value in values if value != "")
        if _DURATION in field.get("pattern", ""):
            return "duration"
        if _SIZE in field.get("pattern", ""):
            return "size"
        if _SECRET in field.get("pattern", ""):
            return "secret"
        if "anyOf" in field:
            return self._type(field)
        kind = str(field.get("type", ""))
        if kind == "array":
            items = self._type(field.get("items", {}))
            return f"list of {items}" if items else "list"
        if kind == "object":
            return "map" if self._by_name(field) else "object"
        words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
        return words.get(kind, kind) + _bounds(field)


def _alternatives(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A union's members but for null; a duration's two spellings among them."""
    return [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]


def _bounds(field: Mapping[str, Any]) -> str:
    least, most = field.get("minimum"), field.get("maximum")
    if "exclusiveMinimum" in field:
        return f" over {field['exclusiveMinimum']:.12g}" + (f" to {most:.12g}" if most else "")
    if least is None:
        return ""
    return f" {least:.12g} to {most:.12g}" if most is not None else f" from {least:.12g}"


def _default(field: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    value = field.get("default")
    if value is None or value in ("", [], {}) or inner.get("properties"):
        return ""
    if isinstance(value, float) and _DURATION in json.dumps(field):
        return f"`{format_duration(value)}`"
    if isinstance(value, int) and _SIZE in json.dumps(field):
        return f"`{format_size(value)}`"
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def _says(schema: Mapping[str, Any]) -> str:
    said = " ".join(schema.get("description", "").split())
    return f"\n{said}\n" if said else ""


def _table(rows: list[Row]) -> str:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        cells = (f"`{row.path}`", row.type, row.default, row.meaning)
        lines.append("| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _categories() -> str:
    columns = ("name_zh", "tier", "bypass", "counts", "quiet", "consent", "max_hold", "expires_in")
    lines = ["| category | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for name, category in POLICY["categories"].items():
        cells = [_cell(category.get(column)) for column in columns]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)
