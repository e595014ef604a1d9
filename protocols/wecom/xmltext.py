"""XML as WeCom writes it, read under limits into plain dictionaries and written back.

Limits: 256 KiB before anything is parsed, UTF-8 only, no DTD and so no entities, depth 8, a known root. An element without
children is its text, any other a dictionary; what is repeated is a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from protocols.errors import Malformed

MAX_BYTES = 256 * 1024
MAX_DEPTH = 8

Value: TypeAlias = str | dict[str, "Value"] | list["Value"]
Tree: TypeAlias = dict[str, Value]
#: What may be written: a whole number is written bare, text as CDATA, a list as one element each.
Writable: TypeAlias = str | int | Mapping[str, "Writable"] | Sequence["Writable"]

#: Not allowed in XML 1.0, but people paste them; one of them must not cost the whole message.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class _Builder:
    """Collects elements into dictionaries and stops at the first one that is too deep."""

    def __init__(self) -> None:
        self.root = ""
        self.tree: Value = ""
        self._open: list[tuple[str, Tree, list[str]]] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        del attributes  # WeCom uses none
        if len(self._open) >= MAX_DEPTH:
            raise Malformed(f"XML: nested deeper than {MAX_DEPTH}")
        self._open.append((tag, {}, []))

    def data(self, text: str) -> None:
        self._open[-1][2].append(text)

    def end(self, tag: str) -> None:
        _, children, texts = self._open.pop()
        value: Value = children or "".join(texts)
        if not self._open:
            self.root, self.tree = tag, value
            return
        into = self._open[-1][1]
        present = into.get(tag)
        if present is None:
            into[tag] = value
        elif isinstance(present, list):
            present.append(value)
        else:
            into[tag] = [present, value]

    def close(self) -> None:
        """The parser calls this at the end; the result is in `root` and `tree`."""


def parse(body: bytes, root: str = "xml") -> Tree:
    """Read a document whose root element is `root`. Raises Malformed, which never repeats the content."""
    if len(body) > MAX_BYTES:
        raise Malformed(f"XML: {len(body)} octets, at most {MAX_BYTES}")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("XML: not UTF-8") from None
    builder = _Builder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    try:
        parser.feed(_CONTROLS.sub("", text).strip())
        parser.close()
    except DefusedXmlException:
        raise Malformed("XML: a DTD or entity") from None
    except ParseError as error:
        raise Malformed(f"XML: not well-formed (code {error.code})") from None
    if builder.root != root:
        raise Malformed(f"XML: root element other than {root}")
    if not isinstance(builder.tree, dict):
        raise Malformed(f"XML: {root} holds no fields")
    return builder.tree


def write(fields: Mapping[str, Writable], root: str = "xml") -> bytes:
    """A document, fields in the given order, without declaration or white space. Raises Malformed for a bad element name."""
    return _element(root, fields).encode()


def _element(tag: str, value: Writable) -> str:
    if not _NAME.fullmatch(tag):
        raise Malformed(f"XML: {tag[:40]!r} is no element name")
    if isinstance(value, str):
        return f"<{tag}>{cdata(value)}</{tag}>"
    if isinstance(value, int):
        return f"<{tag}>{int(value)}</{tag}>"
    if isinstance(value, Mapping):
        inner = "".join(_element(name, each) for name, each in value.items())
        return f"<{tag}>{inner}</{tag}>"
    return "".join(_element(tag, each) for each in value)


def cdata(text: str) -> str:
    """A CDATA section; its own end mark inside the text is split over two, what XML cannot hold is left out."""
    return "<![CDATA[" + _CONTROLS.sub("", text).replace("]]>", "]]]]><![CDATA[>") + "]]>"
