"""likeness: what two readings of one message have in common, whichever channel read it.

Two far ends tell of the same message in their own words, so the comparison is as coarse as it may be: texts by their words, files
by their kind (a picture is compressed anew on its way, its size and hash differ), links by their address. What is alike is joined
one to one and by time, so a coarse likeness may mix up two messages of one minute, but never their number.
"""

from __future__ import annotations

from protocols.envelope import hashed
from protocols.payload import (
    Advance,
    Card,
    CreateGroup,
    DeliveryReport,
    DissolveGroup,
    Happening,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Notice,
    Payload,
    Plan,
    Pull,
    Recall,
    Signal,
    Template,
    Text,
    UpdateGroup,
)


def likeness(payload: Payload) -> str:
    """A short text, equal for two readings of one message; "" for what is no message."""
    match payload:
        case Text(text=text) | Markdown(text=text):
            return f"text:{hashed(_words(text))}"
        case Media(kind=kind):
            return kind
        case Link(url=url):
            return f"link:{hashed(url)}"
        case MiniProgram(title=title):
            return f"miniprogram:{hashed(_words(title))}"
        case Card() | Native():
            return "other"
        case (
            DeliveryReport()
            | Template()  # says nothing until its words are put in
            | Notice()
            | Happening()
            | CreateGroup()
            | UpdateGroup()
            | DissolveGroup()
            | Recall()
            | Pull()
            | Plan()
            | Advance()
            | Signal()
        ):
            return ""


def _words(text: str) -> str:
    """Clients and gateways differ in line ends and in blanks at the ends of lines, not in words."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
