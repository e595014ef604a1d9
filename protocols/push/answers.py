"""Answers and receipts of a push engine, read by its profile: code -> verdict -> outcome, receipt -> state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.errors import Malformed
from protocols.fields import as_int, as_text
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown
from protocols.payload import DeliveryReport
from protocols.push.profile import Answers, Receipts, Verdict
from protocols.push.signing import huawei_parts

MAX_BODY = 1024 * 1024
#: What a status means where the engine's own table says nothing. A 5xx, or a 2xx that cannot be read, may have sent it.
STATUS: Mapping[str, Verdict] = {
    "http 401": "refresh",
    "http 403": "account",
    "http 408": "unknown",
    "http 429": "throttle",
    "http 503": "retry",
    "http 2xx": "unknown",
    "http 3xx": "account",
    "http 4xx": "reject",
    "http 5xx": "unknown",
}


def look(tree: Any, path: str) -> Any:
    """The value at a path, None when there is none; `*` goes into the first member, `%` is its name."""
    for step in path.split("/") if path else ():
        if isinstance(tree, list):
            tree = tree[0] if tree else None
        if not isinstance(tree, Mapping):
            return None
        if step == "%":
            return next(iter(tree), None)
        tree = next(iter(tree.values()), None) if step == "*" else tree.get(step)
    return tree


def _first(tree: Any, paths: Sequence[str]) -> str:
    return next((found for path in paths if (found := as_text(look(tree, path)))), "")


def parse(body: bytes) -> Any:
    """JSON, or None when it is none: an answer that cannot be read is told by its status."""
    if len(body) > MAX_BODY:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """`reset_s`: seconds until the engine's quota is renewed, 0 = not said."""

    verdict: Verdict
    code: str
    remote_id: str
    detail: str
    reset_s: float = 0.0


def read(rules: Answers, status: int, body: bytes, reset: str = "") -> Answer:
    """What an answer to a send says."""
    tree = parse(body)
    code = _first(tree, rules.codes)
    http = (f"http {status}", f"http {status // 100}xx")
    tables: list[str] = [code] if code else []
    tables += http
    own: Verdict | None = next((rules.outcomes[k] for k in tables if k in rules.outcomes), None)
    if own is None and code and status < 500:
        own = rules.outcomes.get("*")
    general = (STATUS[key] for key in http if key in STATUS)
    verdict: Verdict = own if own is not None else next(general, "unknown")
    remote_id = _first(tree, rules.ids)
    if verdict == "ok" and rules.ids and not remote_id:
        verdict = "unknown"
    said = _first(tree, rules.details)[:120]
    shown = code or f"HTTP {status}"
    return Answer(verdict, shown, remote_id, f"{shown} {said}".strip(), _seconds(reset))


def _seconds(text: str) -> float:
    return float(min(as_int(text.strip()), 86_400)) if text else 0.0


def outcome_of(answer: Answer) -> Outcome:
    """The table from verdicts to outcomes."""
    told = f"push engine: {answer.detail}"
    match answer.verdict:
        case "ok":
            return Sent((answer.remote_id,) if answer.remote_id else ())
        case "retry":
            return Retry("message", told, answer.reset_s, "push_busy")
        case "throttle":
            return Retry("channel", told, answer.reset_s or 10.0, "push_throttled")
        case "refresh":
            return Retry("channel", told, 5.0, "push_token")
        case "account":
            return Retry("channel", told, 60.0, "push_account")
        case "reject":
            return Rejected("message", told, "push_refused")
        case "dead":
            return Rejected("recipient", told, "dead_token")
        case "limit":
            return Rejected("recipient", told, "push_limit")
        case "unknown":
            return Unknown(told)


# -- receipts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """`token`: the device, "" when the engine does not say. `dead`: that device is gone for good."""

    report: DeliveryReport
    token: str
    dead: bool


def receipts(
    rules: Receipts, body: bytes, headers: Mapping[str, str], secret: str, app: str, now_s: int
) -> list[Receipt]:
    """What a call of the engine's says. Raises Malformed for a body that cannot be read or is not signed as it must be."""
    if len(body) > MAX_BODY:
        raise Malformed(f"receipt: {len(body)} octets, at most {MAX_BODY}")
    if rules.check in ("header", "huawei"):
        _check_whole(rules, body, headers, secret, now_s)
    return [one for item in _items(rules, body) if (one := _receipt(rules, item, secret, app))]


def polled(rules: Receipts, body: bytes) -> list[Receipt]:
    """What the engine answers to a question about receipts; one that is not there yet is left out. Raises Malformed."""
    return [one for item in _items(rules, body) if (one := _counted(rules, item))]


def _items(rules: Receipts, body: bytes) -> Iterator[Mapping[str, Any]]:
    texts = body.splitlines() if rules.lines else [body]
    for text in texts:
        if not text.strip():
            continue
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            raise Malformed("receipt: no JSON") from None
        found = look(tree, rules.items) if rules.items else tree
        for item in found if isinstance(found, list) else [found]:
            if not isinstance(item, Mapping):
                raise Malformed("receipt: a JSON object expected")
            yield item


def _receipt(rules: Receipts, item: Mapping[str, Any], secret: str, app: str) -> Receipt | None:
    if rules.check == "item" and rules.signature is not None:
        facts = {name: as_text(value) for name, value in item.items()}
        rules.signature.check(
            as_text(look(item, rules.signed)), {"app": app, **facts, "secret": secret}
        )
    remote_id, code = as_text(look(item, rules.id)), as_text(look(item, rules.code))
    state = rules.states.get(code) or rules.states.get("*")
    if not remote_id or state is None:
        return None
    at = as_int(look(item, rules.at)) if rules.at else 0
    at = at * 1000 if 0 < at < 10**11 else at
    token = as_text(look(item, rules.token)) if rules.token else ""
    return Receipt(DeliveryReport(remote_id, state, code, at), token, code in rules.dead)


def _counted(rules: Receipts, item: Mapping[str, Any]) -> Receipt | None:
    remote_id = as_text(look(item, rules.id))
    reached = sum(as_int(look(item, path)) for path in rules.counts)
    if not remote_id or reached <= 0:
        return None
    return Receipt(DeliveryReport(remote_id, "delivered", f"reached={reached}"), "", False)


def _check_whole(
    rules: Receipts, body: bytes, headers: Mapping[str, str], secret: str, now_s: int
) -> None:
    assert rules.signature is not None
    if rules.check == "huawei":
        stamp, nonce, given = huawei_parts(headers.get(rules.signed, ""))
    else:
        stamp, nonce = (
            headers.get(name, "") for name in (rules.timestamp_header, rules.nonce_header)
        )
        given = headers.get(rules.signed, "")
    seconds = as_int(stamp)
    seconds = seconds // 1000 if seconds > 10**11 else seconds
    if abs(now_s - seconds) > 300:
        raise Malformed("receipt: signed more than 300 s away from our clock")
    text = body.decode("utf-8", "replace")
    rules.signature.check(
        given, {"timestamp": stamp, "nonce": nonce, "body_text": text, "secret": secret}
    )
