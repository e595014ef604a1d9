"""What is kept of a message's content, by category: all of it, with codes masked, or only length
and hash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any, assert_never

from msgcenter.store import ContentMode
from protocols.envelope import Envelope
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
    Plan,
    Pull,
    Recall,
    Signal,
    Template,
    Text,
    UpdateGroup,
)

#: Codes: four or more digits (of any script, also in groups parted by one blank or dash), and mixed
#: runs of four or more ASCII letters and digits with at least one digit.
_CODE = re.compile(r"\d(?:[ \-]?\d){3,}[A-Za-z0-9]*|(?<![A-Za-z0-9])(?=[A-Za-z]*\d)[A-Za-z0-9]{4,}")


def mask(text: str) -> str:
    """The text with every code replaced by as many asterisks."""
    return _CODE.sub(lambda match: "*" * len(match[0]), text)


def content_of(envelope: Envelope, mode: ContentMode) -> dict[str, Any]:
    """The content as a JSON object `{"type": …}`. `masked` holds `"masked": true`; `none` holds `length`
    (characters) and `sha256`.

    The hash proves what was sent to somebody who has the text; being unkeyed it does not hide a
    text that can be guessed, such as a six-digit code in a known sentence: store codes `masked`.
    """
    payload = envelope.payload
    match payload:
        case Text(text=text):
            return _text_of("text", text, mode)
        case Markdown(text=text):
            return _text_of("markdown", text, mode)
        case DeliveryReport(state=state, code=code):
            return {"type": "report", "state": state, "code": code}
        case Notice(event_id=event_id, type=event_type):
            return {"type": "notice", "event": event_id, "event_type": event_type}
        case Native(kind=kind, body=body):
            return {"type": "native", "kind": kind, **_body_of(body, mode)}
        case Template(variables=variables):
            said = _body_of(variables, mode)
            if "body" in said:
                said = {"variables": said["body"]}
            return {"type": "template", "template": payload.reference, **said}
        case Happening(kind=kind, body=body):
            return {"type": "event", "kind": kind, **_body_of(body, mode)}
        case Media() | Link() | MiniProgram() | Card():
            return _fields_of(payload, mode)
        case Plan(leaves=leaves):
            return {"type": "plan", "channels": [leaf.kind for leaf in leaves]}
        case Signal(word=word, names=names):
            return {"type": "signal", "word": word, "names": list(names)}
        case Advance():
            return {"type": "advance", **asdict(payload)}
        case CreateGroup() | UpdateGroup() | DissolveGroup() | Recall() | Pull():
            return {"type": TYPES[type(payload)], **asdict(payload)}
        case _:
            assert_never(payload)


#: Payload -> its `type` in JSON, the same in requests, answers, events and files.
TYPES: dict[type, str] = {
    Text: "text",
    Markdown: "markdown",
    Media: "media",
    Link: "link",
    MiniProgram: "miniprogram",
    Card: "card",
    Native: "native",
    Template: "template",
    Happening: "event",
    CreateGroup: "create_group",
    UpdateGroup: "update_group",
    DissolveGroup: "dissolve_group",
    Recall: "recall",
    Pull: "pull",
}


def _fields_of(payload: Media | Link | MiniProgram | Card, mode: ContentMode) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(payload).items() if value}
    if mode == "none":
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        return _text_of(TYPES[type(payload)], text, mode)
    if mode == "masked":
        texts = ("title", "description", "url", "page")
        fields = {name: mask(str(v)) if name in texts else v for name, v in fields.items()}
        fields["masked"] = True
    return {"type": TYPES[type(payload)], **fields}


def _body_of(body: str, mode: ContentMode) -> dict[str, Any]:
    if mode == "full":
        return {"body": json.loads(body)}
    return {name: value for name, value in _text_of("", body, mode).items() if name != "type"}


def _text_of(kind: str, text: str, mode: ContentMode) -> dict[str, Any]:
    if mode == "full":
        return {"type": kind, "text": text}
    if mode == "masked":
        return {"type": kind, "text": mask(text), "masked": True}
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {"type": kind, "length": len(text), "sha256": digest}
