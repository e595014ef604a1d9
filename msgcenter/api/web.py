"""The frame around every handler: routes as data, trace, key and scope, body limits, idempotency,
problems, metrics and the access log.

One file on purpose: what every request passes through is read from top to bottom.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel

from msgcenter.api.accept import fingerprint
from msgcenter.api.auth import Identity
from msgcenter.api.body import Body
from msgcenter.api.problems import Fault, Language, Problem, language_of, refused
from msgcenter.api.quota import headers_of
from msgcenter.api.repeats import Kind
from msgcenter.api.signed import HEADERS as SIGNATURE_HEADERS
from msgcenter.api.signed import check
from msgcenter.api.strict import Invalid, read_model
from msgcenter.bus import BusBlocked, BusError
from msgcenter.clock import Random
from msgcenter.config.rules import Signing
from msgcenter.media import MediaError, MediaRefused, TooLarge
from msgcenter.state import Accepted, Begin, StateError
from msgcenter.store import BadCursor, StoreError

if TYPE_CHECKING:
    from msgcenter.api.app import Api
    from msgcenter.api.terms import Terms

M = TypeVar("M", bound=Body)

TRACE = web.RequestKey("trace", str)
KEY_LEASE_S = 10.0
SLOW_S = 1.0
BODY_S = 15.0
"""How long a body may take that is not a file."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)
KEY_PATTERN = r'^([!#-~][!-~]*|"[!#-~][!-~]*|""[!-~]+|")$'
"""An Idempotency-Key: visible ASCII, bare or as a quoted string, which is not an empty one."""
_KEY = re.compile(KEY_PATTERN)
MOST_KEY = 255
#: Scopes that include another.
_ALSO = {"read": ("read:all", "admin"), "read:customers": ("customers",)}
_PARAMETER = re.compile(r"\{(\w+)\}")
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s)?")


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter, for the reader of /openapi.json; handlers read it through Call."""

    name: str
    description: str
    schema: Mapping[str, Any]

    @property
    def may_be_empty(self) -> bool:
        """An empty value stands for none where the schema lets it: free text."""
        schema = self.schema
        return schema.get("type") == "string" and not schema.keys() & {
            *("enum", "format", "pattern", "minLength"),
        }


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `scope`: needed for it; "" = any key; None = no key at all. `answers`: status
    -> model (None = no JSON).

    `writes`: takes an Idempotency-Key. `problems`: codes beyond those that every operation may
    answer.
    """

    method: str
    path: str
    handler: Callable[[Call], Awaitable[web.StreamResponse]]
    summary: str
    tag: str
    answers: Mapping[int, type[BaseModel] | None]
    scope: str | None = None
    body: type[BaseModel] | None = None
    body_optional: bool = False
    params: tuple[Param, ...] = ()
    writes: bool = False
    problems: tuple[str, ...] = ()
    media: str = "application/json"
    upload: tuple[str, ...] = ()
    """Content types of a body that is a file rather than a model."""
    spends: bool = False
    """It sends: its messages count in the caller's quota, so without any left it is refused before the rest is looked at."""

    @property
    def pattern(self) -> str:
        """The path for aiohttp's router: a parameter stops before `:` so that `/{id}:cancel` is
        found."""
        return _PARAMETER.sub(r"{\1:[^/:{}]+}", self.path)


ROUTE = web.RequestKey("route", Route)


class Call:
    """One request on its way through a handler."""

    __slots__ = ("api", "counted", "identity", "request", "route", "terms", "trace")
    terms: Terms

    def __init__(self, api: Api, request: web.Request, route: Route, trace: str) -> None:
        self.api = api
        self.request = request
        self.route = route
        self.trace = trace
        self.identity = Identity("", "", ())
        self.counted = False

    @property
    def caller(self) -> str:
        return self.identity.caller

    @property
    def id(self) -> str:
        return self.request.match_info["id"]

    @property
    def language(self) -> Language:
        return language_of(self.request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))

    def has(self, scope: str) -> bool:
        """Whether the caller has a scope and the key was not cut down below it."""
        return scope in self.terms.caller.scopes and (
            not self.identity.scopes or scope in self.identity.scopes
        )

    @property
    def sees_all(self) -> bool:
        return self.has("read:all") or self.has("admin")

    # -- quota ----------------------------------------------------------------------------------

    def refuse_if_dry(self) -> None:
        """A cheap no to a caller that has used up its quota, before its body is read. Raises Problem quota_exceeded."""
        self.counted = True
        self.api.quotas.refuse_if_dry(self.caller, self.terms.caller)

    @asynccontextmanager
    async def spend(self, count: int) -> AsyncIterator[Callable[[int], None]]:
        """Take `count` messages of the caller's quota. `unused(n)` gives back n of them; so does a problem, all. Raises Problem:
        overloaded, caller_overloaded, quota_exceeded, batch_over_quota."""
        quotas, caller, name = self.api.quotas, self.terms.caller, self.caller
        self.counted = True
        self.api.refuse_under_pressure(name, count)
        await quotas.take(name, caller, count)
        try:
            yield lambda unused: quotas.give_back(name, caller, unused)
        except Problem:
            quotas.give_back(name, caller, count)
            raise

    # -- body -----------------------------------------------------------------------------------

    async def body(self) -> bytes:
        """The raw JSON body. Raises Problem for a wrong content type or encoding."""
        headers = self.request.headers
        kind = headers.get(hdrs.CONTENT_TYPE, "")
        if kind != "application/json" and not _is_json(kind):
            raise Problem("content_type", value=kind[:80] or "-")
        if encoding := headers.get(hdrs.CONTENT_ENCODING, ""):
            raise Problem("content_encoding", value=encoding[:40])
        return await self.octets()

    async def octets(self) -> bytes:
        """The body as it came. Raises Problem body_slow, and the connection ends: a client that drips holds nothing."""
        if self.request.content.is_eof():
            return await self.request.read()
        try:
            async with asyncio.timeout(BODY_S):
                return await self.request.read()
        except TimeoutError as error:
            headers = {"Connection": "close"}
            raise Problem("body_slow", headers=headers, limit=f"{BODY_S:g} s") from error

    async def model(self, model: type[M]) -> M:
        """The body as a model. Raises Problem, with every fault."""
        raw = b"{}"
        if not self.route.body_optional or self.request.can_read_body:
            raw = await self.body()
        try:
            return read_model(model, raw)
        except Invalid as invalid:
            raise refused(invalid.faults) from invalid

    # -- query ----------------------------------------------------------------------------------

    def query(self, *names: str) -> dict[str, str]:
        """The parameters that were given, of those the operation takes. Raises Problem for any
        other or a repeated one."""
        given = self.request.query
        allowed = {param.name for param in self.route.params}
        faults = [
            Fault(name, "unknown_field", given[name], {"hint": ", ".join(sorted(allowed))})
            for name in dict.fromkeys(given)
            if name not in allowed
        ]
        if faults:
            raise refused(faults)
        empty = [
            Fault(param.name, "too_short", "", {"limit": 1})
            for param in self.route.params
            if param.name in given and not given[param.name] and not param.may_be_empty
        ]
        if empty:
            raise refused(empty)
        return {name: given[name] for name in names if given.get(name)}

    def limit(self, default: int = 100, most: int = 1000) -> int:
        text = self.request.query.get("limit", "")
        if not text:
            return default
        if text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= most:
            return int(text)
        facts = {"expected": f"an integer from 1 to {most}"}
        raise refused([Fault("limit", "out_of_range", text, facts)])

    def seconds(self, name: str, most: float) -> float:
        """A short duration such as `wait=5s`; 0 when absent, at most `most`."""
        text = self.request.query.get(name, "")
        if not text:
            return 0.0
        match = _SECONDS.fullmatch(text)
        if not match:
            facts = {"least": "0s", "most": f"{most:g}s"}
            raise refused([Fault(name, "duration_invalid", text, facts)])
        return min(float(match[1]) * (0.001 if match[2] == "ms" else 1.0), most)

    def time(self, name: str) -> int:
        """An RFC 3339 time as epoch milliseconds; 0 when absent."""
        text = self.request.query.get(name, "")
        if not text:
            return 0
        try:
            # a `+` that was not escaped arrives as a blank
            at = datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            raise refused([Fault(name, "time_invalid", text)])
        return max(1, round(at.timestamp() * 1000))

    # -- idempotency ----------------------------------------------------------------------------

    def idempotency_key(self) -> str:
        """The Idempotency-Key, bare or as a quoted string; empty when absent. Raises Problem."""
        text = self.request.headers.get("Idempotency-Key")
        if text is None:
            return ""
        text = text.strip()
        if len(text) > MOST_KEY or not _KEY.fullmatch(text):
            raise Problem("idempotency_key_invalid")
        quoted = len(text) >= 2 and text[0] == text[-1] == '"'
        return text[1:-1] if quoted else text

    def begin(self, key: str, canonical: bytes, new_id: str) -> Begin:
        """One try of a request with a key. The key belongs to caller and route."""
        route = f"{self.route.method} {self.request.path}"
        return Begin(self.caller, key, fingerprint(route, canonical), new_id, KEY_LEASE_S)

    async def once(
        self,
        canonical: bytes,
        work: Callable[[str], Awaitable[tuple[int, bytes]]],
        prefix: str = "req",
        stored: Callable[[bytes], bytes] | None = None,
    ) -> web.Response:
        """Run `work(id)` -> (status, JSON body) at most once per Idempotency-Key and answer it;
        `id` is the same in every try.

        `stored` may take secrets out of what later tries are answered. A problem is not stored: the
        key may be tried again.
        """
        state, key = self.api.deps.state, self.idempotency_key()
        new_id = self.api.deps.ids.new(prefix, self.caller)
        if not key:
            return respond(*await work(new_id))
        begin = self.begin(key, canonical, new_id)
        begun = (await state.begin([begin]))[0]
        match begun.verdict:
            case "busy":
                raise Problem("idempotency_busy", retry_after=1)
            case "other":
                raise Problem("idempotency_mismatch")
            case "done":
                return replayed(begun.answer)
            case "new" | "retry":
                pass
        try:
            status, body = await work(begun.id)
        except Exception:
            await state.begin([Begin(begin.caller, key, begin.fingerprint, new_id, 0.0)])
            raise
        kept = pack_answer(status, stored(body) if stored else body)
        await state.accepted([Accepted(begun.id, b"", self.caller, key, kept)])
        return respond(status, body)


# -- answers ------------------------------------------------------------------------------------


def respond(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def shown(view: BaseModel, status: int = 200) -> web.Response:
    """A model as JSON, without what is not known."""
    return respond(status, view.model_dump_json(exclude_none=True).encode())


def pack_answer(status: int, body: bytes) -> bytes:
    """What an Idempotency-Key answers later."""
    return b"%03d" % status + body


def replayed(answer: bytes) -> web.Response:
    """The first answer again."""
    headers = {"Idempotent-Replayed": "true"}
    body = answer[3:]
    if body.startswith(b'{"id":"msg_'):
        headers["Location"] = f"/v1/messages/{json.loads(body)['id']}"
    return respond(int(answer[:3]), body, headers)


def when(ms: int) -> str | None:
    """Epoch milliseconds as RFC 3339 UTC; None for 0."""
    if not ms:
        return None
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- the frame ----------------------------------------------------------------------------------


def traceparent(given: str, rng: Random) -> str:
    """The caller's traceparent when it is well formed, else a new one (W3C Trace Context, version
    00)."""
    match = _TRACEPARENT.fullmatch(given) if given else None
    if match and not given.startswith("ff") and match[1].strip("0") and match[2].strip("0"):
        return given
    bits = rng.getrandbits(192) | 1 | (1 << 64)
    return f"00-{bits >> 64:032x}-{bits & 0xFFFFFFFFFFFFFFFF:016x}-01"


CALL = web.RequestKey("call", Call)


def endpoint(api: Api, route: Route) -> Handler:
    """aiohttp's handler for a route: who calls, may they, then the work. Errors are the
    middleware's."""
    scope, handler = route.scope, route.handler

    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(api, request, route, request[TRACE])
        request[ROUTE] = route
        request[CALL] = call
        if scope is not None:
            identity = await api.keyring.identify(request.headers.get(hdrs.AUTHORIZATION, ""))
            call.identity = identity
            call.terms = api.book.terms(api.deps.live.current, identity.caller)
            structlog.contextvars.bind_contextvars(caller=identity.caller)
            await api.fair.turn(identity.caller)
            if route.spends:
                call.refuse_if_dry()
            if call.terms.caller.signing is not None:
                await _signed(call, call.terms.caller.signing)
            if scope and not any(call.has(one) for one in (scope, *_ALSO.get(scope, ()))):
                held = [s for s in call.terms.caller.scopes if call.has(s)]
                raise Problem("scope_missing", needed=scope, scopes=held)
        return await handler(call)

    return handle


async def _signed(call: Call, signing: Signing) -> None:
    """Raises Problem."""
    request, deps = call.request, call.api.deps
    body = b"" if call.route.upload or not request.can_read_body else await call.octets()
    await check(
        signing,
        deps.state,
        call.caller,
        method=request.method,
        target=request.raw_path,
        headers={name: request.headers.get(name, "") for name in SIGNATURE_HEADERS},
        body=body,
        now_s=deps.clock.now_ms() // 1000,
        fresh=deps.ids.new("req", call.caller),
    )


def frame(api: Api) -> Middleware:
    """The one middleware."""
    deps = api.deps
    clock, log, rng, metrics = deps.clock, deps.log, deps.random, deps.metrics

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = clock.monotonic()
        trace = traceparent(request.headers.get("traceparent", ""), rng)
        request[TRACE] = trace
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(trace_id=trace[3:35])
        code = ""
        try:
            response = await handler(request)
        except Exception as error:  # every refusal leaves here as a problem document
            problem = as_problem(error, request)
            if problem.code == "internal":
                log.error("request failed", exc_info=error)
            code = problem.code
            language = language_of(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))
            response = problem.response(language, request.path, trace[3:35])
        if (call := request.get(CALL)) is not None and call.counted:
            standings = api.quotas.standings(call.caller, call.terms.caller)
            response.headers.update(headers_of(standings))
        took = clock.monotonic() - started
        route: Route | None = request.get(ROUTE)
        path, method = (route.path, route.method) if route else ("unmatched", "-")
        api.observe(metrics, path, method, response.status, took)
        status = response.status
        line = log.debug
        if status >= 400 or took >= SLOW_S:
            caller = call.caller if call is not None else ""
            if api.repeats.worth_a_line(Kind(caller, method, path, status, code)):
                line = log.info
        ms = round(took * 1000, 1)
        line("request", route=path, method=method, status=status, ms=ms, code=code)
        return response

    return around


def as_problem(error: Exception, request: web.Request) -> Problem:
    """What went wrong, in the words of the table."""
    match error:
        case Problem():
            return error
        case web.HTTPRequestEntityTooLarge():
            return Problem("body_too_large", limit=request.client_max_size)
        case web.HTTPMethodNotAllowed():
            allowed = sorted(error.allowed_methods)
            return Problem(
                "method_not_allowed",
                headers={"Allow": ", ".join(allowed)},
                path=request.path,
                allowed=allowed,
            )
        case web.HTTPNotFound():
            return Problem("route_not_found", path=request.path)
        case StateError():
            return Problem("state_unavailable", retry_after=2)
        case StoreError():
            return Problem("store_unavailable", retry_after=2)
        case BusBlocked():
            return Problem("overloaded", retry_after=2, why="the bus takes nothing at present")
        case BusError():
            return Problem("bus_unavailable", retry_after=2)
        case TimeoutError():
            return Problem("overloaded", retry_after=2, why="a part did not answer in time")
        case TooLarge(limit=limit):
            return Problem("media_too_large", limit=limit)
        case MediaRefused():
            return Problem("media_refused", why=str(error))
        case MediaError():
            return Problem("media_unavailable", retry_after=2)
        case BadCursor():
            return refused([Fault("cursor", "cursor_invalid", request.query.get("cursor", ""))])
        case _:
            return Problem("internal")


def _is_json(kind: str) -> bool:
    name, _, parameters = kind.partition(";")
    if name.strip().lower() != "application/json":
        return False
    parameter = parameters.strip().lower().replace('"', "")
    return parameter in ("", "charset=utf-8", "charset=utf8")
