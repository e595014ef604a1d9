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
from protocols.sms.form import Filled, Form
from protocols.sms.link import Link
from protocols.sms.results import Codes
from protocols.sms.text import Part
from protocols.sms.udh import Concat

#: What a connection is for. `listen`: the far end made it, to deliver.
Use = Literal["both", "send", "receive", "listen"]
#: When to log in again after a refusal: at once (by other terms), after the usual pause, much later.
Again = Literal["now", "soon", "late"]


ALONE = Part(1, 1, 0, b"")
"""A message of one part, as forms see it."""
MAX_FORMS = 1_000
"""Of one connection: an account has a sender or a few, a text a coding and up to 255 parts."""


class Written(NamedTuple):
    """A long message ready to become PDUs: our digits and how many the recipient has, the text, and its
    parts as octets.
    """

    sender: str
    digits: int
    text: str
    coding: Coding
    parts: Sequence[Part]


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
        self.abroad = "00"
        """What stands before numbers of other countries."""

    @abstractmethod
    def link(self, use: Use, now: float) -> Link:
        """Our end of a new connection."""

    @abstractmethod
    def login(self, link: Link, use: Use, stamp: int, now: float) -> None:
        """Log in; `stamp` is the decimal number MMDDHHMMSS of Chinese time."""

    @abstractmethod
    def submit(self, sender: str, code: int, part: Part) -> object:
        """The PDU of a part, but for recipient and content."""

    def submits(self, link: Link, written: Written) -> list[Filled]:
        """The PDUs of a long message, one for each part, in order, but for the recipient. Raises
        ValueError naming the field that does not fit.
        """
        sender, digits, _, coding, parts = written
        return [
            self.form(link, sender, digits, coding.code, part).fill(part.content) for part in parts
        ]

    def form(self, link: Link, sender: str, digits: int, code: int, part: Part) -> Form:
        """What parts like this one have in common on a connection, whatever they say to whom."""
        forms = link.forms
        key = sender, digits, code, part.number, part.total, part.udhi
        found = forms.get(key)
        if found is None:
            if len(forms) >= MAX_FORMS:
                forms.clear()
            found = forms[key] = link.form(self.submit(sender, code, part), digits)
        return found

    @abstractmethod
    def answer(self, sequence: int, pdu: object) -> str | int | None:
        """What a response to a submit says: the far end's id of what it took, or the code of its
        refusal; None = it is no such response.
        """

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
