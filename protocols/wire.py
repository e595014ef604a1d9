"""The wire format: envelopes and records as bytes, each sealed by itself, up to 100 of them in one versioned frame.

A sealed item is msgpack `[kind, [field, …]]` with the fields by position, so there are no map keys to repeat or
misspell; a newer release may append fields, an older one ignores what it does not know. A frame is the version byte
followed by msgpack `[bin, bin, …]`: one bad apple is one bad item. Frames of each release are kept in
tests/vectors/wire and must be readable for ever.

Limits: 100 items and 1 MiB a frame, 256 KiB an item, no extension types, no NaN or infinity, no maps, depth 6 (known fields
nest as deep as 4 of these, a field of a newer release may nest 2 lists more). A plan, which would nest deeper, is packed by
itself and travels as octets.

One file on purpose: both directions of every item stand side by side, so that a field cannot be written and not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NoReturn

import msgpack

from protocols.address import SCHEMES, Address
from protocols.envelope import Decision, Envelope, Record
from protocols.errors import Malformed
from protocols.outcome import (
    SCOPES,
    Amended,
    Held,
    Outcome,
    Rejected,
    Retry,
    Routed,
    Sent,
    Suppressed,
    Unknown,
)
from protocols.payload import (
    CONTENT,
    MEDIA_KINDS,
    NEWS_KINDS,
    REPORT_STATES,
    Advance,
    Card,
    CreateGroup,
    DeliveryReport,
    DissolveGroup,
    Group,
    Happening,
    Leaf,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Notice,
    Payload,
    Plan,
    Pull,
    Recall,
    Signal,
    Template,
    Text,
    UpdateGroup,
)

VERSION = 1
MAX_ITEMS = 100
MAX_ITEM = 256 * 1024
MAX_FRAME = 1024 * 1024
MAX_DEPTH = 6
_UNKNOWN_DEPTH = MAX_DEPTH - 4
"""The deepest list of fields is a decision's: sealed item, record, decisions, decision."""

Item = Envelope | Record
Check = Callable[[Any], Any]


def _refuse_ext(code: int, data: bytes) -> NoReturn:
    raise Malformed(
        f"msgpack extension type {code} ({len(data)} octets): not part of the wire format"
    )


def _refuse_map(pairs: object) -> NoReturn:
    raise Malformed("msgpack map: the wire format has none")


_PACK = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            ext_hook=_refuse_ext,
            object_pairs_hook=_refuse_map,
            max_str_len=MAX_ITEM,
            max_bin_len=MAX_FRAME,
            max_array_len=1024,
            max_map_len=0,
            max_ext_len=0,
        )
    except Malformed:
        raise
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise Malformed(f"not msgpack: {type(error).__name__}: {str(error)[:120]}") from error


# -- checks: one small function per kind of field; each returns the value or raises Malformed ---------------------------


def _wrong(expected: str, value: object) -> Malformed:
    return Malformed(f"expected {expected}, got {type(value).__name__}")


def _str(value: Any) -> str:
    if type(value) is not str:
        raise _wrong("text", value)
    return value


def _int(value: Any) -> int:
    if type(value) is not int:
        raise _wrong("an integer", value)
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong("true or false", value)
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float):
        raise _wrong("a number", value)
    number = float(value)
    if not 0.0 <= number < 1e10:  # also refuses NaN and infinity
        raise Malformed(f"expected seconds from 0 to 1e10, got {number}")
    return number


def _strs(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise _wrong("a list of texts", value)
    return tuple([_str(item) for item in value])


def _one_of(allowed: frozenset[str]) -> Check:
    def check(value: Any) -> str:
        if type(value) is not str or value not in allowed:
            raise Malformed(
                f"expected one of {', '.join(sorted(allowed))}, got {str(value)[:40]!r}"
            )
        return value

    return check


def _address(value: Any) -> Address:
    if type(value) is not list or len(value) < 2:
        raise _wrong("an address", value)
    scheme, text = value[0], value[1]
    if type(scheme) is not str or scheme not in SCHEMES or type(text) is not str or not text:
        raise Malformed(f"address of unknown scheme {str(scheme)[:20]!r}")
    if len(value) > 2:
        _unknown(value[2:])
    return Address(scheme, text)


def _address_or_none(value: Any) -> Address | None:
    return None if value is None else _address(value)


_SCALARS: dict[Check, type] = {_str: str, _int: int, _bool: bool}


def _unknown(values: Sequence[Any], depth: int = _UNKNOWN_DEPTH) -> None:
    """Fields of a newer release are not read, yet the limits of the format hold for them too."""
    for value in values:
        if type(value) is list:
            if not depth:
                raise Malformed(f"lists nested deeper than {MAX_DEPTH}")
            _unknown(value, depth - 1)
        elif type(value) is float and not isfinite(value):
            raise Malformed(f"expected a finite number, got {value}")


def _fields(name: str, make: Callable[..., Any], checks: Sequence[Check], required: int) -> Check:
    """A check for a list of fields by position; `required` of them must be there, later ones have defaults.

    A list with every field is checked all scalars at once, by comparing types; only one that fails there, or is older or newer
    than this release, is gone through field by field.
    """
    count = len(checks)
    names = tuple(make.__dataclass_fields__)  # type: ignore[attr-defined]
    shape = [_SCALARS.get(field) for field in checks]
    others = [(at, field) for at, field in enumerate(checks) if field not in _SCALARS]

    def check(value: Any) -> Any:
        if type(value) is not list:
            raise _wrong(name, value)
        if len(value) < required:
            raise Malformed(f"{name}: {len(value)} fields, at least {required} needed")
        if len(value) > count:
            try:
                _unknown(value[count:])
            except Malformed as error:
                raise Malformed(f"{name}, a field of a newer release: {error}") from error
        try:
            if len(value) == count:
                fields = value.copy()
                kinds: list[type | None] = list(map(type, value))
                for at, field in others:
                    fields[at] = field(value[at])
                    kinds[at] = None
                if kinds == shape:
                    return make(*fields)
            return make(*[field(item) for field, item in zip(checks, value, strict=False)])
        except Malformed as error:
            for field_name, field, item in zip(names, checks, value, strict=False):
                try:
                    field(item)
                except Malformed:
                    raise Malformed(f"{name}.{field_name}: {error}") from error
            raise

    return check


def _union(
    name: str, members: Sequence[tuple[type, str, Check]]
) -> tuple[Callable[[Any], list[Any]], Check]:
    """(to wire, from wire) of a closed union: `[tag, field, …]`."""
    tags = {cls: tag for cls, tag, _ in members}
    checks = {tag: check for _, tag, check in members}
    names = {cls: tuple(cls.__dataclass_fields__) for cls, _, _ in members}  # type: ignore[attr-defined]

    def to_wire(value: Any) -> list[Any]:
        cls = type(value)
        return [tags[cls], *[getattr(value, field) for field in names[cls]]]

    def from_wire(value: Any) -> Any:
        # A list is no tag, and would not even hash.
        if (
            type(value) is not list
            or not value
            or type(value[0]) is not str
            or value[0] not in checks
        ):
            raise Malformed(f"{name}: unknown tag {str(value)[:40]!r}")
        return checks[value[0]](value[1:])

    return to_wire, from_wire


def _ints(value: Any) -> tuple[int, ...]:
    if type(value) is not list:
        raise _wrong("a list of integers", value)
    return tuple([_int(item) for item in value])


def _list_of(check: Check) -> Check:
    def checked(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _wrong("a list", value)
        return tuple([check(item) for item in value])

    return checked


def _content(value: Any) -> Any:
    """What a leaf says; a document, so that no plan lies within a plan."""
    found = _payload(value)
    if type(found) not in CONTENT:
        raise Malformed(f"a leaf carries content, not {type(found).__name__}")
    return found


_leaf = _fields("leaf", Leaf, [_str, _content, _str, _address_or_none, _int, _str, _int], 2)
_group = _fields("group", Group, [_int, _ints], 2)


def _plan_to(plan: Plan) -> list[Any]:
    leaves = [
        [x.kind, _payload_to(x.payload), x.account, _address_to(x.to), x.wait_ms, x.success, x.cost]
        for x in plan.leaves
    ]
    groups = [[group.need, group.members] for group in plan.groups]
    return ["plan", _PACK([leaves, groups, plan.cost_limit, plan.stop_on])]


_plan_fields = _fields("plan", Plan, [_list_of(_leaf), _list_of(_group), _int, _strs], 2)


def _plan(value: Any) -> Any:
    """`[octets]`."""
    if not value or type(value[0]) is not bytes:
        raise _wrong("a packed plan", value)
    _unknown(value[1:])
    return _plan_fields(_unpack(value[0]))


_union_to, _payload = _union(
    "payload",
    [
        (Text, "text", _fields("text", Text, [_str], 1)),
        (
            DeliveryReport,
            "report",
            _fields("report", DeliveryReport, [_str, _one_of(REPORT_STATES), _str, _int], 2),
        ),
        (Notice, "notice", _fields("notice", Notice, [_str, _str, _str], 3)),
        (
            Media,
            "media",
            _fields("media", Media, [_one_of(MEDIA_KINDS), _str, _str, _str, _str], 2),
        ),
        (Link, "link", _fields("link", Link, [_str, _str, _str, _str], 2)),
        (MiniProgram, "mini", _fields("mini program", MiniProgram, [_str, _str, _str, _str], 3)),
        (Card, "card", _fields("card", Card, [_str, _str, _str, _str], 3)),
        (Markdown, "markdown", _fields("markdown", Markdown, [_str], 1)),
        (Native, "native", _fields("native", Native, [_str, _str], 2)),
        (Template, "template", _fields("template", Template, [_str, _int, _str], 1)),
        (Happening, "happening", _fields("happening", Happening, [_str, _str], 2)),
        (
            CreateGroup,
            "create_group",
            _fields("create group", CreateGroup, [_str, _str, _str, _strs], 4),
        ),
        (
            UpdateGroup,
            "update_group",
            _fields("update group", UpdateGroup, [_str, _str, _str, _strs, _strs], 1),
        ),
        (DissolveGroup, "dissolve_group", _fields("dissolve group", DissolveGroup, [_str], 1)),
        (Recall, "recall", _fields("recall", Recall, [_str, _strs], 2)),
        (Pull, "pull", _fields("pull", Pull, [_str, _str], 1)),
        (Plan, "plan", _plan),
        (
            Advance,
            "advance",
            _fields("advance", Advance, [_str, _one_of(NEWS_KINDS), _int, _str, _str, _int], 2),
        ),
        (Signal, "signal", _fields("signal", Signal, [_str, _strs, _str], 2)),
    ],
)


def _payload_to(payload: Payload) -> list[Any]:
    return _plan_to(payload) if type(payload) is Plan else _union_to(payload)


def _octets_or_none(value: Any) -> Any:
    """A payload packed by itself: where it stands it would nest too deep for an older release."""
    if value is None:
        return None
    if type(value) is not bytes:
        raise _wrong("a packed payload", value)
    return _payload(_unpack(value))


_amended = _fields(
    "amended", Amended, [_address_or_none, _str, _octets_or_none, _strs, _str, _str], 6
)


def _amended_or_none(value: Any) -> Any:
    return None if value is None else _amended(value)


def _amended_to(by: Amended) -> list[Any]:
    payload = None if by.payload is None else seal_payload(by.payload)
    return [_address_to(by.to), by.person, payload, by.channels, by.account, by.reservation]


def _outcome_to(outcome: Outcome) -> list[Any]:
    if type(outcome) is Routed:
        if outcome.amended is None:
            return ["routed", outcome.to]
        return ["routed", outcome.to, _amended_to(outcome.amended)]
    return _plain_outcome_to(outcome)


_scope = _one_of(SCOPES)
_plain_outcome_to, _outcome = _union(
    "outcome",
    [
        (Sent, "sent", _fields("sent", Sent, [_strs, _str], 1)),
        (Routed, "routed", _fields("routed", Routed, [_strs, _amended_or_none], 1)),
        (Suppressed, "suppressed", _fields("suppressed", Suppressed, [_str, _str], 1)),
        (Held, "held", _fields("held", Held, [_int, _str, _str, _int], 2)),
        (Retry, "retry", _fields("retry", Retry, [_scope, _str, _seconds, _str], 2)),
        (Unknown, "unknown", _fields("unknown", Unknown, [_str, _strs], 1)),
        (Rejected, "rejected", _fields("rejected", Rejected, [_scope, _str, _str], 3)),
    ],
)


def _address_to(address: Address | None) -> list[str] | None:
    return None if address is None else [address.scheme, address.value]


def _envelope_to(e: Envelope) -> list[Any]:
    out = [
        e.id,
        e.caller,
        [e.to.scheme, e.to.value],
        e.category,
        e.tier,
        _payload_to(e.payload),
        e.created_at,
        e.person,
        _address_to(e.sender),
        e.inbound,
        e.account,
        e.channels,
        e.channel,
        e.step,
        e.attempt,
        e.tries,
        e.token_of,
        e.order_key,
        e.not_before,
        e.expires_at,
        e.campaign,
        e.reference,
        e.reply_to,
        e.remote_id,
        e.possibly_duplicate,
        e.trace,
    ]
    named = e.keyid or e.template
    ruled = e.reservation or e.once_key or e.given is not None or e.held_since or named
    if e.chat or e.leaf or ruled:
        out += (e.chat, e.mentions)
    if e.leaf or ruled:
        out.append(e.leaf)
    if ruled:
        out += (e.reservation, e.once_key, _address_to(e.given), e.held_since)
    if named:
        out.append(e.keyid)
    if e.template:
        out.append(e.template)
    return out


_envelope = _fields(
    "envelope",
    Envelope,
    [
        _str,
        _str,
        _address,
        _str,
        _int,
        _payload,
        _int,
        _str,
        _address_or_none,
        _bool,
        _str,
        _strs,
        _str,
        _int,
        _int,
        _int,
        _int,
        _str,
        _int,
        _int,
        _str,
        _str,
        _str,
        _str,
        _bool,
        _str,
        _str,
        _strs,
        _str,
        _str,
        _str,
        _address_or_none,
        _int,
        _str,
        _str,
    ],
    7,
)


def _fact(value: Any) -> tuple[str, str]:
    pair = _strs(value)
    if len(pair) != 2:
        raise Malformed("fact: expected a name and a value")
    return (pair[0], pair[1])


_decision = _fields("decision", Decision, [_str, _str, _str, _str, _int, _list_of(_fact)], 3)


def _decision_to(d: Decision) -> list[Any]:
    return [d.stage, d.rule, d.verdict, d.detail, d.next_at, d.facts]


def _record_to(r: Record) -> list[Any]:
    return [
        r.id,
        r.at,
        r.pipeline,
        _envelope_to(r.envelope),
        _outcome_to(r.outcome),
        [_decision_to(decision) for decision in r.decisions],
        r.subject,
        r.subject_step,
        r.subject_attempt,
        r.status,
        r.subject_caller,
        r.reference,
        r.final,
        r.facts,
    ]


_record = _fields(
    "record",
    Record,
    [
        _str,
        _int,
        _str,
        _envelope,
        _outcome,
        _list_of(_decision),
        _str,
        _int,
        _int,
        _str,
        _str,
        _str,
        _bool,
        _str,
    ],
    5,
)


def seal(item: Item) -> bytes:
    """One item as bytes. Raises Malformed when it is larger than an item may be."""
    data = _PACK(["e", _envelope_to(item)] if type(item) is Envelope else ["r", _record_to(item)])  # type: ignore[arg-type]
    if len(data) > MAX_ITEM:
        raise Malformed(
            f"item of {len(data)} octets: at most {MAX_ITEM}; send large content as media"
        )
    return data  # type: ignore[no-any-return]


def open_sealed(data: bytes) -> Item:
    """Read one sealed item. Raises Malformed."""
    if len(data) > MAX_ITEM:
        raise Malformed(f"item of {len(data)} octets: at most {MAX_ITEM}")
    value = _unpack(data)
    if type(value) is not list or len(value) != 2:
        raise Malformed("sealed item: expected [kind, fields]")
    if value[0] == "e":
        return _envelope(value[1])  # type: ignore[no-any-return]
    if value[0] == "r":
        return _record(value[1])  # type: ignore[no-any-return]
    raise Malformed(f"sealed item of unknown kind {str(value[0])[:20]!r}")


def seal_payload(payload: Payload) -> bytes:
    """A payload alone, to be measured."""
    return _PACK(_payload_to(payload))  # type: ignore[no-any-return]


def seal_outcome(outcome: Outcome) -> bytes:
    """An outcome alone, as State stores it."""
    return _PACK(_outcome_to(outcome))  # type: ignore[no-any-return]


def open_outcome(data: bytes) -> Outcome:
    """Read what `seal_outcome` wrote. Raises Malformed."""
    return _outcome(_unpack(data))  # type: ignore[no-any-return]


def pack_frame(sealed: Sequence[bytes]) -> bytes:
    """Join 1-100 sealed items into a frame. Raises ValueError when the caller put in more than a frame holds."""
    if not 1 <= len(sealed) <= MAX_ITEMS:
        raise ValueError(f"{len(sealed)} items: a frame holds 1-{MAX_ITEMS}")
    body: bytes = bytes([VERSION]) + _PACK(list(sealed))
    if len(body) > MAX_FRAME:
        raise ValueError(f"frame of {len(body)} octets: at most {MAX_FRAME}")
    return body


def unpack_frame(body: bytes) -> list[bytes]:
    """The sealed items of a frame, unread. Raises Malformed."""
    if not body or body[0] != VERSION:
        raise Malformed(
            f"frame version {body[0] if body else 'none'}: this release reads {VERSION}"
        )
    if len(body) > MAX_FRAME:
        raise Malformed(f"frame of {len(body)} octets: at most {MAX_FRAME}")
    items = _unpack(body[1:])
    if type(items) is not list or not 1 <= len(items) <= MAX_ITEMS:
        raise Malformed(f"frame: expected a list of 1-{MAX_ITEMS} items")
    for item in items:
        if type(item) is not bytes:
            raise _wrong("a sealed item", item)
    return items


__all__ = [
    "MAX_FRAME",
    "MAX_ITEM",
    "MAX_ITEMS",
    "VERSION",
    "Item",
    "Payload",
    "open_outcome",
    "open_sealed",
    "pack_frame",
    "seal",
    "seal_outcome",
    "unpack_frame",
]
