"""What is kept of a message's content, by category: all of it, with codes masked, or only length
and hash."""

from __future__ import annotations

import hashlib
import re
from typing import Any, assert_never

from msgcenter.store import ContentMode
from protocols.envelope import Envelope
from protocols.payload import DeliveryReport, Notice, Text

#: Codes: four or more digits (of any script, also in groups parted by one blank or dash), and mixed
#: runs of four or more ASCII letters and digits with at least one digit.
_CODE = re.compile(r"\d(?:[ \-]?\d){3,}[A-Za-z0-9]*|(?<![A-Za-z0-9])(?=[A-Za-z]*\d)[A-Za-z0-9]{4,}")


def mask(text: str) -> str:
    """The text with every code replaced by as many asterisks."""
    return _CODE.sub(lambda match: "*" * len(match[0]), text)


def content_of(envelope: Envelope, mode: ContentMode) -> dict[str, Any]:
    """The content as a JSON object. `masked` holds `"masked": true`; `none` holds `length`
    (characters) and `sha256`.

    The hash proves what was sent to somebody who has the text; being unkeyed it does not hide a
    text that can be guessed, such as a six-digit code in a known sentence: store codes `masked`.
    """
    payload = envelope.payload
    match payload:
        case Text(text=text):
            return _text_of(text, mode)
        case DeliveryReport(state=state, code=code):
            return {"type": "report", "state": state, "code": code}
        case Notice(event_id=event_id, type=event_type):
            return {"type": "notice", "event": event_id, "event_type": event_type}
        case _:
            assert_never(payload)


def _text_of(text: str, mode: ContentMode) -> dict[str, Any]:
    if mode == "full":
        return {"type": "text", "text": text}
    if mode == "masked":
        return {"type": "text", "text": mask(text), "masked": True}
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {"type": "text", "length": len(text), "sha256": digest}
