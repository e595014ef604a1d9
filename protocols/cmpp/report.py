"""The status report inside a DELIVER: 60 octets in 2.0, 71 in 3.0, and read by its own length
because gateways mix them.

Layout (CMPP 3.0, 7.4.5.2): Msg_Id 8, Stat 7, Submit_time 10, Done_time 10, Dest_terminal_Id 21 or
32, SMSC_sequence 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from protocols.cmpp.pdu import V30, layout
from protocols.errors import Malformed

_HEAD = Struct(">Q7s10s10s")
_V20 = Struct(">Q7s10s10s21sI")
_V30 = Struct(">Q7s10s10s32sI")
_FIXED = 39  # everything but Dest_terminal_Id


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one recipient's message.

    `stat` is opaque text of up to 7 characters (`DELIVRD`, `MK:0001`, ...), kept as sent but for
    trailing NUL and blanks. Times are YYMMDDHHMM as sent; they may be empty or all zero.
    """

    msg_id: int
    stat: str
    submit_time: str
    done_time: str
    recipient: str
    smsc_sequence: int = 0

    def encode(self, version: int) -> bytes:
        """60 octets for 2.0, 71 for 3.0; ValueError when a field does not fit."""
        fields = (self.stat, self.submit_time, self.done_time, self.recipient)
        stat, submitted, done, recipient = (field.encode("latin-1") for field in fields)
        wide = layout(version) == V30
        if len(stat) > 7 or len(submitted) > 10 or len(done) > 10:
            raise ValueError("status report: Stat holds 7 octets, times 10")
        if len(recipient) > (32 if wide else 21):
            raise ValueError("status report: Dest_terminal_Id does not fit")
        form = _V30 if wide else _V20
        return form.pack(self.msg_id, stat, submitted, done, recipient, self.smsc_sequence)


def parse_report(content: bytes) -> Report:
    """Read a report of any width: the destination has what 39 octets of fixed fields leave. Raises
    Malformed below 39.
    """
    size = len(content)
    if size == 60:
        msg_id, stat, submitted, done, recipient, sequence = _V20.unpack(content)
    elif size == 71:
        msg_id, stat, submitted, done, recipient, sequence = _V30.unpack(content)
    elif size >= _FIXED:
        msg_id, stat, submitted, done = _HEAD.unpack_from(content)
        recipient = content[35 : size - 4]
        sequence = int.from_bytes(content[size - 4 :], "big")
    else:
        raise Malformed(f"status report of {size} octets, at least {_FIXED} needed")
    return Report(
        msg_id,
        stat.partition(b"\0")[0].decode("latin-1").rstrip(" "),
        submitted.partition(b"\0")[0].decode("latin-1"),
        done.partition(b"\0")[0].decode("latin-1"),
        recipient.partition(b"\0")[0].decode("latin-1").rstrip(" "),
        sequence,
    )
