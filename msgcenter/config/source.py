"""Configuration text to a tree that knows the line and column of every key: YAML 1.2 scalars, no
tags, no surprises.

YAML 1.1 turns `no`, `12:30` and `010` into a boolean, 750 and 8; here, as in YAML 1.2 and in
editors that follow the JSON Schema, they are text. A duplicate key, a tag, a merge key, a second
document, a deep nest or an alias bomb is a problem with its place, never a silent winner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from msgcenter.config.problems import ConfigProblem, Mark, dotted

MAX_BYTES = 8 << 20
MAX_DEPTH = 24
#: Nodes after aliases are expanded: 20 lines of nested aliases can otherwise stand for billions.
MAX_NODES = 500_000

Scalar = str | int | float | bool | None

_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(slots=True)
class Node:
    """A value with the place where it starts; in a mapping that is the place of its key."""

    value: Scalar | dict[str, Node] | list[Node]
    mark: Mark
    size: int = 1

    def plain(self) -> object:
        """The bare Python value."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, path: Sequence[str | int]) -> Mark:
        """The place of `path`, or of its nearest ancestor that was written down."""
        node = self
        for part in path:
            child = node.child(part)
            if child is None:
                break
            node = child
        return node.mark

    def child(self, part: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def items(self) -> tuple[tuple[str, Node], ...]:
        return tuple(self.value.items()) if isinstance(self.value, dict) else ()

    def keys(self) -> tuple[str, ...]:
        return tuple(self.value) if isinstance(self.value, dict) else ()


def node_of(value: object, mark: Mark) -> Node:
    """A tree for values that come from code; every part has the same place."""
    if isinstance(value, dict):
        return Node({str(k): node_of(v, mark) for k, v in value.items()}, mark)
    if isinstance(value, list | tuple):
        return Node([node_of(v, mark) for v in value], mark)
    if value is None or isinstance(value, str | int | float | bool):
        return Node(value, mark)
    raise TypeError(f"{type(value).__name__} has no place in a configuration")


def merge(under: Node, over: Node) -> Node:
    """`over` laid on `under`: mappings key by key, anything else replaced whole."""
    if not (isinstance(under.value, dict) and isinstance(over.value, dict)):
        return over
    out = dict(under.value)
    for key, child in over.value.items():
        out[key] = merge(out[key], child) if key in out else child
    return Node(out, over.mark)


def scalar(text: str) -> Scalar:
    """A plain YAML 1.2 scalar: null, true, false, a number (no leading zeros, at most 18 digits),
    else text."""
    word = text.lower()
    if word in _WORDS:
        return _WORDS[word]
    if _INT.fullmatch(text):
        return int(text)
    if not text.lstrip("+-").startswith("0") and _FLOAT.fullmatch(text):
        return float(text)
    if re.fullmatch(r"[-+]?0\.[0-9]+", text):
        return float(text)
    return text


def parse(data: bytes, file: str, problems: list[ConfigProblem]) -> Node | None:
    """The mapping that `data` holds (an empty file is an empty mapping).

    Faults are added to `problems`; None after one that hides the rest.
    """
    text = _text(data, file, problems)
    if text is None:
        return None
    whole = Mark(file, 1, 1)
    try:
        node = _Reader(text, file, problems).document()
    except _Stop:
        return None
    except yaml.MarkedYAMLError as e:
        at = e.problem_mark or e.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at else whole
        problems.append(ConfigProblem(mark, "", *_syntax(text, mark, e)))
        return None
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        message = "a control character stands in the text"
        problems.append(ConfigProblem(Mark(file, line, 1), "", message, "remove it"))
        return None
    if node is None or node.value is None or isinstance(node.value, dict):
        return node if node and node.value else Node({}, whole)
    message = "the file must be a mapping"
    problems.append(ConfigProblem(node.mark, "", message, "write `key: value` lines"))
    return None


def _text(data: bytes, file: str, problems: list[ConfigProblem]) -> str | None:
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES >> 20} MB"
        remedy = "remove what is unused"
        problems.append(ConfigProblem(Mark(file, 1, 1), "", message, remedy))
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        mark = Mark(file, line, e.start - data.rfind(b"\n", 0, e.start))
        problems.append(ConfigProblem(mark, "", "the text is not UTF-8", "save the file as UTF-8"))
        return None


def _syntax(text: str, mark: Mark, error: yaml.MarkedYAMLError) -> tuple[str, str]:
    lines = text.splitlines()
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    if (
        "\t" in line[: len(line) - len(line.lstrip())]
        or line[mark.column - 1 : mark.column] == "\t"
    ):
        return "a tab stands in the indentation", "indent with spaces"
    message = f"this is not YAML: {error.problem or 'cannot be read'}"
    if error.context:
        message += f" {error.context}"
    return message, "check indentation, quotes and the colon on this line and the one above"


class _Stop(Exception):
    """The rest of the file cannot be read; the problem is already noted."""


class _Reader:
    """Builds the tree from parser events, which never recurse, so that depth is ours to bound."""

    def __init__(self, text: str, file: str, problems: list[ConfigProblem]) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._file = file
        self._problems = problems
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        node: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(
                        event,
                        (),
                        "a second document begins here",
                        "keep one document: remove the `---`",
                    )
                node = self._node(next(self._events), (), None)
        return node

    def _node(self, event: yaml.Event, path: tuple[str | int, ...], mark: Mark | None) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, mark)
        if not isinstance(
            event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent
        ):
            raise TypeError(f"unexpected {type(event).__name__}")
        if event.tag not in (None, "tag:yaml.org,2002:str"):
            self._stop(event, path, "tags are not allowed", "remove the part that starts with `!`")
        if len(path) > MAX_DEPTH:
            self._stop(event, path[:3], f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        mark = mark or self._mark(event)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] and not event.style
            node = Node(scalar(event.value) if plain else event.value, mark)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(path, mark)
        else:
            node = self._mapping(path, mark)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if node.size > MAX_NODES:
            self._stop(event, path, f"stands for more than {MAX_NODES} values", "use fewer aliases")
        return node

    def _alias(
        self, event: yaml.AliasEvent, path: tuple[str | int, ...], mark: Mark | None
    ) -> Node:
        node = self._anchors.get(str(event.anchor))
        if node is None:
            self._stop(
                event,
                path,
                "an alias to nothing, or to what it is part of",
                "define the anchor above it",
            )
            raise AssertionError
        return Node(node.value, mark or self._mark(event), node.size)

    def _sequence(self, path: tuple[str | int, ...], mark: Mark) -> Node:
        items: list[Node] = []
        size = 1
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            child = self._node(event, (*path, len(items)), None)
            size += child.size
            items.append(child)
        return Node(items, mark, size)

    def _mapping(self, path: tuple[str | int, ...], mark: Mark) -> Node:
        out: dict[str, Node] = {}
        size = 1
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                self._stop(event, path, "a key must be a plain word", "quote it or restructure")
                raise AssertionError
            key = event.value
            at = self._mark(event)
            child = self._node(next(self._events), (*path, key), at)
            size += child.size
            if key == "<<" and event.implicit[0]:
                self._note(at, (*path, key), "merge keys are not supported", "write the keys out")
            elif key in out:
                first = out[key].mark
                self._note(
                    at,
                    (*path, key),
                    f"written twice, first on line {first.line}",
                    "keep one of the two",
                )
            else:
                out[key] = child
        return Node(out, mark, size)

    def _mark(self, event: yaml.Event) -> Mark:
        at = event.start_mark
        return Mark(self._file, at.line + 1, at.column + 1) if at else Mark(self._file)

    def _note(self, mark: Mark, path: Sequence[str | int], message: str, remedy: str) -> None:
        self._problems.append(ConfigProblem(mark, dotted(path), message, remedy))

    def _stop(
        self, event: yaml.Event, path: Sequence[str | int], message: str, remedy: str
    ) -> None:
        self._note(self._mark(event), path, message, remedy)
        raise _Stop
