"""Problems: every refusal of the API as RFC 9457 problem+json, with a stable code and texts in
English and Chinese from one table.

`type` is `/problems/<code>`, a short page served from the same table. A problem may hold any number
of field faults, so that a caller learns of all its mistakes at once.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from aiohttp import web

from msgcenter.api.texts import CODES, FIELD_CODES, PHRASES

Language = Literal["en", "zh"]
MAX_VALUE = 120
MAX_PHRASE = 500
MEDIA_TYPE = "application/problem+json"
#: A fault without a value: the field is not there.
ABSENT = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One wrong field. `code`: a key of texts.FIELD_CODES; `facts` fill the placeholders of its
    texts.

    `value` is echoed to the caller, shortened; it is never logged.
    """

    field: str
    code: str
    value: object = ABSENT
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def render(self, language: Language) -> dict[str, Any]:
        text = FIELD_CODES[self.code]
        facts = {
            "value": _short(self.value),
            **{name: _words(fact, language) for name, fact in self.facts.items()},
        }
        out: dict[str, Any] = {"field": self.field, "code": self.code}
        detail, remedy = (
            (text.detail_zh, text.remedy_zh) if language == "zh" else (text.detail, text.remedy)
        )
        out["detail"] = detail.format_map(facts)
        if self.value is not ABSENT:
            out["value"] = _short(self.value)
        out["remedy"] = remedy.format_map(facts)
        return out


class Problem(Exception):
    """A refusal on its way to the caller. `code`: a key of texts.CODES, which also gives the
    status.

    `more`: extra members of the document; `retry_after` in seconds becomes the header (at least 1).
    """

    def __init__(
        self,
        code: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after: float | None = None,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = CODES[code].status
        self.faults = tuple(faults)
        self.retry_after = retry_after
        self.more = dict(more or {})
        self.headers = dict(headers or {})
        self.facts = facts

    def document(
        self, language: Language, instance: str = "", trace_id: str = ""
    ) -> dict[str, Any]:
        text = CODES[self.code]
        facts = {name: _words(fact, language) for name, fact in self.facts.items()}
        zh = language == "zh"
        document: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": text.title_zh if zh else text.title,
            "status": self.status,
            "code": self.code,
            "detail": (text.detail_zh if zh else text.detail).format_map(facts),
        }
        if remedy := (text.remedy_zh if zh else text.remedy).format_map(facts):
            document["remedy"] = remedy
        if instance:
            document["instance"] = instance
        if trace_id:
            document["trace_id"] = trace_id
        if self.faults:
            document["errors"] = [fault.render(language) for fault in self.faults]
        if self.retry_after is not None:
            document["retry_after"] = max(1, round(self.retry_after))
        return {**document, **self.more}

    def response(self, language: Language, instance: str = "", trace_id: str = "") -> web.Response:
        headers = {**self.headers, "Content-Language": language, "Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        document = json.dumps(self.document(language, instance, trace_id), ensure_ascii=False)
        body = document.encode(errors="replace")  # a query may hold half a character
        return web.Response(status=self.status, body=body, content_type=MEDIA_TYPE, headers=headers)


def refused(faults: Sequence[Fault]) -> Problem:
    """The problem that says what is wrong with a request's fields: 403 when only grants are
    missing, else 422."""
    forbidden = [fault for fault in faults if fault.code == "category_not_granted"]
    if forbidden and len(forbidden) == len(faults):
        facts = forbidden[0].facts
        granted = facts.get("granted", ())
        return Problem(
            "category_not_granted", faults=faults, more={"granted": granted}, granted=granted
        )
    return Problem("validation_failed", faults=faults, count=len(faults))


def language_of(accept_language: str) -> Language:
    """The first of `zh` and `en` in the header's order of preference; English when it names
    neither."""
    best: tuple[float, Language] = (0.0, "en")
    for part in accept_language.split(",")[:20]:
        tag, _, parameter = part.strip().partition(";")
        name = tag.strip().lower().partition("-")[0]
        if name not in ("zh", "en"):
            continue
        weight = parameter.strip().removeprefix("q=")
        try:
            quality = float(weight) if weight else 1.0
        except ValueError:
            continue
        if quality > best[0]:
            best = (quality, "zh" if name == "zh" else "en")
    return best[1]


def page(code: str, language: Language) -> str | None:
    """The page behind a problem's `type`, as HTML; None for a code that does not exist."""
    known = CODES.get(code)
    text = known or FIELD_CODES.get(code)
    if text is None:
        return None
    title = (known.title_zh if language == "zh" else known.title) if known else code
    detail = text.detail_zh if language == "zh" else text.detail
    remedy = text.remedy_zh if language == "zh" else text.remedy
    status = f"<p>HTTP {known.status}</p>" if known else ""
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
        f"<title>{html.escape(code)}</title>"
        f"<h1>{html.escape(title)}</h1><p><code>{html.escape(code)}</code></p>{status}"
        f"<p>{html.escape(detail)}</p><p>{html.escape(remedy)}</p></html>"
    )


def _short(value: object) -> object:
    """A value as the problem may echo it: scalars as they are, text cut, anything else as shortened
    JSON."""
    if value is ABSENT:
        return ""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _words(fact: object, language: Language) -> object:
    """A list reads as words, and a phrase of ours in the caller's language."""
    if language == "zh" and isinstance(fact, str):
        return _in_chinese(fact)
    if isinstance(fact, list | tuple | set | frozenset):
        return ", ".join(str(item) for item in fact) or "-"
    return fact


@lru_cache(maxsize=1024)
def _in_chinese(text: str) -> str:
    """A phrase of the table in Chinese, with what stands in its places; anything else as it is."""
    if text in PHRASES:
        return PHRASES[text]
    for pattern, chinese in _TEMPLATES:
        if match := pattern.fullmatch(text[:MAX_PHRASE]):
            return chinese.format_map(match.groupdict())
    return text


def _template(phrase: str) -> re.Pattern[str]:
    """`the least is {least}` -> a pattern whose groups are its places."""
    parts = re.split(r"\{(\w+)\}", phrase)
    return re.compile(
        "".join(f"(?P<{p}>.+?)" if n % 2 else re.escape(p) for n, p in enumerate(parts)), re.DOTALL
    )


_TEMPLATES = [(_template(phrase), zh) for phrase, zh in PHRASES.items() if "{" in phrase]
