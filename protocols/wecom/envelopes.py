"""What a callback travels in: the XML or JSON around `encrypt`, both ways (docs 90930, 90968).

WeCom pushes `Push`; an answer that says something is a `Sealed` text. Which of the two forms is used is seen from the first
character. Size is limited to 256 KiB before anything is parsed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from protocols.errors import Malformed
from protocols.jsontext import parse as parse_json
from protocols.wecom import xmltext
from protocols.wecom.crypto import Crypt, Refused, Sealed

Form: TypeAlias = Literal["xml", "json"]


@dataclass(frozen=True, slots=True)
class Push:
    """A pushed callback as it came. `agent_id` is "" for customer and kf events; `to_user`: the corp id (or suite id)."""

    encrypt: str
    to_user: str = ""
    agent_id: str = ""
    form: Form = "xml"


def form_of(body: bytes) -> Form:
    """Whether a body is JSON or XML, by its first character."""
    return "json" if body[:16].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "xml"


def read_push(body: bytes) -> Push:
    """The envelope WeCom pushes. Raises Refused (check `envelope`) for anything that is none."""
    form = form_of(body)
    fields = _fields(body, form)
    names = ("Encrypt", "ToUserName", "AgentID")
    encrypt, to_user, agent_id = (
        _text(fields, name if form == "xml" else name.lower()) for name in names
    )
    # The documentation's JSON example says tousername; samples elsewhere shorten it to touser.
    if form == "json" and not to_user:
        to_user = _text(fields, "touser")
    if not encrypt:
        raise Refused("envelope")
    return Push(encrypt, to_user, agent_id, form)


def write_push(push: Push) -> bytes:
    """The same envelope as bytes: what a far end sends."""
    if push.form == "json":
        fields = {
            "agentid": push.agent_id,
            "encrypt": push.encrypt,
            "tousername": push.to_user,
        }
        return json.dumps(fields, separators=(",", ":")).encode()
    return xmltext.write(
        {"ToUserName": push.to_user, "AgentID": push.agent_id, "Encrypt": push.encrypt}
    )


def open_push(
    crypt: Crypt, body: bytes, msg_signature: str, timestamp: str, nonce: str
) -> tuple[Push, bytes]:
    """Read an envelope and decrypt what is inside: (envelope, message). Raises Refused."""
    push = read_push(body)
    return push, crypt.decrypt(msg_signature, timestamp, nonce, push.encrypt)


def write_reply(sealed: Sealed, form: Form = "xml") -> bytes:
    """The answer that carries a passive reply, in the form the callback came in."""
    if form == "json":
        fields: dict[str, Any] = {
            "encrypt": sealed.encrypt,
            "msgsignature": sealed.signature,
            "nonce": sealed.nonce,
            "timestamp": int(sealed.timestamp) if sealed.timestamp.isdigit() else sealed.timestamp,
        }
        return json.dumps(fields, separators=(",", ":")).encode()
    return xmltext.write(
        {
            "Encrypt": sealed.encrypt,
            "MsgSignature": sealed.signature,
            "TimeStamp": sealed.timestamp,
            "Nonce": sealed.nonce,
        }
    )


def read_reply(body: bytes) -> Sealed:
    """The sealed text in an answer: what a far end reads. Raises Refused (check `envelope`)."""
    form = form_of(body)
    fields = _fields(body, form)
    names = ("Encrypt", "MsgSignature", "TimeStamp", "Nonce")
    encrypt, signature, timestamp, nonce = (
        _text(fields, name if form == "xml" else name.lower()) for name in names
    )
    if not encrypt:
        raise Refused("envelope")
    return Sealed(encrypt, signature, timestamp, nonce)


def _fields(body: bytes, form: Form) -> dict[str, Any]:
    try:
        if form == "json":
            return parse_json(body, xmltext.MAX_BYTES)
        return xmltext.parse(body)
    except Malformed:
        raise Refused("envelope") from None


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if isinstance(value, int):
        return str(value)
    return value.strip() if isinstance(value, str) else ""
