"""The page of all events, made of their schemas: for each type what it tells and what its `data` holds; docs/events.md is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from msgcenter.archive.event_schemas import MODELS, schema_of

_HEAD = """# Events

What becomes of messages, groups and plans, and what people write, as CloudEvents 1.0 in JSON: `specversion`, `id` (the same however
often and on whatever way it comes), `source`, `type`, `time`, `subject`, `data`. The same events by `GET /v1/events` (pull),
`GET /v1/events/stream` (SSE), a caller's callback and its subscriptions (`POST /v1/subscriptions`). A version stands in the type: within
it fields are added, never taken away; ignore those you do not know. `GET /v1/schemas/<type>` answers the JSON Schema (2020-12) of each.

This page is made of those schemas: `msgcenter events --out docs/events.md`.
"""


def page() -> str:
    """The whole page as Markdown."""
    kinds: dict[type[BaseModel], list[str]] = {}
    for kind, model in MODELS.items():
        kinds.setdefault(model, []).append(kind)
    parts = [_HEAD]
    contents: Mapping[str, Any] = {}
    for model, names in kinds.items():
        schema = schema_of(names[0])
        contents = {**contents, **schema["$defs"]}
        parts.append(f"## {_spaced(model.__name__)}\n\n{_text(model)}\n")
        parts.append("\n".join(f"- `{name}`" for name in names) + "\n")
        parts.append("\n".join(_table(schema["properties"]["data"])) + "\n")
    parts.append("## What may stand inside\n")
    for name in sorted(contents):
        about = " ".join(contents[name].get("description", "").split())
        parts.append(f"### {name}\n" + (f"\n{about}\n" if about else ""))
        parts.append("\n".join(_table(contents[name])) + "\n")
    return "\n".join(parts)


def _text(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _spaced(name: str) -> str:
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
    return words.capitalize()


def _table(schema: Mapping[str, Any]) -> Iterator[str]:
    if "properties" not in schema:
        yield f"One of: {_kind(schema)}."
        return
    yield "| field | type | |"
    yield "|---|---|---|"
    required = set(schema.get("required", ()))
    for name, of in schema["properties"].items():
        notes = [] if name in required else ["may be absent"]
        if about := " ".join(of.get("description", "").split()):
            notes.append(about)
        yield f"| `{name}` | {_kind(of)} | {'; '.join(notes)} |"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_kind(part) for part in parts if part.get("type") != "null")
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema["format"]) if "format" in schema else kind
