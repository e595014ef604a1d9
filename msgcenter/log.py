"""Logging: JSON lines (or a console on a terminal) to stderr, ids bound by contextvars, personal
data masked, no locals, no bodies."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

import structlog

from msgcenter.clock import Clock

HIDDEN = "•••"

#: Keys whose value is never printed at all.
_SECRET_KEYS = re.compile(
    r"(^|_)(secret|password|passwd|token|authorization|api_key|apikey|cookie|signature|credential)s?$"
)
#: Keys that hold message content: only its length is printed.
_BODY_KEYS = frozenset({"text", "content", "body", "payload", "template_params"})
#: Keys that hold a person's number or name: masked even where no pattern recognises the value.
_PERSON_KEYS = frozenset(
    {"phone", "mobile", "msisdn", "tel", "customer", "person", "recipient", "external_userid"}
    | {"openid", "unionid", "id_card", "customer_name", "nickname"}
)
#: Keys that this product fills with ids of its own making; a long run of digits in one is chance,
#: not a number.
_ID_KEYS = frozenset(
    {
        "ts",
        "msg_id",
        "trace_id",
        "span_id",
        "event_id",
        "frame_id",
        "record_id",
        "remote_id",
        "hash",
    }
)
_ID = re.compile(r"(?:[a-z]{2,6}_)?[0-9a-z]{16,64}|[0-9TZ:.+-]{20,32}")

_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    # a password in a URL
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), lambda m: f"{m[1]}:{HIDDEN}@"),
    # resident identity card, 18 or 15 digits
    (
        re.compile(
            r"(?<!\d)([1-9]\d{2})\d{3}(?:(?:18|19|20)\d{2})(?:0[1-9]|1[0-2])"
            r"(?:0[1-9]|[12]\d|3[01])\d{2}(\d[\dXx])(?![\dXx])"
        ),
        lambda m: f"{m[1]}*************{m[2]}",
    ),
    (
        re.compile(
            r"(?<!\d)([1-9]\d{2})\d{5}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d(\d{2})(?!\d)"
        ),
        lambda m: f"{m[1]}**********{m[2]}",
    ),
    # bank card
    (
        re.compile(r"(?<!\d)(?:62|4\d|5[1-5])\d{10,13}(\d{4})(?!\d)"),
        lambda m: f"************{m[1]}",
    ),
    # mobile, bare or with +86, 0086, 86, also written 138 1234 5678; full-width digits too
    (
        re.compile(r"(?<!\d)((?:\+|00)?86[ -]?)?([1１][3-9３-９]\d)[ -]?\d{4}[ -]?(\d{4})(?!\d)"),
        lambda m: f"{m[1] or ''}{m[2]}****{m[3]}",
    ),
    # machine-to-machine numbers of 13 digits
    (
        re.compile(r"(?<!\d)((?:\+|00)?(?:86)?)(10648|14[0-9]{3})\d{4}(\d{4})(?!\d)"),
        lambda m: f"{m[1]}{m[2]}****{m[3]}",
    ),
    # WeCom external_userid
    (
        re.compile(
            r"(?<![0-9A-Za-z])(w[mob])[0-9A-Za-z_-]{24,34}([0-9A-Za-z_-]{4})(?![0-9A-Za-z_-])"
        ),
        lambda m: f"{m[1]}****{m[2]}",
    ),
)
_MAX_DEPTH = 6
_MAX_ITEMS = 50


def mask(text: str) -> str:
    """`text` with phone numbers, identity and bank cards, WeCom customer ids and URL passwords
    masked.

    `13812345678` -> `138****5678`, `+8613812345678` -> `+86138****5678`.
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def said(error: BaseException) -> str:
    """What an exception says; its type's name when it says nothing, as a TimeoutError does."""
    return str(error).strip() or type(error).__name__


def mask_value(key: str, value: object, depth: int = 0) -> object:
    """`value` as it may be logged under `key`; mappings, lists, bytes and unknown objects
    included."""
    key = key.lower()
    if value is None or isinstance(value, bool | float):
        return value
    if _SECRET_KEYS.search(key):
        return HIDDEN
    if key in _BODY_KEYS:
        return f"[{len(value)}]" if isinstance(value, str | bytes | list | dict) else HIDDEN
    if isinstance(value, BaseException):
        value = said(value)
    if isinstance(value, int):
        masked = mask(str(value))
        return value if masked == str(value) else masked
    return _mask_text(key, value) if isinstance(value, str) else _mask_inside(key, value, depth)


def _mask_text(key: str, value: str) -> str:
    if key in _ID_KEYS and _ID.fullmatch(value):
        return value
    masked = mask(value)
    return _cover(value) if key in _PERSON_KEYS and masked == value else masked


def _mask_inside(key: str, value: object, depth: int) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if depth >= _MAX_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            mask(str(k)): mask_value(str(k), v, depth + 1)
            for k, v in list(value.items())[:_MAX_ITEMS]
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(key, v, depth + 1) for v in list(value)[:_MAX_ITEMS]]
    return mask(str(value))


def _cover(text: str) -> str:
    """First and last character of a name or id of unknown form."""
    return f"{text[:1]}***{text[-1:]}" if len(text) > 4 else "***"


def get(name: str) -> Any:
    """A logger; `log.info("what happened", key=value)`. An exception is handed over as it is: `error=error`."""
    return structlog.get_logger(name).bind(logger=name)


def bound(**ids: object) -> AbstractContextManager[None]:
    """Within the block every line of this task, and of tasks it starts, carries these: `msg_id`,
    `trace_id`, `caller`, `channel`."""
    return cast(AbstractContextManager[None], structlog.contextvars.bound_contextvars(**ids))


def setup(
    clock: Clock,
    *,
    level: str = "info",
    form: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Route structlog and the standard library's logging (aiohttp, aio_pika, alembic, ...) to
    `stream`, stderr if None.

    `auto` is a console on a terminal, else JSON lines `{"ts", "level", "event", ...}`. May be
    called again.
    """
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    render: Any
    if console:
        render = structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="ts")
    else:
        render = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _stamp(clock),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, _logger_name],
        # the traceback becomes text (no locals) before masking, so what an exception says is masked
        # as well
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _masked,
            _in_order,
            render,
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [
        h for h in root.handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter)
    ]:
        root.removeHandler(old)
    root.addHandler(handler)
    number = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(number)
    # the API logs its own requests, by route and without query strings
    logging.getLogger("aiohttp.access").setLevel(max(number, logging.WARNING))
    # DEBUG of these prints frames and parameters
    for noisy in ("aio_pika", "aiormq", "asyncio"):
        logging.getLogger(noisy).setLevel(max(number, logging.INFO))
    # INFO of this one prints every statement with its parameters
    logging.getLogger("sqlalchemy.engine").setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


Event = MutableMapping[str, Any]


def _stamp(clock: Clock) -> Callable[[Any, str, Event], Event]:
    def stamp(logger: Any, method: str, event: Event) -> Event:
        at = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        event["ts"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event

    return stamp


def _logger_name(logger: Any, method: str, event: Event) -> Event:
    record = event.get("_record")
    if record is not None:
        event.setdefault("logger", record.name)
    return event


def _masked(logger: Any, method: str, event: Event) -> Event:
    for key in list(event):
        event[key] = mask_value(key, event[key])
    return event


def _in_order(logger: Any, method: str, event: Event) -> Event:
    first = {key: event.pop(key) for key in ("ts", "level", "event", "logger") if key in event}
    return {**first, **event}
