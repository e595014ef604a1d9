"""What the SMS channel needs of a carrier protocol; window, pace, receipts, parts and routing are
the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from adapters.sms.settings import Endpoint
from protocols.payload import ReportState
from protocols.sms import coding
from protocols.sms.coding import Coding
from protocols.sms.link import Link
from protocols.sms.results import Codes
from protocols.sms.text import Part
from protocols.sms.udh import Concat

#: What a connection is for. `listen`: the far end made it, to deliver.
Use = Literal["both", "send", "receive", "listen"]
#: When to log in again after a refusal: at once (by other terms), after the usual pause, much later.
Again = Literal["now", "soon", "late"]


class Written(NamedTuple):
    """A message ready to become PDUs: digits of both ends, the text, and its parts as octets."""

    to: str
    sender: str
    text: str
    coding: Coding
    parts: Sequence[Part]


class Answer(NamedTuple):
    """What the far end says of one part: 0 and its id, or the code of a refusal."""

    code: int
    remote_id: str = ""


class Told(NamedTuple):
    """A status report. `state` None = not final. `at`: YYMMDDhhmm or empty."""

    remote_id: str
    state: ReportState | None
    code: str
    at: str
    recipient: str


class Said(NamedTuple):
    """One part of what a phone wrote to `number`; `data` is without header. `remote_id` is empty
    where the protocol has none.
    """

    source: str
    number: str
    concat: Concat | None
    data: bytes
    code: int
    remote_id: str


class Dialect(ABC):
    """One protocol as the client speaks it, by the terms of one supplier."""

    codes: ClassVar[Codes]
    country_prefix: ClassVar[bool] = False
    """Whether the protocol wants Chinese numbers with 86."""

    def __init__(self, terms: Endpoint) -> None:
        self.terms = terms
        self.codings: tuple[Coding, ...] = coding.CODINGS[terms.protocol]
        self.uses: tuple[Use, ...] = ("both",)
        """The connections that one of `connections` consists of."""
        self.wide = False
        """Whether parts carry a 16-bit reference."""

    @abstractmethod
    def link(self, use: Use, now: float) -> Link:
        """Our end of a new connection."""

    @abstractmethod
    def login(self, link: Link, use: Use, stamp: int, now: float) -> None:
        """Log in; `stamp` is the decimal number MMDDHHMMSS of Chinese time."""

    @abstractmethod
    def submits(self, written: Written) -> list[object]:
        """The PDUs of a message, one for each part, in order."""

    @abstractmethod
    def answer(self, sequence: int, pdu: object) -> Answer | None:
        """What a response to a submit says; None = it is no such response."""

    @abstractmethod
    def heard(self, sequence: int, pdu: object) -> Told | Said | None:
        """What a request of the far end tells; None = nothing to hand on. Raises Malformed."""

    @abstractmethod
    def confirm(self, pdu: object, taken: bool) -> object:
        """The answer to it; not `taken` = come again."""

    @abstractmethod
    def again(self, status: int) -> Again:
        """When to try again after a refused login."""

    def read(self, data: bytes, code: int) -> str | None:
        """Text of user data; None for what is not text."""
        return coding.read(data, code, (*coding.CMPP, *coding.SMGP))

    def terms_of_link(self) -> dict[str, float | int]:
        """What every protocol's link options take of the settings."""
        terms = self.terms
        return {
            "window": terms.window,
            "response_timeout": terms.response_timeout_s,
            "idle": terms.active_test_s,
            "test_timeout": terms.active_test_timeout_s,
            "tests": terms.active_tests,
            "login_timeout": terms.connect_timeout_s,
        }


class Called(Dialect):
    """A protocol in which the far end connects to us to deliver."""

    @abstractmethod
    def knows(self, login: object) -> bool:
        """Whether a login at our listener is this supplier's."""

    @abstractmethod
    def admit(self, link: Link, sequence: int, login: object) -> bool:
        """Answer the login of a far end that connected to us; whether it may deliver."""
