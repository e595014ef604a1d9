"""The registry as a sink: records of group commands and what far ends tell of groups move the group registry; every record of a
message moves its account's last times, and what is said in a group that nobody here knows makes it known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from msgcenter.archive.sink import SinkContext, SinkError
from msgcenter.groups import after_command, after_happening, body_of, is_command, read_in
from msgcenter.store import StoreError
from msgcenter.store.store import Store
from protocols.envelope import Record
from protocols.outcome import Routed, Sent
from protocols.payload import DeliveryReport, Happening, Notice

MET = 20_000
"""So many groups are remembered as known."""
TOUCH_MS = 1000
"""An account's times are written when they moved on by this much."""


class RegistrySink:
    """Applies records to a Store that the composition root opens and closes. A record that comes again changes nothing."""

    def __init__(
        self,
        name: str,
        store: Store,
        kind_of: Callable[[str], str],
        home_of: Callable[[str], str] = lambda channel: channel,
    ) -> None:
        """`kind_of`: channel -> its kind. `home_of`: channel -> the one whose groups it tells of."""
        self.name = name
        self._store = store
        self._kind_of = kind_of
        self._home_of = home_of
        self._met: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._received: dict[str, int] = {}
        self._sent: dict[str, int] = {}

    async def open(self) -> None:
        """Nothing to get ready."""

    async def write(self, records: Sequence[Record]) -> None:
        """Groups one by one, in order; accounts in one transaction. Raises SinkError."""
        received: dict[str, int] = {}
        sent: dict[str, int] = {}
        try:
            for record in records:
                envelope = record.envelope
                payload = envelope.payload
                if is_command(payload):
                    await self._command(record)
                elif isinstance(payload, Happening):
                    await self._happening(record, payload)
                elif envelope.account and not isinstance(payload, DeliveryReport | Notice):
                    if envelope.inbound and isinstance(record.outcome, Routed):
                        if envelope.chat:
                            await self._meet(record)
                        _later(received, envelope.account, record.at)
                    elif isinstance(record.outcome, Sent):
                        _later(sent, envelope.account, record.at)
            await self._touch(received, sent)
        except StoreError as error:
            raise SinkError(f"{self.name}: {error}") from error

    async def _command(self, record: Record) -> None:
        group = record.envelope.to.value
        await self._store.name_group(group, partial(after_command, record=record))

    async def _happening(self, record: Record, payload: Happening) -> None:
        envelope = record.envelope
        body = body_of(payload)
        if body is None or not isinstance(record.outcome, Routed):
            return
        at = envelope.created_at
        home = self._home_of(envelope.channel)
        new = None
        if payload.kind != "group_dismissed":
            new = read_in(envelope, home, self._kind_of(home), str(body["chat"]), at)
        change = partial(after_happening, kind=payload.kind, body=body, at=at)
        await self._store.see_group(home, str(body["chat"]), change, new)

    async def _meet(self, record: Record) -> None:
        """A message told of a group: an answer to it must find the group."""
        envelope = record.envelope
        home = self._home_of(envelope.channel)
        if (home, envelope.chat) in self._met:
            return
        new = read_in(envelope, home, self._kind_of(home), envelope.chat, envelope.created_at)
        await self._store.see_group(home, envelope.chat, lambda row: None, new)
        self._met[home, envelope.chat] = None
        while len(self._met) > MET:
            self._met.popitem(last=False)

    async def _touch(self, received: dict[str, int], sent: dict[str, int]) -> None:
        news = {n: at for n, at in received.items() if at >= self._received.get(n, 0) + TOUCH_MS}
        sends = {n: at for n, at in sent.items() if at >= self._sent.get(n, 0) + TOUCH_MS}
        if news or sends:
            await self._store.touch_accounts(news, sends)
            self._received.update(news)
            self._sent.update(sends)

    async def close(self) -> None:
        """Nothing of its own to let go of."""


def _later(times: dict[str, int], account: str, at: int) -> None:
    times[account] = max(at, times.get(account, 0))


def make(context: SinkContext) -> RegistrySink:
    """Entry point."""
    return RegistrySink(context.name, context.store, context.kind_of, context.home_of)
