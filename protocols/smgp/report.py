"""The status report inside a Deliver: 122 octets of keys and values, in which the MsgID is ten raw
octets; read in every variant that is known.

Layout (SMGP 3.0, 6.2.48): `id:` 10, `sub:` 3, `dlvrd:` 3, `Submit date:` 10, `done date:` 10,
`stat:` 7, `err:` 3, `Text:` 20 (three digits of length, then 17 of content).
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import Malformed
from protocols.payload import ReportState
from protocols.sms import receipts
from protocols.sms.results import state_of


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one recipient's message. `stat` and `err` as sent, times YYMMDDhhmm or empty.

    Several gateways write `err` where the text says 000 to 999 and mean their own code.
    """

    msg_id: str
    stat: str
    err: str = ""
    submit_time: str = ""
    done_time: str = ""
    text: str = ""

    @property
    def state(self) -> ReportState | None:
        """None: not final, to be ignored."""
        return state_of(self.stat)

    def encode(self) -> bytes:
        """122 octets; ValueError when a field does not fit."""
        raw = bytes.fromhex(self.msg_id)
        if len(raw) != 10 or len(self.stat) > 7 or len(self.err) > 3:
            raise ValueError("status report: id holds 20 hex digits, stat 7 characters, err 3")
        if len(self.submit_time) > 10 or len(self.done_time) > 10 or len(self.text) > 20:
            raise ValueError("status report: times hold 10 digits, Text 20 characters")
        delivered = "001" if self.stat == "DELIVRD" else "000"
        rest = (
            f" sub:001 dlvrd:{delivered} Submit date:{self.submit_time:<10} "
            f"done date:{self.done_time:<10} stat:{self.stat:<7} err:{self.err or '000':<3} "
            f"Text:{self.text:<20}"
        )
        return b"id:" + raw + rest.encode("latin-1")


def parse_report(content: bytes) -> Report:
    """Read a report of any variant. Raises Malformed when it has no id, or fewer than ten octets
    of it.
    """
    at = content[:16].lower().find(b"id:")
    raw = content[at + 3 : at + 13]
    if at < 0 or len(raw) < 10:
        raise Malformed(f"status report of {len(content)} octets without id: and ten octets of it")
    found = receipts.parse(content[at + 13 :].decode("latin-1"))
    return Report(
        raw.hex(),
        found.get("stat", "")[:7],
        found.get("err", ""),
        receipts.stamp(found.get("submit", "")),
        receipts.stamp(found.get("done", "")),
        found.get("text", "").rstrip(),
    )
