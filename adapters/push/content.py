"""What a push says: title, body, address to open and data from a payload, and how long it is worth showing, in the engine's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.push.settings import Class
from msgcenter.adapter import Malformed
from protocols.envelope import Envelope
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.payload import Card, Link, Native, Payload, Text
from protocols.push.profile import Profile

_CHINA = timedelta(hours=8)


def facts_of(
    profile: Profile, envelope: Envelope, content: Mapping[str, Any], kind: Class, now: int
) -> dict[str, Any]:
    """The facts of a send that follow from the message; `content` as `content_of` made it."""
    seconds: int | None = None
    if envelope.expires_at:
        left = max(1, (envelope.expires_at - now) // 1000)
        seconds = min(left, profile.ttl_most_s)
    until = datetime.fromtimestamp(now / 1000 + (seconds or 0), UTC) + _CHINA
    return {
        **content,
        "class": profile.classes.get(kind),
        "priority": profile.priorities.get("high" if envelope.tier <= 1 else "normal"),
        "click": profile.clicks[0 if content["url"] else 1],
        "ttl_s": seconds,
        "ttl_ms": seconds * 1000 if seconds else None,
        "ttl_text": f"{seconds}s" if seconds else None,
        "expires": until.strftime("%Y-%m-%d %H:%M:%S") if seconds else None,
    }


def content_of(payload: Payload, title: str) -> dict[str, Any]:
    """Title, body, url (None = none), data. Raises Malformed."""
    match payload:
        case Text(text=text):
            return _said(title, text)
        case (
            Link(title=own, url=url, description=description)
            | Card(title=own, url=url, description=description)
        ):
            return _said(own, description or own, url)
        case Native(kind="push", body=body):
            fields = parse(body.encode())
            unknown = sorted(fields.keys() - {"title", "body", "url", "data"})
            data = fields.get("data")
            if unknown or not (data is None or isinstance(data, dict)):
                raise Malformed(
                    f"push: title, body, url and data (an object), not {unknown or 'data'}"
                )
            return _said(
                as_text(fields.get("title")) or title,
                as_text(fields.get("body")),
                as_text(fields.get("url")),
                data,
            )
        case _:
            raise Malformed("push carries text, link, card and native push")


def _said(title: str, body: str, url: str = "", data: Any = None) -> dict[str, Any]:
    if not body.strip():
        raise Malformed("push: the body is empty")
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")) if data else None
    return {"title": title, "body": body, "url": url or None, "data": data, "data_text": text}
