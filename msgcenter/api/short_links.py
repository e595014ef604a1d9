"""Short links: `{name}` in a text becomes `/s/…`, which leads to an allowed address, is counted, ends, and tells open plans of a
click.

A link is kept before its message is published, so that nobody can click one that is not there. It is signed: a guessed one costs no
look into the Store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

from aiohttp import hdrs, web
from pydantic import Field

from msgcenter.api.accept import Refused
from msgcenter.api.content import AnyContent, TextContent
from msgcenter.api.history import MESSAGE_PROBLEMS, owned
from msgcenter.api.models import MessageRequest, PlanNode
from msgcenter.api.page import page
from msgcenter.api.planning import SHAPES, contents_of
from msgcenter.api.problems import Fault
from msgcenter.api.views import View
from msgcenter.api.web import Call, Route, shown, when
from msgcenter.bus import BusError
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.outlet import Parcel
from msgcenter.plans import CATEGORY, TIER, message_name
from msgcenter.policy.content import host_of
from msgcenter.store import ShortLinkRow
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Signal

N = TypeVar("N", bound=PlanNode)

CLICKED = "clicked"
TOLD_MS = 60_000
"""Somebody who opens a link again and again is one click for a plan."""


def shorten(call: Call, request: MessageRequest) -> tuple[MessageRequest, list[ShortLinkRow]]:
    """The request with its short links, and what they are; `message` is still to be filled in. Raises Refused."""
    named = [
        (path, content)
        for path, content in contents_of(request)
        if isinstance(content, TextContent) and content.links
    ]
    if not named:
        return request, []
    terms, base = call.terms.config.policy.links, call.terms.config.process.api.public_url
    faults: list[Fault] = []
    for path, content in named:
        for name, url in (content.links or {}).items():
            field = f"{path}content.links.{name}"
            if base is None:
                faults.append(Fault(field, "links_off", url))
            elif not terms.allows(host_of(url)):
                known = ", ".join(terms.allow) or "-"
                faults.append(Fault(field, "link_host", url, {"known": known}))
            elif f"{{{name}}}" not in content.text:
                faults.append(Fault(field, "link_unused", url, {"name": f"{{{name}}}"}))
    if faults or base is None:
        raise Refused(faults)
    rows: list[ShortLinkRow] = []
    made = _Maker(call, base, terms.expires_in, rows)
    changes: dict[str, Any] = {"content": made.content(request.content)}
    if request.plan is not None:
        changes["plan"] = made.step(request.plan)
    return request.model_copy(update=changes), rows


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the links of one request; `rows` grows."""

    call: Call
    base: str
    life_s: float
    rows: list[ShortLinkRow]

    def content(self, said: AnyContent) -> AnyContent:
        """The same, with its links."""
        if not isinstance(said, TextContent) or not said.links:
            return said
        api, text = self.call.api, said.text
        now = api.deps.clock.now_ms()
        until = now + round(self.life_s * 1000)
        for name, url in said.links.items():
            link, word = api.short.short(api.deps.random.getrandbits(64))
            text = text.replace(f"{{{name}}}", f"{self.base}/s/{word}")
            self.rows.append(ShortLinkRow(link, "", self.call.caller, name, url, now, until))
        return said.model_copy(update={"text": text})

    def step(self, node: N) -> N:
        """A step of a plan, and those below it."""
        changes: dict[str, Any] = {}
        if node.content is not None:
            changes["content"] = self.content(node.content)
        for name in SHAPES[1:]:
            if members := getattr(node, name):
                changes[name] = [self.step(member) for member in members]
        return node.model_copy(update=changes)


async def keep_links(call: Call, links: Sequence[tuple[Envelope, Sequence[ShortLinkRow]]]) -> None:
    """Write down the links of messages that are about to be published. Raises StoreError."""
    rows = [replace(row, message=envelope.id) for envelope, some in links for row in some]
    await call.api.deps.store.add_links(rows)


# -- opened -------------------------------------------------------------------------------------


async def opened(call: Call) -> web.Response:
    """Somebody opens a short link."""
    deps = call.api.deps
    link = call.api.short.id_of(call.request.match_info["word"])
    row = await deps.store.link(link) if link else None
    if row is None:
        return page(call, 404, "link_unknown")
    now = deps.clock.now_ms()
    if now >= row.until:
        return page(call, 410, "link_over")
    if not deps.live.current.policy.links.allows(host_of(row.url)):
        deps.log.warning("short_link_not_allowed", host=host_of(row.url), link=row.id)
        return page(call, 404, "link_unknown")
    await deps.store.count_click(row.id, now)
    deps.metrics.link_clicks_total.inc()
    if not row.last_at or now - row.last_at >= TOLD_MS:
        await _tell(call, row, now)
    return web.Response(
        status=302,
        headers={
            hdrs.LOCATION: quote(row.url, safe="%/:?#[]@!$&'()*+,;=~-._"),
            hdrs.CACHE_CONTROL: "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Robots-Tag": "noindex",
        },
    )


async def _tell(call: Call, row: ShortLinkRow, now: int) -> None:
    """The plans that wait for a click hear of it. That they cannot be told now is no reason to keep somebody from the page."""
    api, deps = call.api, call.api.deps
    envelope = Envelope(
        id=deps.ids.new("sig", row.message),
        caller=row.caller,
        to=Address("caller", row.caller),
        category=CATEGORY,
        tier=TIER,
        payload=Signal(CLICKED, (message_name(row.message),), f'{{"link":"{row.name}"}}'),
        created_at=now,
        trace=call.trace,
    )
    try:
        await deps.tell([Parcel(place(SUBMIT, envelope, api.partitions), wire.seal(envelope))])
    except BusError as error:
        deps.log.warning("click_not_told", link=row.id, msg_id=row.message, error=error)


# -- read ---------------------------------------------------------------------------------------


class ShortLinkView(View):
    """A short link of a message."""

    name: str
    url: str
    short_url: str
    clicks: int = Field(description="how often it was opened; a preview by a program counts too")
    first_at: str | None = None
    last_at: str | None = None
    expires_at: str


class ShortLinksView(View):
    items: list[ShortLinkView]


async def of_message(call: Call) -> web.Response:
    """The short links of a message, and how often each was opened."""
    call.query()
    await owned(call, call.id)
    base = call.terms.config.process.api.public_url or ""
    rows = await call.api.deps.store.links_of(call.id)
    items = [
        ShortLinkView(
            name=row.name,
            url=row.url,
            short_url=f"{base}/s/{call.api.short.word_of(row.id)}",
            clicks=row.clicks,
            first_at=when(row.first_at),
            last_at=when(row.last_at),
            expires_at=when(row.until) or "",
        )
        for row in rows
    ]
    return shown(ShortLinksView(items=items))


ROUTES: tuple[Any, ...] = (
    Route(
        "GET",
        "/v1/messages/{id}/links",
        of_message,
        "The short links of a message and their clicks",
        "messages",
        {200: ShortLinksView},
        scope="read",
        problems=MESSAGE_PROBLEMS,
    ),
)
#: For customers, who have no key: no part of the API.
PAGES = (Route("GET", "/s/{word}", opened, "Somebody opens a short link", "pages", {302: None}),)
