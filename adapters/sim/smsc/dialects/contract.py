"""What the simulated SMSC needs of a carrier protocol; everything else about it is the same for all
of them.

Message ids are numbers inside the simulator; `shown` is how people and journals see them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from protocols.sms.link import Link
from protocols.sms.text import Part
from protocols.sms.udh import Concat


class Results(NamedTuple):
    """The protocol's codes for what every gateway refuses."""

    flow: int
    too_long: int
    source: int
    number: int
    crowded: int  #: too many connections, at login


class Taken(NamedTuple):
    """A submit as any protocol means it. `own_source`: it names the account it came from."""

    recipients: tuple[str, ...]
    sender: str
    code: int
    content: bytes  #: header included
    too_long: bool
    report: Literal["always", "failure", "never"]
    own_source: bool = True


class Dialect(Protocol):
    """One protocol as the gateway's side of it."""

    title: str
    results: Results
    id_wrap: int  #: message numbers count up to it, then from 0 again

    def link(self, now: float) -> Link:
        """The server end of a new connection."""
        ...

    def caller(self, now: float) -> Link | None:
        """The client end of a connection to the SP, where the gateway makes one to deliver."""
        ...

    def call(self, link: Link, now: float) -> None:
        """Log in with what `caller` made."""
        ...

    def delivers(self, link: Link) -> bool:
        """Whether the gateway may deliver on this connection."""
        ...

    def login_status(self, login: object) -> int:
        """What an honest gateway answers to a login, apart from the count of connections."""
        ...

    def accept(self, link: Link, sequence: int) -> None: ...

    def refuse(self, link: Link, sequence: int, status: int) -> None: ...

    def taken(self, pdu: object) -> Taken | None:
        """What a request submits; None when it is something else."""
        ...

    def number_ok(self, number: str) -> bool: ...

    def part(self, pdu: object) -> tuple[Concat | None, bytes]:
        """Which part a submit is, and its user data. Raises Malformed."""
        ...

    def read(self, data: bytes, code: int) -> str | None:
        """User data as the handset shows it; None for what is not text."""
        ...

    def base(self, at: datetime) -> int:
        """What the ids of this second have in common."""
        ...

    def ids(self, base: int, first: int, count: int, sequence: int) -> list[int]:
        """The id for each recipient of a submit: `first` numbers it within its second."""
        ...

    def delivery_id(self, base: int, number: int) -> int:
        """The id of something the gateway delivers; it never meets that of a submit."""
        ...

    def shown(self, msg_id: int) -> str: ...

    def answer(self, pdu: object, msg_id: int, result: int) -> object:
        """The answer to a submit; `msg_id` is that of its first recipient."""
        ...

    def report(
        self,
        link: Link,
        taken: Taken,
        recipient: str,
        msg_id: int,
        *,
        stat: str,
        minute: str,
        deliver_id: int,
    ) -> object:
        """The status report of one recipient; `link` brought its submit."""
        ...

    def split(self, text: str, reference: int, wide: bool) -> tuple[int, list[Part]]:
        """How a handset sends a text: the number of its coding, and its parts."""
        ...

    def mo(self, msg_id: int, sender: str, destination: str, code: int, part: Part) -> object:
        """One part of what a phone writes. Raises ValueError for a number that does not fit."""
        ...

    def verdict(self, answer: object) -> int | None:
        """The code of an answer to a delivery, 0 = taken; None when it is no such answer."""
        ...

    def other(self, pdu: object, totals: dict[str, int]) -> object | None:
        """The answer to any other request (statistics, cancelling); `totals` in the order of a
        QUERY_RESP.
        """
        ...
