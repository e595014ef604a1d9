"""The text and attachments of mass and welcome messages (docs 92135, 92137)."""

from __future__ import annotations

from typing import Any

from adapters.sim.wecom.calls import Fields
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.refusals import Refused

TEXT = 4000
MOST = 9


def read_mass(fields: Fields, media: Media) -> tuple[str, list[dict[str, Any]]]:
    """(text, attachments as the customer gets them). Raises Refused: 41088 for nothing at all, 41064, 41065, 40007, 40058."""
    text = ""
    if "text" in fields:
        text = fields.object("text").string("content", most=TEXT, need=False)
    attachments = fields.objects("attachments", 0, MOST, 41064)
    if not text and not attachments:
        raise Refused(41088)
    return text, [_attachment(one, media) for one in attachments]


def _attachment(fields: Fields, media: Media) -> dict[str, Any]:
    msgtype = fields.string("msgtype", empty=41065)
    if msgtype not in {"image", "link", "miniprogram", "video", "file"}:
        raise Refused(41065)
    body = fields.object(msgtype, 41088)
    match msgtype:
        case "image":
            if "pic_url" in body:
                body.string("pic_url", most=2048)
            else:
                media.get(body.string("media_id", empty=40007), ("image",))
        case "link":
            body.string("title", most=128)
            body.string("picurl", most=2048, need=False)
            body.string("desc", most=512, need=False)
            body.string("url", most=2048)
        case "miniprogram":
            body.string("title", most=64)
            media.get(body.string("pic_media_id", empty=40007), ("image",))
            body.string("appid")
            body.string("page")
        case _:
            media.get(body.string("media_id", empty=40007), (msgtype,))
    return {"msgtype": msgtype, msgtype: body.values}
