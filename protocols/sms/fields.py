"""The fields that carrier PDUs are made of, and `Layout`: a PDU's fields in wire order, which both
writes and reads it.

Reading raises `BadLength` when octets are missing and `Malformed` for a value outside its range;
writing raises ValueError for what does not fit, nothing is cut silently. Both name the field.
Tolerated faults are named to `note` by a short constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from protocols.errors import Malformed

Note = Callable[[str], None]
_HEX = frozenset("0123456789abcdef")


def ignore(_what: str) -> None:
    """The note taker for callers that do not count."""


class BadLength(Malformed):
    """The octets do not add up: a body too short, or an inner length that points past the end."""


class Field(Protocol):
    """One field: `write(value)` gives its octets, `read` its value and where the next begins."""

    def write(self, value: Any, /) -> bytes: ...

    def read(self, body: bytes, at: int, note: Note, /) -> tuple[Any, int]: ...


def take(body: bytes, at: int, size: int) -> bytes:
    """`size` octets from `at`; BadLength when they are not there."""
    end = at + size
    if end > len(body):
        raise BadLength(f"{size} octets needed at {at}, the body has {len(body)}")
    return body[at:end]


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned integer of `width` octets, most significant first."""

    width: int = 1

    def write(self, value: int) -> bytes:
        try:
            return value.to_bytes(self.width, "big")
        except OverflowError:
            raise ValueError(f"{value} is outside 0..{(1 << 8 * self.width) - 1}") from None

    def read(self, body: bytes, at: int, _note: Note) -> tuple[int, int]:
        return int.from_bytes(take(body, at, self.width), "big"), at + self.width


@dataclass(frozen=True, slots=True)
class Text:
    """Text of up to `width` octets, filled with NUL; a full field has no terminator. Octets and
    characters map one to one (latin-1); what follows the first NUL is not looked at.
    """

    width: int

    def write(self, value: str) -> bytes:
        raw = value.encode("latin-1")
        if len(raw) > self.width:
            raise ValueError(f"{value[:40]!r} has {len(raw)} octets, {self.width} fit")
        return raw.ljust(self.width, b"\0")

    def read(self, body: bytes, at: int, _note: Note) -> tuple[str, int]:
        raw = take(body, at, self.width)
        return raw.partition(b"\0")[0].decode("latin-1"), at + self.width


@dataclass(frozen=True, slots=True)
class Tail(Text):
    """A last text field (Reserve, LinkID) that real packets cut short."""

    def read(self, body: bytes, at: int, note: Note) -> tuple[str, int]:
        if at > len(body):
            raise BadLength(f"{self.width} octets needed at {at}, the body has {len(body)}")
        raw = body[at : at + self.width]
        if len(raw) < self.width:
            note("short_tail")
        return raw.partition(b"\0")[0].decode("latin-1"), at + len(raw)


@dataclass(frozen=True, slots=True)
class Raw:
    """Exactly `width` octets, as they are."""

    width: int

    def write(self, value: bytes) -> bytes:
        if len(value) != self.width:
            raise ValueError(f"{len(value)} octets, exactly {self.width} needed")
        return value

    def read(self, body: bytes, at: int, _note: Note) -> tuple[bytes, int]:
        return take(body, at, self.width), at + self.width


@dataclass(frozen=True, slots=True)
class Hex:
    """Exactly `width` octets, told as lower-case hex digits (two each)."""

    width: int

    def write(self, value: str) -> bytes:
        if len(value) != 2 * self.width or set(value) - _HEX:
            raise ValueError(f"{value[:40]!r} is not {2 * self.width} lower-case hex digits")
        return bytes.fromhex(value)

    def read(self, body: bytes, at: int, _note: Note) -> tuple[str, int]:
        return take(body, at, self.width).hex(), at + self.width


@dataclass(frozen=True, slots=True)
class Content:
    """Octets behind their length, which takes `prefix` octets; at most `most` are written."""

    prefix: int = 1
    most: int = 255

    def write(self, value: bytes) -> bytes:
        if len(value) > self.most:
            raise ValueError(f"{len(value)} octets, at most {self.most} fit")
        return len(value).to_bytes(self.prefix, "big") + value

    def read(self, body: bytes, at: int, _note: Note) -> tuple[bytes, int]:
        start = at + self.prefix
        size = int.from_bytes(take(body, at, self.prefix), "big")
        return take(body, start, size), start + size


@dataclass(frozen=True, slots=True)
class Numbers:
    """A count of one octet and that many telephone numbers of `width` octets; at least one."""

    width: int
    most: int

    def write(self, value: tuple[str, ...]) -> bytes:
        if not 1 <= len(value) <= self.most:
            raise ValueError(f"{len(value)} numbers, 1 to {self.most} are allowed")
        item = Text(self.width)
        return bytes((len(value),)) + b"".join([item.write(number) for number in value])

    def read(self, body: bytes, at: int, note: Note) -> tuple[tuple[str, ...], int]:
        count = take(body, at, 1)[0]
        if not 1 <= count <= self.most:
            raise Malformed(f"count {count} is outside 1..{self.most}")
        start = at + 1
        end = start + count * self.width
        take(body, start, count * self.width)
        item = Text(self.width)
        steps = range(start, end, self.width)
        return tuple([item.read(body, k, note)[0] for k in steps]), end


P = TypeVar("P")


class Layout(Generic[P]):
    """The body of one PDU: `label` as the specification names it, then its fields in wire order.

    A field name starting with `_` is reserved space: written as zeros, not read into the value.
    """

    def __init__(self, kind: type[P], label: str, **fields: Field) -> None:
        self.kind = kind
        self.label = label
        self._fields = tuple(fields.items())

    def write(self, pdu: P) -> bytes:
        """The body; ValueError names the field that does not fit."""
        out = []
        name = ""
        try:
            for name, field in self._fields:
                out.append(field.write("" if name[0] == "_" else getattr(pdu, name)))
        except ValueError as error:
            raise ValueError(f"{self.label}.{name}: {error}") from None
        return b"".join(out)

    def read(self, body: bytes, note: Note = ignore, **given: object) -> P:
        """The value; `given` are constructor arguments that do not stand in the body. Raises
        Malformed; octets after the last field are tolerated (`stray_tail`).
        """
        values: dict[str, Any] = given
        name = ""
        at = 0
        try:
            for name, field in self._fields:
                value, at = field.read(body, at, note)
                if name[0] != "_":
                    values[name] = value
        except Malformed as error:
            raise type(error)(f"{self.label}.{name}: {error}") from None
        if at < len(body):
            note("stray_tail")
        return self.kind(**values)
