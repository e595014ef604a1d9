"""The channel that takes every message and sends none; it notes, delays, fails, reports on cue."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Port,
    Rejected,
    Report,
    Retry,
    Sent,
    Spec,
    Unavailable,
    Unknown,
    Unreachable,
)
from protocols.address import SCHEMES
from protocols.outcome import Outcome
from protocols.payload import DeliveryReport, Payload, Template

Share = Field(default=0.0, ge=0.0, le=1.0)


class Fail(BaseModel):
    """Shares (0 to 1) of messages that end badly. `unreachable` is a share of batches."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    retry: float = Share
    """Is asked to come again."""
    rejected: float = Share
    """Is refused for good."""
    unknown: float = Share
    """The answer is lost; by even odds the message was taken all the same."""
    unreachable: float = Share
    """Finds nobody there."""
    seed: int | None = None
    """The same seed fails the same way; without one the process's dice are used."""


class Receipts(BaseModel):
    """Report on every message taken, `after_s` seconds later."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    after_s: float = Field(default=0.0, ge=0.0)
    """Seconds from taking to reporting."""
    state: Literal["delivered", "undelivered", "unknown", "read"] = "delivered"
    """What is reported."""


class DevNullSettings(BaseModel):
    """Settings of kind `devnull`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    journal: Path | None = None
    """One JSON line per message taken; several processes may share the file."""
    latency_s: float = Field(default=0.0, ge=0.0)
    """Wait before a batch is taken."""
    answer_s: float = Field(default=0.0, ge=0.0)
    """Wait after a batch was taken: where a crash leaves the outcome unknown."""
    refuse: frozenset[str] = frozenset()
    """Addresses that are refused for good."""
    fail: Fail = Fail()
    """What goes wrong, and how often."""
    receipts: Receipts | None = None
    """Reports on what was taken; none = no reports."""


class DevNull(Adapter):
    """Takes everything. For rigs: `plugged` false, nothing is reached; `lose` answers get lost."""

    spec = Spec(
        kind="devnull",
        title="Nowhere (空设备)",
        payloads=frozenset(get_args(Payload)) - {Template},
        schemes=SCHEMES,
        max_batch=100,
        in_flight=4,
        groups=frozenset({"create", "update", "dissolve"}),
    )
    Settings = DevNullSettings
    settings: DevNullSettings

    def __init__(self, settings: DevNullSettings, port: Port) -> None:
        super().__init__(settings, port)
        self.plugged = True
        self.lose = 0
        self.taken: deque[str] = deque(maxlen=100_000)
        fail = settings.fail
        self._fails = fail.retry + fail.rejected + fail.unknown > 0
        self._dice = port.random if fail.seed is None else Random(fail.seed)  # noqa: S311 - not secret
        self._due: deque[tuple[float, Report]] = deque()

    @classmethod
    def abilities(cls, settings: DevNullSettings) -> Spec:
        if not settings.receipts:
            return cls.spec  # `sent` is the last word
        return replace(cls.spec, receipts=frozenset({settings.receipts.state}))

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Take the batch, or fail as the settings say. The remote id of a message is its token."""
        settings = self.settings
        if settings.latency_s:
            await self.port.clock.sleep(settings.latency_s)
        share = settings.fail.unreachable
        if not self.plugged or (share and self._dice.random() < share):
            raise Unreachable("devnull: told to be out of reach")
        outcomes: list[Outcome] = []
        taken: list[Dispatch] = []
        for item in batch:
            outcome, took = self._decide(item)
            outcomes.append(outcome)
            if took:
                taken.append(item)
        self._take(taken)
        if settings.answer_s:
            await self.port.clock.sleep(settings.answer_s)
        return outcomes

    def _decide(self, item: Dispatch) -> tuple[Outcome, bool]:
        settings = self.settings
        if settings.refuse and str(item.envelope.to) in settings.refuse:
            return Rejected("recipient", "devnull: told to refuse this address", "refused"), False
        if self.lose > 0:
            self.lose -= 1
            return Unknown("devnull: told to lose the answer"), True
        if self._fails:
            dice, fail = self._dice.random(), settings.fail
            if dice < fail.retry:
                return Retry("message", "devnull: told to ask for another try", code="told"), False
            dice -= fail.retry
            if dice < fail.rejected:
                return Rejected("message", "devnull: told to reject", "told"), False
            dice -= fail.rejected
            if dice < fail.unknown:
                return Unknown("devnull: told to lose the answer"), self._dice.random() < 0.5
        return Sent((item.token,)), True

    def _take(self, taken: Sequence[Dispatch]) -> None:
        settings = self.settings
        now = self.port.clock.now_ms()
        self.taken.extend(item.envelope.id for item in taken)
        if settings.journal and taken:
            _append(settings.journal, [_line(item, now) for item in taken])
        if settings.receipts:
            due = self.port.clock.monotonic() + settings.receipts.after_s
            state = settings.receipts.state
            self._due.extend(
                (due, Report(DeliveryReport(item.token, state, "DEVNULL", now), item.envelope.to))
                for item in taken
            )

    async def session(self, up: Callable[[bool], None]) -> None:
        """Up at once; hands on the receipts that are due, again if that failed."""
        if not self.settings.receipts:
            await super().session(up)
            return
        up(True)
        clock = self.port.clock
        while True:
            await clock.sleep(0.02)
            now = clock.monotonic()
            ready = 0
            while ready < min(len(self._due), 100) and self._due[ready][0] <= now:
                ready += 1
            if not ready:
                continue
            try:
                await self.port.emit([self._due[number][1] for number in range(ready)])
            except Unavailable as error:  # the receipts stay
                name = type(error).__name__
                self.port.log.warning("receipts_not_durable", error=name, count=ready)
                await clock.sleep(1.0)
                continue
            for _ in range(ready):
                self._due.popleft()


def _line(item: Dispatch, now: int) -> bytes:
    envelope = item.envelope
    entry: dict[str, Any] = {
        "id": envelope.id,
        "token": item.token,
        "recipient": str(envelope.to),
        "order_key": envelope.order_key,
        "time": now,
    }
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _append(path: Path, lines: Sequence[bytes]) -> None:
    """One write on an O_APPEND descriptor: lines of several processes never mix. Raises OSError."""
    data = b"".join(lines)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(f"{path}: journal took only part of {len(data)} octets")
    finally:
        os.close(descriptor)


__all__ = ["DevNull", "DevNullSettings", "Fail", "Receipts"]
