"""Meta: the few facts of a message that State keeps beside its status, so that it can be answered
before any archive has it."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from protocols.envelope import Envelope
from protocols.errors import Malformed


@dataclass(frozen=True, slots=True)
class Meta:
    """Times are epoch milliseconds UTC, 0 = none; `channels` are kinds."""

    caller: str
    to: str
    category: str
    created_at: int
    expires_at: int = 0
    not_before: int = 0
    reference: str = ""
    campaign: str = ""
    account: str = ""
    channels: tuple[str, ...] = ()
    order_key: str = ""

    @classmethod
    def of(cls, envelope: Envelope) -> Meta:
        return cls(
            envelope.caller,
            str(envelope.to),
            envelope.category,
            envelope.created_at,
            envelope.expires_at,
            envelope.not_before,
            envelope.reference,
            envelope.campaign,
            envelope.account,
            envelope.channels,
            envelope.order_key,
        )


_PACK = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def seal_meta(envelope: Envelope) -> bytes:
    """The meta of an envelope as State keeps it: msgpack, fields by position; later releases may
    append."""
    to = envelope.to
    return _PACK(  # type: ignore[no-any-return]
        (
            envelope.caller,
            f"{to.scheme}:{to.value}",
            envelope.category,
            envelope.created_at,
            envelope.expires_at,
            envelope.not_before,
            envelope.reference,
            envelope.campaign,
            envelope.account,
            envelope.channels,
            envelope.order_key,
        )
    )


def open_meta(data: bytes) -> Meta:
    """Read what `seal_meta` wrote. Raises Malformed."""
    try:
        fields = msgpack.unpackb(data, use_list=False, raw=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise Malformed(f"meta is not msgpack: {type(error).__name__}") from error
    if not isinstance(fields, tuple) or len(fields) < 4:
        raise Malformed("meta: expected a list of at least 4 fields")
    return Meta(*fields[:11])
