"""Generate: the client's models and operations from an OpenAPI document, so that no operation is without its method.

`python msgcenter/client/generate.py < openapi.json` (a file by itself: it must run while what it makes is missing) rewrites `models.py`, `operations.py` and `sync_operations.py` beside this
file (`make client`). Each operation becomes one method, called by its operationId; those with a `next_cursor` get an iterator
`iter_…` beside it.
"""

from __future__ import annotations

import json
import keyword
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = ("models.py", "operations.py", "sync_operations.py")
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_MADE = '"""{what}; made from the OpenAPI document by `msgcenter.client.generate` (`make client`), not by hand."""'
_WIDTH = 96


@dataclass(frozen=True, slots=True)
class Operation:
    """What the generator needs to know of one operation. `answer`: `json`, `bytes`, `text`, `events` or `upload`."""

    name: str
    method: str
    path: str
    summary: str
    in_path: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    keyed: bool
    body: str
    body_required: bool
    answer: str
    result: str
    item: str

    @property
    def url(self) -> str:
        quoted = self.path
        for name in self.in_path:
            quoted = quoted.replace(f"{{{name}}}", f"{{quoted({name})}}")
        return f'f"{quoted}"' if self.in_path else f'"{quoted}"'


def generate(document: Mapping[str, Any]) -> dict[str, str]:
    """File name -> its text, unformatted. Raises ValueError for a document with what is not understood here."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    operations = list(_operations(document))
    names = [operation.name for operation in operations]
    if len(set(names)) != len(names):
        raise ValueError("an operationId stands twice")
    return {
        "models.py": _models(schemas),
        "operations.py": _class(operations, schemas, sync=False),
        "sync_operations.py": _class(operations, schemas, sync=True),
    }


# -- models -------------------------------------------------------------------------------------


def _models(schemas: Mapping[str, Any]) -> str:
    out = [_MADE.format(what="The API's objects, as they stand in JSON"), ""]
    out += [
        "from __future__ import annotations",
        "",
        "from typing import Any, Literal, NotRequired, TypedDict",
        "",
    ]
    for name in sorted(schemas):
        out += ["", *_model(name, schemas[name])]
    return "\n".join(out) + "\n"


def _model(name: str, schema: Mapping[str, Any]) -> list[str]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    if schema.get("type") != "object":
        raise ValueError(f"{name}: only objects are known")
    required = set(schema.get("required", ()))
    fields = {
        field: _type(of) if field in required else f"NotRequired[{_type(of)}]"
        for field, of in properties.items()
    }
    text = " ".join(str(schema.get("description", name)).split()).replace("\\", "\\\\")
    wrapped = textwrap.wrap(text, _WIDTH) or [name]
    if any(keyword.iskeyword(field) for field in fields):
        lines = [f"# {line}" for line in wrapped]
        lines += [f"{name} = TypedDict(", f'    "{name}",', "    {"]
        lines += [f'        "{field}": "{of}",' for field, of in fields.items()]
        return [*lines, "    },", ")", ""]
    lines = [f"class {name}(TypedDict):"]
    if len(wrapped) == 1:
        lines.append(f'    """{wrapped[0]}"""')
    else:
        lines += [f'    """{wrapped[0]}', *(f"    {line}" for line in wrapped[1:]), '    """']
    lines.append("")
    lines += [f"    {field}: {of}" for field, of in fields.items()]
    return [*lines, ""]


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"Literal[{_literal(schema['const'])}]"
    if "enum" in schema:
        return f"Literal[{', '.join(_literal(word) for word in schema['enum'])}]"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(_type(choice) for choice in choices))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_PLAIN[one] for one in kind)
    if kind == "array":
        return f"list[{_type(schema.get('items', {}))}]"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"dict[str, {_type(inner) if isinstance(inner, Mapping) else 'Any'}]"
    return _PLAIN.get(str(kind), "Any")


def _literal(word: object) -> str:
    return json.dumps(word) if isinstance(word, str) else repr(word)


# -- operations ---------------------------------------------------------------------------------


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            parameters = told.get("parameters", ())
            content = told.get("requestBody", {}).get("content", {})
            json_body = content.get("application/json", {}).get("schema")
            answer, result = _answer(told["responses"])
            if content and json_body is None:
                answer = "upload"
            view = schemas.get(result, {}).get("properties", {})
            item = _type(view["items"]["items"]) if "next_cursor" in view else ""
            yield Operation(
                name=told["operationId"],
                method=method.upper(),
                path=path,
                summary=told["summary"],
                in_path=tuple(p["name"] for p in parameters if p["in"] == "path"),
                query=tuple(
                    (p["name"], _type(p["schema"])) for p in parameters if p["in"] == "query"
                ),
                keyed=any(p["name"] == "Idempotency-Key" for p in parameters),
                body=_type(json_body) if json_body is not None else "",
                body_required=bool(told.get("requestBody", {}).get("required")),
                answer=answer,
                result=result,
                item=item,
            )


def _answer(responses: Mapping[str, Any]) -> tuple[str, str]:
    good = [told for status, told in responses.items() if status.startswith("2")]
    results: dict[str, None] = {}
    for told in good:
        for media, of in told.get("content", {}).items():
            if media == "application/json":
                results[_type(of["schema"])] = None
            elif media == "text/event-stream":
                return "events", "ServerEvent"
            elif media in ("*/*", "application/octet-stream"):
                return "bytes", "bytes"
            elif media.startswith("text/"):
                return "text", "str"
    return "json", " | ".join(results) or "dict[str, Any]"


def _class(operations: list[Operation], schemas: Mapping[str, Any], *, sync: bool) -> str:
    what = (
        "Every operation of the API as a method that blocks"
        if sync
        else "Every operation of the API as a coroutine"
    )
    body: list[str] = []
    for operation in operations:
        body += _method(operation, sync)
        if operation.item:
            body += _iterator(operation, sync)
    text = "\n".join(body)
    used = sorted(name for name in schemas if _names(name, text))
    out = [_MADE.format(what=what), "", "from __future__ import annotations", ""]
    kinds = "Iterator" if sync else "AsyncIterator"
    out += [
        f"from collections.abc import {kinds}",
        "from typing import Any, Literal",
        "from urllib.parse import quote",
        "",
    ]
    out.append("from msgcenter.client.models import (")
    out += [f"    {name}," for name in used]
    out += [")", "from msgcenter.client.sse import ServerEvent"]
    if sync:
        out += [
            "from msgcenter.client.loop import Loop",
            "from msgcenter.client.operations import Operations",
        ]
    else:
        out += ["from msgcenter.client.transport import Transport"]
    out += ["from msgcenter.client.transport import Upload", "", ""]
    if sync:
        out += [
            "class SyncOperations(Loop):",
            '    """The same as Operations, each call to its end."""',
            "",
            "    _async: Operations",
            "",
        ]
    else:
        out += [
            "def quoted(part: str) -> str:",
            '    """A value as one part of a path."""',
            '    return quote(part, safe="@:")',
            "",
            "",
            "class Operations(Transport):",
            '    """One method for each operation. All raise ApiError and NotReached."""',
            "",
        ]
    return "\n".join(out) + text + "\n"


def _names(name: str, text: str) -> bool:
    return any(
        f"{before}{name}{after}" in text
        for before in ("[", " ", "| ")
        for after in ("]", " ", ",", ":", ")")
    )


def _parameters(
    operation: Operation, sync: bool, *, without: tuple[str, ...] = ()
) -> tuple[list[str], dict[str, str]]:
    """(declarations, query name -> Python name)."""
    out = ["self", *(f"{name}: str" for name in operation.in_path)]
    if operation.answer == "upload":
        out.append("data: Upload")
    if operation.body:
        out.append(
            f"body: {operation.body}" + ("" if operation.body_required else " | None = None")
        )
    named: list[str] = []
    if operation.answer == "upload":
        named.append("content_type: str")
    query: dict[str, str] = {}
    for name, kind in operation.query:
        python = f"{name}_" if keyword.iskeyword(name) else name
        query[name] = python
        if name not in without:
            named.append(f"{python}: {kind} | None = None")
    if operation.keyed:
        named.append("idempotency_key: str | None = None")
    if operation.answer == "events":
        named.append('last_id: str = ""')
    return [*out, *(["*", *named] if named else [])], query


def _method(operation: Operation, sync: bool) -> list[str]:
    declared, query = _parameters(operation, sync)
    events = operation.answer == "events"
    iterator = "Iterator" if sync else "AsyncIterator"
    result = f"{iterator}[ServerEvent]" if events else operation.result
    head = f"    {'def' if sync or events else 'async def'} {operation.name}({', '.join(declared)}) -> {result}:"
    lines = [head, f'        """{operation.summary}. `{operation.method} {operation.path}`."""']
    if sync:
        given = _forwarded(declared)
        call = f"self._async.{operation.name}({given})"
        lines.append(f"        return self._{'each' if events else 'run'}({call})")
        return [*lines, ""]
    asked = (
        f"query={{{', '.join(f'{json.dumps(n)}: {p}' for n, p in query.items())}}}" if query else ""
    )
    match operation.answer:
        case "events":
            arguments = [operation.url, asked, "last_id=last_id"]
            call = f"self.stream({', '.join(filter(None, arguments))})"
        case "bytes":
            call = f"await self.download({', '.join(filter(None, [_q(operation.method), operation.url, asked]))})"
        case "text":
            call = f"await self.text({', '.join(filter(None, [_q(operation.method), operation.url, asked]))})"
        case "upload":
            arguments = [
                _q(operation.method),
                operation.url,
                "data",
                "content_type=content_type",
                asked,
            ]
            call = f"await self.upload({', '.join(filter(None, arguments))})"
        case _:
            arguments = [_q(operation.method), operation.url, asked]
            if operation.body:
                arguments.append("body=body")
            if operation.keyed:
                arguments.append("idempotency_key=idempotency_key, keyed=True")
            call = f"await self.call({', '.join(filter(None, arguments))})"
    if operation.answer in ("json", "upload"):
        lines += [f"        answer: {operation.result} = {call}", "        return answer"]
    else:
        lines.append(f"        return {call}")
    return [*lines, ""]


def _iterator(operation: Operation, sync: bool) -> list[str]:
    declared, _ = _parameters(operation, sync, without=("cursor",))
    name = "iter_" + operation.name.removeprefix("list_")
    iterator = "Iterator" if sync else "AsyncIterator"
    head = f"    {'def' if sync else 'async def'} {name}({', '.join(declared)}) -> {iterator}[{operation.item}]:"
    lines = [
        head,
        f'        """Every item of `{operation.name}`, page after page (`limit` is the size of a page)."""',
    ]
    given = _forwarded(declared)
    if sync:
        return [*lines, f"        return self._each(self._async.{name}({given}))", ""]
    return [
        *lines,
        "        cursor: str | None = None",
        "        while True:",
        f"            page = await self.{operation.name}({given}, cursor=cursor)".replace(
            "(, ", "("
        ),
        '            for item in page["items"]:',
        "                yield item",
        '            cursor = page.get("next_cursor")',
        "            if not cursor:",
        "                return",
        "",
    ]


def _forwarded(declared: list[str]) -> str:
    out, by_name = [], False
    for one in declared[1:]:
        if one == "*":
            by_name = True
            continue
        name = one.partition(":")[0]
        out.append(f"{name}={name}" if by_name else name)
    return ", ".join(out)


def _q(text: str) -> str:
    return f'"{text}"'


def main() -> None:
    """Read the document from standard input, write the files beside this one."""
    for name, text in generate(json.load(sys.stdin)).items():
        (Path(__file__).parent / name).write_text(text)


if __name__ == "__main__":
    main()
