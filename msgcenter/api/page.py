"""Pages for customers: plain HTML in Chinese and English, no script, nothing from elsewhere, not kept and not indexed by anybody."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import hdrs, web

from msgcenter.api.web import Call

STYLE = (
    "body{font-family:system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem;line-height:1.6}"
    "fieldset{border:1px solid #ccc;border-radius:6px;margin:1rem 0}label{display:block;padding:.25rem 0}"
    "button{font-size:1rem;padding:.5rem 1.5rem}.done{background:#e6f4ea;padding:.5rem 1rem;border-radius:6px}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    hdrs.CACHE_CONTROL: "no-store",
}

#: What is said instead of a page: (title, text), Chinese and English.
SAID: dict[str, dict[str, tuple[str, str]]] = {
    "link_unknown": {
        "zh": ("链接无效", "此链接不存在或已不可用，请核对短信中的地址。"),
        "en": ("Unknown link", "There is no such link. Please check the address in your message."),
    },
    "link_over": {
        "zh": ("链接已过期", "此链接已过期，请向发送方索取新的链接。"),
        "en": ("This link has ended", "Please ask the sender for a new one."),
    },
}


def language(call: Call) -> str:
    """`lang` of the address, else the browser's, Chinese when it says nothing."""
    asked = call.request.query.get("lang", "")
    if asked in ("zh", "en"):
        return asked
    return call.language if hdrs.ACCEPT_LANGUAGE in call.request.headers else "zh"


def html(language: str, title: str, body: str, status: int = 200) -> web.Response:
    """A whole page; `body` is HTML, everything in it escaped already."""
    text = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return web.Response(
        status=status, text=text, content_type="text/html", charset="utf-8", headers=HEADERS
    )


def page(call: Call, status: int, what: str) -> web.Response:
    """One of `SAID`."""
    spoken = language(call)
    title, text = SAID[what][spoken]
    return html(spoken, title, f"<p>{escape(text)}</p>", status)
