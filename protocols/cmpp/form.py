"""SUBMITs of one account, of which most octets are the same: these are packed once, the rest into one
compiled struct for each message.

A SUBMIT has 21 fields and a message decides eight of them. Writing the others anew for every part was
the largest single cost of the way out. The constant stretches are cut from what `encode` makes of a
`Submit`, so that the layout is known in one place.
"""

from __future__ import annotations

from dataclasses import replace
from struct import Struct
from typing import NamedTuple

from protocols.cmpp import layouts as ly
from protocols.cmpp import pdu as p
from protocols.cmpp.encode import encode

_REGISTERED = 22  # where Registered_Delivery is: after header, Msg_Id, Pk_total, Pk_number


class Layout(NamedTuple):
    """One version's: what is constant, and the struct around it. `size`: of all but the content."""

    struct: Struct
    before: bytes
    after: bytes
    tail: bytes
    terminal: int
    size: int


class Filled(NamedTuple):
    """One SUBMIT to one recipient: what differs, and the form that has the rest."""

    form: Form
    recipient: str
    content: bytes
    src_id: str
    msg_fmt: int
    udhi: int
    pk_total: int
    pk_number: int


class Form:
    """What all SUBMITs of an account have in common, taken from `model` (its recipients, content,
    Src_Id, Msg_Fmt, TP_udhi and Pk numbers aside). Raises ValueError as `encode` does.
    """

    def __init__(self, model: p.Submit) -> None:
        model = replace(model, recipients=("",), content=b"", src_id="")
        self._layouts = tuple(
            [_cut(encode(model, version, 0), version) for version in (p.V20, p.V30)]
        )

    def write(self, one: Filled, wide: bool, sequence: int) -> bytes:
        """The PDU with its header. Raises ValueError naming the field that does not fit."""
        _, recipient, content, src_id, msg_fmt, udhi, total, number = one
        struct, before, after, tail, terminal, size = self._layouts[wide]
        length = len(content)
        if len(recipient) > terminal:
            raise ValueError(f"Submit: every recipient holds at most {terminal} octets")
        if len(src_id) > 21 or length > 255:
            name, width = ("content", 255) if length > 255 else ("src_id", 21)
            raise ValueError(f"Submit.{name} holds at most {width} octets")
        head = struct.pack(
            size + length, p.SUBMIT, sequence, total, number, before, udhi, msg_fmt, after,
            src_id.encode("latin-1"), 1, recipient.encode("latin-1"), length,
        )  # fmt: skip
        return b"".join((head, content, tail))


def _cut(model: bytes, version: int) -> Layout:
    """The constant stretches of a SUBMIT with one recipient and no content."""
    wide = version == p.V30
    terminal = 32 if wide else 21
    udhi = (
        12 + 23 + terminal + 1 + wide
    )  # header, up to Fee_UserType, Fee_terminal_Id (type), TP_pId
    src_id = udhi + 2 + 6 + 2 + 6 + 17 + 17  # TP_udhi, Msg_Fmt, Msg_src, FeeType, FeeCode, times
    before, after = model[_REGISTERED:udhi], model[udhi + 2 : src_id]
    tail = model[-(ly.TAIL_30 if wide else ly.TAIL_20) :]
    kind = "x" if wide else ""  # Dest_terminal_type
    struct = Struct(f">III8xBB{len(before)}sBB{len(after)}s21sB{terminal}s{kind}B")
    return Layout(struct, before, after, tail, terminal, struct.size + len(tail))
