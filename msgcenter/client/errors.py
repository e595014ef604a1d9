"""What a call of the client may raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Anything that keeps a call from its answer."""


class NotReached(ClientError):
    """No answer came, however often it was tried. Nothing is known of a request without an Idempotency-Key; one with a key may
    be repeated with the same key."""


class ApiError(ClientError):
    """The API refused: its problem document (RFC 9457). `code` is stable; `errors` lists every wrong field."""

    def __init__(self, status: int, problem: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        self.status = status
        self.problem = dict(problem)
        self.headers = dict(headers)
        self.code = str(problem.get("code", ""))
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or ())
        self.trace_id = str(problem.get("trace_id", ""))
        super().__init__(_text(status, self.problem, self.errors))


def _text(status: int, problem: Mapping[str, Any], errors: list[dict[str, Any]]) -> str:
    parts = [f"HTTP {status} {problem.get('code', '')}: {problem.get('detail', '')}"]
    parts += [f"{e.get('field')}: {e.get('detail')} ({e.get('remedy')})" for e in errors[:10]]
    if not errors and problem.get("remedy"):
        parts.append(str(problem["remedy"]))
    return "; ".join(parts)
