"""Directory: how the accounts are at run time; takes what adapters report, keeps it, raises the alarm, keeps revocations in force."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

from msgcenter.bus import Bus, BusError
from msgcenter.bus.topology import INBOUND, place
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.metrics import Metrics
from msgcenter.settle import frames, publish_frames
from msgcenter.state import State, StateError, Suppression
from msgcenter.store import AccountRow, Health, StoreError
from msgcenter.store.store import Store
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.payload import Happening

REVOKED = "account_revoked"
"""Why the queued messages of a revoked account were not sent."""
HAPPENING = "account_state"
FLUSH_S = 1.0
REFRESH_S = 5.0
HEALTHS: tuple[Health, ...] = get_args(Health)
ALARMS = frozenset({"down", "banned"})


def gate(account: str) -> str:
    return f"account:{account}"


class Directory:
    """One per process. `say` is what `Port.account_state` calls; `rows` is what the API shows, seconds old at most."""

    def __init__(
        self,
        current: Callable[[], Config],
        *,
        bus: Bus,
        state: State,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        log: Any,
        partitions: int,
    ) -> None:
        self._current = current
        self._bus = bus
        self._state = state
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._partitions = partitions
        self._rows: dict[str, AccountRow] = {}
        self._said: dict[str, tuple[AccountRow, str]] = {}
        self._shown: set[tuple[str, str]] = set()
        self._watched: set[str] = set()

    @property
    def rows(self) -> Mapping[str, AccountRow]:
        return self._rows

    def say(self, channel: str, account: str, state: str, detail: str = "") -> None:
        """An adapter's word on one of its accounts: `up`, `down` (its login is lost), `limited`, `banned`. Cheap; kept within
        a second. The same word again is no news. Raises ValueError for another word."""
        if state not in HEALTHS or not state:
            raise ValueError(f"account state {state!r}: one of {', '.join(HEALTHS[1:])}")
        configured = self._current().accounts.get(account)
        if configured is None or configured.channel != channel:
            self._log.warning("account_not_configured", channel=channel, account=account)
            return
        before = self._rows.get(account) or AccountRow(account, channel)
        if (before.health, before.detail) == (state, detail):
            return
        since = self._clock.now_ms() if before.health != state else before.since
        row = replace(before, channel=channel, health=state, detail=detail, since=since)
        self._rows[account] = row
        was = self._said[account][1] if account in self._said else before.health
        self._said[account] = (row, was)
        if state != before.health:
            alarm = state in ALARMS
            say = self._log.error if alarm else self._log.info
            say("account_state", channel=channel, account=account, state=state, detail=detail)

    async def restore(self) -> None:
        """Put every revocation into State again: it may have been lost, and a revoked account must stay silent. Raises
        StateError, StoreError."""
        await self.refresh()
        revoked = [row.name for row in self._rows.values() if row.revoked_at]
        if revoked:
            await self._state.suppress([Suppression(gate(name), REVOKED) for name in revoked])

    async def revoke(self, account: str, by: str) -> None:
        """Stop what is queued in its name, at once and until `allow`. State before Store: whatever fails, it is silent."""
        await self._state.suppress([Suppression(gate(account), REVOKED)])
        await self._store.revoke_account(account, self._clock.now_ms(), by)
        await self.refresh()

    async def allow(self, account: str) -> None:
        """Take a revocation back. Store before State: whatever fails, it is silent."""
        await self._store.revoke_account(account, 0, "")
        await self._state.unsuppress([gate(account)])
        await self.refresh()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep what was said, tell of changes, look what other processes know."""
        next_refresh = 0.0
        while not stop.is_set():
            try:
                await self.flush()
                if self._clock.monotonic() >= next_refresh:
                    await self.refresh()
                    next_refresh = self._clock.monotonic() + REFRESH_S
            except (BusError, StateError, StoreError) as error:
                self._log.info("directory_waits", error=error)
            try:
                async with asyncio.timeout(FLUSH_S):
                    await stop.wait()
            except TimeoutError:
                continue
        if self._said:
            try:
                await self.flush()
            except (BusError, StoreError) as error:
                self._log.warning("account_states_not_kept", error=error)

    async def flush(self) -> None:
        """Publish the events, then keep the rows. Raises BusError, StoreError: what was said is then kept for the next try."""
        said = dict(self._said)
        if not said:
            return
        groups: dict[Any, list[bytes]] = {}
        for row, was in said.values():
            envelope = self._event(row, was)
            if envelope is not None:
                queue = place(INBOUND, envelope, self._partitions)
                groups.setdefault(queue, []).append(wire.seal(envelope))
        out = [frame for queue, sealed in groups.items() for frame in frames(queue, sealed)]
        await publish_frames(self._bus, out)
        await self._store.save_health([row for row, _ in said.values()])
        for name, one in said.items():
            if self._said.get(name) is one:
                del self._said[name]

    async def refresh(self) -> None:
        """Read what all processes know and set the gauges. Raises StoreError."""
        rows = await self._store.account_states()
        for name, (row, _) in self._said.items():
            known = rows.get(name, row)
            rows[name] = replace(
                known, channel=row.channel, health=row.health, detail=row.detail, since=row.since
            )
        self._rows = rows
        self._count_silent(rows)
        count: Counter[tuple[str, str]] = Counter(dict.fromkeys(self._shown, 0))
        for name, account in self._current().accounts.items():
            found = rows.get(name)
            state: str = "unknown" if found is None or not found.health else found.health
            if found is not None and found.revoked_at:
                state = "revoked"
            count[account.channel, state] += 1
        self._shown = set(count)
        for (channel, state), number in count.items():
            self._metrics.accounts.labels(channel, state).set(number)

    def _count_silent(self, rows: Mapping[str, AccountRow]) -> None:
        """Of the channels that say when an account counts as silent: how many are. One that never had a message, is retired,
        revoked or down is not silent: its state says what is the matter."""
        config, now = self._current(), self._clock.now_ms()
        watched = {
            name: one.silent_after for name, one in config.channels.items() if one.silent_after
        }
        silent = dict.fromkeys(watched, 0)
        for name, account in config.accounts.items():
            row, after = rows.get(name), watched.get(account.channel)
            if row is None or after is None or account.state != "active" or row.revoked_at:
                continue
            last = max(row.last_in, row.last_out)
            if last and row.health not in ALARMS and now - last > after * 1000:
                silent[account.channel] += 1
        for channel in self._watched - set(watched):
            self._metrics.accounts_silent.remove(channel)
        self._watched = set(watched)
        for channel, number in silent.items():
            self._metrics.accounts_silent.labels(channel).set(number)

    def _event(self, row: AccountRow, was: str) -> Envelope | None:
        """News for whoever receives what arrives for the account; that it came up for the first time is none."""
        account = self._current().accounts.get(row.name)
        if account is None or row.health == was or (not was and row.health == "up"):
            return None
        body = {
            "account": row.name,
            "channel": row.channel,
            "state": row.health,
            "was": was,
            "detail": row.detail,
            "since": row.since,
        }
        return Envelope(
            id=f"msg_{hashed('account', row.name, row.health, row.since)}",
            caller="",
            to=Address("caller", "unassigned"),
            category="inbound",
            tier=1,
            payload=Happening(HAPPENING, json.dumps(body, ensure_ascii=False)),
            created_at=self._clock.now_ms(),
            inbound=True,
            account=account.far_name,
            channel=row.channel,
            order_key=f"account|{row.name}",
        )
