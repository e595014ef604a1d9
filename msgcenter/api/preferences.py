"""A customer's own do-not-disturb: `/p/…`, a page without script behind a signed, expiring link; and the link itself for callers.

Only sending the form changes anything: whatever opens links ahead of people changes nothing. What is said there holds for State
before the page answers. A choice that is not changed writes nothing down: silence is no consent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

from aiohttp import web
from pydantic import Field

from msgcenter.api.body import Body
from msgcenter.api.customer_views import PreferencesView, preferences_view
from msgcenter.api.models import Life
from msgcenter.api.page import html, language, page
from msgcenter.api.problems import Problem
from msgcenter.api.views import View
from msgcenter.api.web import Call, Route, shown, when
from msgcenter.customers import ANY, Consent, Mute, Person
from msgcenter.customers.person import addresses_of
from msgcenter.customers.writes import By
from protocols.envelope import hashed

LIFE_S = 30 * 86400.0
DAY_MS = 86_400_000
MUTES = {"1": 1, "7": 7, "30": 30}
"""Days that the page offers."""
BY = By("opt_out", "preference page")

_KINDS_ZH = {
    "sms": "短信",
    "wecom-kf": "微信客服",
    "wecom-contact": "企业微信好友",
    "wecom-hosted": "企业微信好友",
    "wecom-app": "企业微信应用",
    "push": "应用推送",
}
_TEXTS = {
    "zh": {
        "title": "消息接收设置",
        "marketing": "营销和推广信息",
        "on": "接收",
        "off": "全部不接收",
        "by": "可以通过以下方式接收：",
        "more": "其他",
        "service": "只接收服务类消息（办理结果、账单、验证码等）",
        "mute": "免打扰",
        "keep": "保持现状",
        "none": "不设置",
        "days": "{n} 天内不打扰",
        "until": "当前免打扰至 {at}",
        "save": "保存",
        "saved": "已保存，立即生效。",
        "note": "验证码、业务办理结果和您正在进行的咨询不受影响。",
        "other": '<a href="?lang=en">English</a>',
    },
    "en": {
        "title": "Your message settings",
        "marketing": "Marketing and offers",
        "on": "Yes",
        "off": "None at all",
        "by": "They may reach me by:",
        "more": "More",
        "service": "Service messages only (results, bills, codes …)",
        "mute": "Do not disturb",
        "keep": "As it is",
        "none": "Off",
        "days": "For {n} days",
        "until": "At present until {at}",
        "save": "Save",
        "saved": "Saved. It holds from now on.",
        "note": "Codes, results of what you asked for and your own conversations are not affected.",
        "other": '<a href="?lang=zh">中文</a>',
    },
}


class PreferenceLinkBody(Body):
    """How long the page can be opened."""

    expires_in: Life | None = Field(None, description="default: 30d")


class PreferenceLinkView(View):
    """An address to be sent to the customer, and to nobody else: whoever has it can change the settings."""

    url: str
    expires_at: str


async def make_link(call: Call) -> web.Response:
    """A link to the page on which this customer sets what it wants to be sent."""
    call.query()
    body = await call.model(PreferenceLinkBody)
    base = call.terms.config.process.api.public_url
    if base is None:
        raise Problem("public_url_missing")
    person = await _found(call, call.id)
    if person is None:
        raise Problem("not_found", what="customer", id=call.id)
    life = LIFE_S if body.expires_in is None else body.expires_in
    until_s = int(call.api.deps.clock.now_ms() / 1000 + life)
    url = f"{base}/p/{call.api.wishes.long(call.id, until_s)}"
    return shown(PreferenceLinkView(url=url, expires_at=when(until_s * 1000) or ""), 201)


async def read(call: Call) -> web.Response:
    """What the customer, and all that are linked to it, want; the strictest of them."""
    call.query()
    person = await _found(call, call.id)
    if person is None:
        raise Problem("not_found", what="customer", id=call.id)
    return shown(preferences_view(person.preferences))


# -- the page -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _State:
    """What the page shows. `kinds`: kind -> whether marketing may come by it."""

    marketing: bool
    kinds: dict[str, bool]
    service_only: bool
    muted_until: int


async def show(call: Call) -> web.Response:
    """The page as it is now."""
    person = await _person_of(call)
    if isinstance(person, web.Response):
        return person
    state = _state(call, person[1])
    return html(spoken := language(call), _TEXTS[spoken]["title"], _form(call, state, spoken))


async def save(call: Call) -> web.Response:
    """Take the form, and show the page again."""
    person = await _person_of(call)
    if isinstance(person, web.Response):
        return person
    customer, who = person
    form = {str(k): str(v) for k, v in (await call.request.post()).items()}
    before = _state(call, who)
    await _prefer(call, who, form)
    await _consent(call, customer, before, form)
    lang = language(call)
    return web.Response(
        status=303,
        headers={
            "Location": f"{call.request.path}?lang={lang}&saved=1",
            "Cache-Control": "no-store",
        },
    )


async def _prefer(call: Call, who: Person, form: dict[str, str]) -> None:
    """For all customers that are this person: what one of them forbids is forbidden."""
    wish = who.preferences
    service_only = form.get("service_only") == "1"
    mutes = wish.mutes
    now = call.api.deps.clock.now_ms()
    if (chosen := form.get("mute", "")) in MUTES:
        mutes = (*(m for m in mutes if m.channels), Mute(now + MUTES[chosen] * DAY_MS))
    elif chosen == "none":
        mutes = ()
    after = replace(wish, service_only=service_only, mutes=mutes)
    if after != wish:
        for customer in who.members:
            await call.api.deps.customers.prefer(customer, after, BY)


async def _consent(call: Call, customer: str, before: _State, form: dict[str, str]) -> None:
    wanted = form.get("marketing") == "on"
    kinds = {kind: wanted and form.get(f"by-{kind}") == "1" for kind in before.kinds}
    changes: list[tuple[str, bool]] = []
    if wanted != before.marketing:
        changes.append((ANY, wanted))
    if wanted:
        seen = before.kinds if before.marketing else dict.fromkeys(kinds, True)
        changes += [(kind, on) for kind, on in kinds.items() if on != seen[kind]]
    if not changes:
        return
    deps = call.api.deps
    now = deps.clock.now_ms()
    proof = deps.ids.new("prf", customer)
    said = [
        Consent(
            id=f"cns_{hashed('page', customer, kind, now)}",
            channel=kind,
            category=ANY,
            state="granted" if on else "withdrawn",
            at=now,
            wording="preference page",
            source="page",
            proof=proof,
        )
        for kind, on in changes
    ]
    await deps.customers.consent(customer, said, BY)
    for _, on in changes:
        deps.metrics.opt_outs_total.labels("page", "back" if on else "out").inc()


def _state(call: Call, person: Person) -> _State:
    deps = call.api.deps
    now, config = deps.clock.now_ms(), deps.live.current
    kinds: dict[str, bool] = {}
    for channel in config.channels.values():
        spec = deps.specs.get(channel.kind)
        if channel.enabled and spec is not None and channel.kind not in kinds:
            schemes = spec.schemes
            if addresses_of(person, (channel.kind,), now, lambda _, s=schemes: s):  # type: ignore[misc]
                kinds[channel.kind] = _open(person, channel.kind)
    return _State(
        marketing=_open(person, ANY),
        kinds=kinds,
        service_only=person.preferences.service_only,
        muted_until=max((m.until for m in person.preferences.mutes if m.until > now), default=0),
    )


def _open(person: Person, kind: str) -> bool:
    said = person.consent(kind, ANY)
    return said is None or said.state == "granted"


def _form(call: Call, state: _State, spoken: str) -> str:
    t = _TEXTS[spoken]
    checked = {True: " checked", False: ""}
    kinds = "".join(
        f'<label><input type="checkbox" name="by-{escape(kind)}" value="1"{checked[on or not state.marketing]}> '
        f"{escape(_title(call, kind, spoken))}</label>"
        for kind, on in state.kinds.items()
    )
    by = f"<p>{t['by']}</p>{kinds}" if kinds else ""
    muted = t["until"].format(at=escape(when(state.muted_until) or "")) if state.muted_until else ""
    mutes = "".join(
        f'<label><input type="radio" name="mute" value="{value}"{checked[value == "keep"]}> {text}</label>'
        for value, text in (
            ("keep", t["keep"]),
            ("none", t["none"]),
            *((value, t["days"].format(n=days)) for value, days in MUTES.items()),
        )
    )
    done = (
        f'<p class="done" role="status">{t["saved"]}</p>' if call.request.query.get("saved") else ""
    )
    return (
        f'<p>{t["other"]}</p>{done}<form method="post" action="?lang={spoken}">'
        f"<fieldset><legend>{t['marketing']}</legend>"
        f'<label><input type="radio" name="marketing" value="on"{checked[state.marketing]}> {t["on"]}</label>'
        f'<label><input type="radio" name="marketing" value="off"{checked[not state.marketing]}> {t["off"]}</label>'
        f"{by}</fieldset>"
        f"<fieldset><legend>{t['mute']}</legend><p>{muted}</p>{mutes}</fieldset>"
        f"<fieldset><legend>{t['more']}</legend>"
        f'<label><input type="checkbox" name="service_only" value="1"{checked[state.service_only]}> {t["service"]}</label>'
        f"</fieldset><p>{t['note']}</p><button>{t['save']}</button></form>"
    )


def _title(call: Call, kind: str, spoken: str) -> str:
    if spoken == "zh" and kind in _KINDS_ZH:
        return _KINDS_ZH[kind]
    spec = call.api.deps.specs.get(kind)
    return spec.title if spec is not None else kind


async def _person_of(call: Call) -> tuple[str, Person] | web.Response:
    """Whose page it is, or what is said instead of it."""
    found = call.api.wishes.read(call.request.match_info["word"])
    if found is None:
        return page(call, 404, "link_unknown")
    customer, until_s = found
    if call.api.deps.clock.now_ms() >= until_s * 1000:
        return page(call, 410, "link_over")
    person = await _found(call, customer)
    if person is None or person.erased_at:
        return page(call, 410, "link_over")
    return customer, person


async def _found(call: Call, customer: str) -> Person | None:
    found = await call.api.deps.store.find_customers([], [customer])
    return found.people.get(customer)


ROUTES = (
    Route(
        "GET",
        "/v1/customers/{id}/preferences",
        read,
        "What a customer wants to be sent",
        "customers",
        {200: PreferencesView},
        scope="read:customers",
        problems=("not_found", "store_unavailable"),
    ),
    Route(
        "POST",
        "/v1/customers/{id}/preference-link",
        make_link,
        "A link to the customer's own settings",
        "customers",
        {201: PreferenceLinkView},
        scope="customers",
        body=PreferenceLinkBody,
        body_optional=True,
        problems=("not_found", "validation_failed", "public_url_missing", "store_unavailable"),
    ),
)
#: For customers, who have no key: no part of the API.
PAGES = (
    Route("GET", "/p/{word}", show, "A customer's settings", "pages", {200: None}),
    Route("POST", "/p/{word}", save, "A customer changes its settings", "pages", {303: None}),
)
