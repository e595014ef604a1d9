"""Accept: a validated request becomes an Envelope, or the list of everything that is wrong with
it.

A little long, for the checks of one request read one another's results and must report together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgcenter.api.content import PAYLOADS, AnyContent, TemplateContent, files_of
from msgcenter.api.models import MessageRequest
from msgcenter.api.planning import Planner, contents_of
from msgcenter.api.problems import Fault
from msgcenter.api.recipient import read_recipient
from msgcenter.api.strict import Invalid
from msgcenter.api.templating import template_fits, versions_of
from msgcenter.api.terms import REPLY, Plan, Terms, Wish
from msgcenter.clock import ALPHABET, Clock, IdFactory, base32, shard_of
from msgcenter.customers import Person
from msgcenter.media import suits
from msgcenter.plans import kinds_of
from msgcenter.store import GroupRow, MediaRow, MessageRow
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed

DAY_MS = 86_400_000
PAST_TOLERANCE_MS = DAY_MS
"""A repeat of an accepted request may come after its send_at; only a time further back is surely a
mistake."""
MAX_PLAN_OCTETS = 128 * 1024
"""Of all that the steps of a plan say; each is kept with what it says."""
MOST_AHEAD_MS = 366 * DAY_MS


class Refused(Exception):
    """The request cannot be accepted; `faults` says why, all at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


class Acceptor:
    """Makes envelopes. Reads no far side: inbound messages that are replied to come in as rows."""

    def __init__(self, clock: Clock, ids: IdFactory) -> None:
        self._clock = clock
        self._ids = ids

    def envelope(
        self,
        request: MessageRequest,
        terms: Terms,
        *,
        trace: str = "",
        replies: Mapping[str, MessageRow] | None = None,
        files: Mapping[str, MediaRow] | None = None,
        groups: Mapping[str, GroupRow] | None = None,
        rooms: Mapping[str, GroupRow] | None = None,
        people: Mapping[str, Person] | None = None,
        batch: tuple[str, int] | None = None,
        key: str = "",
    ) -> Envelope:
        """`people`: the customers named as recipients, by id. `rooms`: by the message replied to, the group it was said in.
        `files`: those of the request's files that the caller may use. `groups`: by id, those that
        the caller may write to.

        `batch`: (batch id, index) makes the message's id follow from them, so that a repeat
        makes the same ids. `key`: id of the API key in use.

        Raises Refused.
        """
        faults: list[Fault] = []
        category, channels, account = request.category, request.channels, request.from_
        order_key = f"{terms.name}/{request.order_key}" if request.order_key else ""
        to: Address | None
        room: GroupRow | None = None
        if request.reply_to is None:
            to = _recipient(request.to, faults)
        else:
            row = (replies or {}).get(request.reply_to)
            room = (rooms or {}).get(request.reply_to)
            to, channels, account = self._reply(request, row, room, terms, faults)
            category = category or REPLY
            if row is not None:
                order_key = order_key or row.order_key
        if to is not None and to.scheme == "group":
            group = room or (groups or {}).get(to.value)
            if group is None:
                raise Refused([*faults, Fault("to", "group_unknown", request.to or "")])
            channels, account = _to_group(request, group, terms, faults)
            order_key = to.value
        at = self._clock.now_ms()
        if request.send_at is not None:
            at = max(at, round(request.send_at.timestamp() * 1000))
        who = None
        if to is not None and to.scheme == "customer":
            who = (people or {}).get(to.value)
            if who is None:
                faults.append(Fault("to", "customer_unknown", request.to or ""))
        for path, content in contents_of(request):
            _files_fit(content, files or {}, faults, path)
            if isinstance(content, TemplateContent):
                template_fits(content, terms.config, account, at, faults, path)
        if request.plan is not None:
            return self._planned(request, to, who, terms, faults, at, trace, batch, key)
        content = request.content
        payload = content.payload()
        wish = Wish(
            to.scheme if to is not None else None,
            category,
            tuple(channels) if channels is not None else None,
            account,
            type(payload),
            content.type,
            versions_of(content, terms.config, at),
        )
        plan = terms.plan(wish)
        now = self._clock.now_ms()
        not_before = 0
        if request.send_at is not None:
            not_before = _send_at(request.send_at, now, faults)
        if faults or to is None or not isinstance(plan, Plan):
            raise Refused([*faults, *(() if isinstance(plan, Plan) else plan)])
        person = who.key if who is not None else f"{to.scheme}:{to.value}"
        life = plan.life_ms if request.expires_in is None else round(request.expires_in * 1000)
        return Envelope(
            id=self._ids.message(person) if batch is None else batch_item_id(*batch, person),
            caller=terms.name,
            to=to,
            category=category or terms.caller.defaults.category or "",
            tier=plan.tier,
            payload=payload,
            created_at=now,
            person=person,
            account=plan.account,
            channels=_preferred(plan.kinds, channels, who),
            order_key=order_key,
            not_before=not_before,
            expires_at=(not_before or now) + life,
            campaign=request.campaign or "",
            reference=request.reference or "",
            reply_to=request.reply_to or "",
            once_key=request.once_key or "",
            trace=trace,
            keyid=key,
        )

    def _planned(
        self,
        request: MessageRequest,
        to: Address | None,
        who: Person | None,
        terms: Terms,
        faults: list[Fault],
        at: int,
        trace: str,
        batch: tuple[str, int] | None,
        key: str,
    ) -> Envelope:
        """The first pass of a message that a plan sends. Raises Refused."""
        assert request.plan is not None
        planner = Planner(request, to, terms, faults, at)
        plan = planner.plan(request.plan)
        now = self._clock.now_ms()
        not_before = 0
        if request.send_at is not None:
            not_before = _send_at(request.send_at, now, faults)
        way = planner.way
        if faults or to is None or plan is None or way is None:
            raise Refused(faults)
        person = who.key if who is not None else str(to)
        message = self._ids.message(person) if batch is None else batch_item_id(*batch, person)
        life = way.life_ms if request.expires_in is None else round(request.expires_in * 1000)
        envelope = Envelope(
            id=message,
            caller=terms.name,
            to=to,
            category=request.category or terms.caller.defaults.category or "",
            tier=way.tier,
            payload=plan,
            created_at=now,
            person=person,
            channels=kinds_of(plan),
            order_key=message,
            not_before=not_before,
            expires_at=(not_before or now) + life,
            campaign=request.campaign or "",
            reference=request.reference or "",
            once_key=request.once_key or "",
            trace=trace,
            keyid=key,
        )
        if len(wire.seal_payload(plan)) > MAX_PLAN_OCTETS:
            raise Refused([Fault("plan", "too_long", facts={"limit": f"{MAX_PLAN_OCTETS} octets"})])
        return envelope

    def also_wrong(
        self, invalid: Invalid, terms: Terms, replies: Mapping[str, MessageRow] | None = None
    ) -> list[Fault]:
        """All faults of a body that is not even a MessageRequest: its form, and the meaning of what
        could be read."""
        faults = list(invalid.faults)
        if not isinstance(invalid.data, dict):
            return faults
        wrong = {fault.field.partition(".")[0].partition("[")[0] for fault in faults}
        fields: dict[str, Any] = {
            name: invalid.data.get(name) if name not in wrong else None
            for name in ("to", "category", "channels", "from", "reply_to")
        }
        content = invalid.data.get("content")
        kind = content.get("type") if isinstance(content, dict) else None
        kind = kind if isinstance(kind, str) and kind in PAYLOADS else "text"
        extra: list[Fault] = []
        to = None
        if "to" not in wrong and fields["reply_to"] is None:
            to = _recipient(fields["to"], extra)
        planned = invalid.data.get("plan") is not None
        if not planned and fields["reply_to"] is None and (to is None or to.scheme != "group"):
            wish = Wish(
                to.scheme if to is not None else None,
                fields["category"],
                tuple(fields["channels"]) if fields["channels"] is not None else None,
                fields["from"],
                PAYLOADS[kind],
                kind,
            )
            plan = terms.plan(wish)
            if not isinstance(plan, Plan):
                extra += [f for f in plan if _root(f) not in wrong]
        return faults + extra

    def _reply(
        self,
        request: MessageRequest,
        row: MessageRow | None,
        room: GroupRow | None,
        terms: Terms,
        faults: list[Fault],
    ) -> tuple[Address | None, list[str] | None, str | None]:
        for name, value in (
            ("to", request.to),
            ("channels", request.channels),
            ("from", request.from_),
        ):
            if value is not None:
                faults.append(Fault(name, "reply_conflict", value))
        channel = terms.config.channels.get(row.channel) if row is not None else None
        if row is None or channel is None:
            faults.append(Fault("reply_to", "reply_unknown", request.reply_to or ""))
            return None, None, None
        if row.chat:
            if room is None:
                faults.append(Fault("reply_to", "reply_unknown", request.reply_to or ""))
                return None, None, None
            return Address("group", room.id), None, None
        if channel.accounts_of is not None:  # it only read along
            channel = terms.config.channels[channel.accounts_of]
        try:
            to = Address.parse(row.address)
        except Malformed:
            faults.append(Fault("reply_to", "reply_unknown", request.reply_to or ""))
            return None, None, None
        return to, [channel.kind], row.account or None


def _files_fit(
    content: AnyContent, files: Mapping[str, MediaRow], faults: list[Fault], path: str = ""
) -> None:
    for name, (media, kind) in files_of(content).items():
        field = path + name
        row = files.get(media)
        if row is None:
            faults.append(Fault(field, "media_unknown", media))
        elif not suits(kind, row.mime):
            faults.append(Fault(field, "media_kind", media, {"type": row.mime, "kind": kind}))


def _to_group(
    request: MessageRequest, row: GroupRow, terms: Terms, faults: list[Fault]
) -> tuple[list[str], str | None]:
    """The one kind and the account by which a group is written to."""
    if row.state in ("dissolving", "dissolved", "failed"):
        faults.append(Fault("to", "group_closed", request.to or "", {"state": row.state}))
    for name, value in (
        ("channels", request.channels),
        ("from", request.from_),
        ("order_key", request.order_key),
    ):
        if value is not None and value not in ([row.kind], row.account):
            faults.append(Fault(name, "group_conflict", value))
    return [kind_of(row, terms)], row.account or None


def kind_of(row: GroupRow, terms: Terms) -> str:
    """The kind of the channel that a group lives on, as configured now."""
    channel = terms.config.channels.get(row.channel)
    return channel.kind if channel is not None else row.kind


def _recipient(text: str | None, faults: list[Fault]) -> Address | None:
    if text is None:
        faults.append(Fault("to", "missing", facts={"name": "to"}))
        return None
    read = read_recipient(text)
    if isinstance(read, Fault):
        faults.append(read)
        return None
    return read


def _preferred(
    kinds: tuple[str, ...], asked: list[str] | None, who: Person | None
) -> tuple[str, ...]:
    """The kinds to try; what the customer would rather be reached by first, unless the caller named them."""
    if who is None or asked is not None or not who.preferences.channels:
        return kinds
    rather = who.preferences.channels
    return tuple(sorted(kinds, key=lambda kind: rather.index(kind) if kind in rather else 99))


def _send_at(at: Any, now: int, faults: list[Fault]) -> int:
    ms = round(at.timestamp() * 1000)
    if ms < now - PAST_TOLERANCE_MS:
        faults.append(Fault("send_at", "time_past", at.isoformat()))
    elif ms > now + MOST_AHEAD_MS:
        faults.append(Fault("send_at", "time_far", at.isoformat(), {"limit": "366d"}))
    return ms if ms > now else 0


def _root(fault: Fault) -> str:
    return fault.field.partition(".")[0].partition("[")[0]


def batch_item_id(batch_id: str, index: int, shard_key: str) -> str:
    """The id of one message of a batch with an Idempotency-Key: time of the batch, shard of the
    person, and a hash."""
    digest = hashlib.sha256(f"{batch_id}\x1f{index}\x1f{shard_key}".encode()).digest()
    body = batch_id.partition("_")[2]
    at = body[:10] if len(body) == 26 and set(body) <= set(ALPHABET) else base32(0, 10)
    chance = base32(int.from_bytes(digest[:9], "big"), 14)
    return f"msg_{at}{base32(shard_of(shard_key), 2)}{chance}"


def fingerprint(route: str, body: bytes) -> str:
    """Hash of route and canonical body: what one Idempotency-Key stands for."""
    return hashlib.sha256(route.encode() + b"\x00" + body).hexdigest()[:32]
