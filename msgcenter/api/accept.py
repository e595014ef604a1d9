"""Accept: a validated request becomes an Envelope, or the list of everything that is wrong with
it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgcenter.api.content import PAYLOADS, AnyContent, files_of
from msgcenter.api.models import MessageRequest
from msgcenter.api.problems import Fault
from msgcenter.api.recipient import read_recipient
from msgcenter.api.strict import Invalid
from msgcenter.api.terms import REPLY, Plan, Terms, Wish
from msgcenter.clock import ALPHABET, Clock, IdFactory, base32, shard_of
from msgcenter.media import suits
from msgcenter.store import MediaRow, MessageRow
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed

DAY_MS = 86_400_000
PAST_TOLERANCE_MS = DAY_MS
"""A repeat of an accepted request may come after its send_at; only a time further back is surely a
mistake."""
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
        batch: tuple[str, int] | None = None,
    ) -> Envelope:
        """`files`: those of the request's files that the caller may use. `batch`: (batch id, index)
        makes the message's id follow from them, so that a repeat makes the same ids.

        Raises Refused.
        """
        faults: list[Fault] = []
        category, channels, account = request.category, request.channels, request.from_
        order_key = f"{terms.name}/{request.order_key}" if request.order_key else ""
        to: Address | None
        if request.reply_to is None:
            to = _recipient(request.to, faults)
        else:
            row = (replies or {}).get(request.reply_to)
            to, channels, account = self._reply(request, row, terms, faults)
            category = category or REPLY
            if row is not None:
                order_key = order_key or row.order_key
        content = request.content
        _files_fit(content, files or {}, faults)
        payload = content.payload()
        wish = Wish(
            to.scheme if to is not None else None,
            category,
            tuple(channels) if channels is not None else None,
            account,
            type(payload),
            content.type,
        )
        plan = terms.plan(wish)
        now = self._clock.now_ms()
        not_before = 0
        if request.send_at is not None:
            not_before = _send_at(request.send_at, now, faults)
        if faults or to is None or not isinstance(plan, Plan):
            raise Refused([*faults, *(() if isinstance(plan, Plan) else plan)])
        person = f"{to.scheme}:{to.value}"
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
            channels=plan.kinds,
            order_key=order_key,
            not_before=not_before,
            expires_at=(not_before or now) + life,
            campaign=request.campaign or "",
            reference=request.reference or "",
            reply_to=request.reply_to or "",
            trace=trace,
        )

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
        if fields["reply_to"] is None:
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
        try:
            to = Address.parse(row.address)
        except Malformed:
            faults.append(Fault("reply_to", "reply_unknown", request.reply_to or ""))
            return None, None, None
        return to, [channel.kind], row.account or None


def _files_fit(content: AnyContent, files: Mapping[str, MediaRow], faults: list[Fault]) -> None:
    for field, (media, kind) in files_of(content).items():
        row = files.get(media)
        if row is None:
            faults.append(Fault(field, "media_unknown", media))
        elif not suits(kind, row.mime):
            faults.append(Fault(field, "media_kind", media, {"type": row.mime, "kind": kind}))


def _recipient(text: str | None, faults: list[Fault]) -> Address | None:
    if text is None:
        faults.append(Fault("to", "missing", facts={"name": "to"}))
        return None
    read = read_recipient(text)
    if isinstance(read, Fault):
        faults.append(read)
        return None
    return read


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
