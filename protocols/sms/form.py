"""SUBMITs that differ in sequence, recipient and content alone: all else is packed once, by the
protocol's own encoder, and cut where these three stand.

A SUBMIT has some twenty fields and a message decides few of them; writing the others anew for every
part was the largest single cost of the way out. The layout stays known in one place: a model is
encoded with two recipients and with two contents, and where the octets part is where to cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """What a protocol says of its SUBMIT: the fields' names in its PDU, and where numbers stand."""

    recipient: str
    """The field of the number, or of the tuple of numbers."""
    content: str
    width: int
    """Octets of the length that stands before the content."""
    most: int
    """The longest content."""
    sequence: slice
    """Where the sequence stands in the header."""


class Filled(NamedTuple):
    """The octets of one SUBMIT: `head`, sequence, `middle`, recipient, `tail`."""

    head: bytes
    middle: bytes
    tail: bytes
    digits: int
    """How long the recipient must be."""


class Form:
    """What all SUBMITs like `model` have in common, to numbers of `digits` octets. Its recipient and
    content do not matter. Raises ValueError as `encode` does.
    """

    def __init__(
        self, shape: Shape, model: Any, digits: int, encode: Callable[[Any, int], bytes]
    ) -> None:
        if digits < 1:
            raise ValueError("a recipient has at least one digit")
        many = isinstance(getattr(model, shape.recipient), tuple)

        def written(digit: str, octet: bytes) -> bytes:
            number: Any = (digit * digits,) if many else digit * digits
            return encode(replace(model, **{shape.recipient: number, shape.content: octet}), 0)

        octets = written("0", b"\0")
        start = _parting(octets, written("1", b"\0"))
        after = _parting(octets, written("0", b"\1"))
        stop, length = start + digits, after - shape.width
        self._shape = shape
        self._label = type(model).__name__
        self._digits = digits
        self._size = len(octets) - 1
        self._head = octets[4 : shape.sequence.start]
        self._middle = octets[shape.sequence.stop : start]
        self._between = octets[stop:length]
        self._end = octets[after + 1 :]

    def fill(self, content: bytes, more: bytes = b"") -> Filled:
        """With this content; `more`: optional parameters behind all fields. Raises ValueError when
        the content does not fit.
        """
        _, name, width, most, _ = self._shape
        size = len(content)
        if size > most:
            raise ValueError(f"{self._label}.{name}: {size} octets, at most {most} fit")
        return Filled(
            (self._size + size + len(more)).to_bytes(4, "big") + self._head,
            self._middle,
            b"".join((self._between, size.to_bytes(width, "big"), content, self._end, more)),
            self._digits,
        )


def _parting(one: bytes, other: bytes) -> int:
    """Where two PDUs of the same length begin to differ."""
    return next(at for at, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])
