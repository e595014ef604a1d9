"""Doctor: look at everything one process of msgcenter stands on, and say of each fault what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgcenter.clock import Clock
from msgcenter.config import Config, ConfigErrors

Level = Literal["ok", "warn", "fail"]
"""`fail`: messages can be lost, doubled or stopped by it. `warn`: it will be, or it hides something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `check`: a stable name, `redis.policy`; `said`: what is so; `remedy`: what to do, empty when ok."""

    check: str
    level: Level
    said: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        out = {"check": self.check, "level": self.level, "said": self.said}
        return out | ({"remedy": self.remedy} if self.remedy else {})


def ok(check: str, said: str) -> Finding:
    return Finding(check, "ok", said)


def warn(check: str, said: str, remedy: str) -> Finding:
    return Finding(check, "warn", said, remedy)


def fail(check: str, said: str, remedy: str) -> Finding:
    return Finding(check, "fail", said, remedy)


@dataclass(slots=True)
class Look:
    """What the checks look at; what an earlier one found out (`skews`, `tables`) later ones use.

    `config` is None when the files cannot be read: then only what needs no configuration is looked at. `patience_s`: how
    long a server may take for an answer.
    """

    folder: Path | None
    env: Mapping[str, str]
    config: Config | None
    errors: ConfigErrors | None
    clock: Clock
    patience_s: float = 5.0
    skews: dict[str, float] = field(default_factory=dict)
    """Server -> seconds that its clock is ahead of ours."""
    tables: bool = False
    """Whether the Store can be read: it is there, and of this release."""

    @property
    def process(self) -> Any:
        """The `msgcenter.yaml` in force. Only for checks that need a configuration."""
        assert self.config is not None
        return self.config.process


Check = Callable[[Look], AsyncIterator[Finding] | Iterator[Finding]]
"""Asynchronous where a server is asked."""


def checks(look: Look) -> list[Check]:
    """All that can be looked at, in the order of the report: the files, this machine, the servers, what is stored."""
    from msgcenter.doctor import files, machine, servers, stored

    always: list[Check] = [files.settings, machine.runtime, machine.limits]
    if look.config is None:
        return always
    return [
        *always,
        files.holidays,
        files.secrets,
        machine.data,
        machine.disk,
        servers.redis,
        servers.rabbit,
        servers.postgres,
        servers.clocks,
        stored.server,
        stored.files,
        stored.tables,
        stored.keys,
        stored.backlogs,
        stored.accounts,
    ]


async def examine(look: Look) -> AsyncIterator[Finding]:
    """The findings as they are made, so that a slow server is waited for with something to read."""
    for check in checks(look):
        findings = check(look)
        if isinstance(findings, AsyncIterator):
            async for finding in findings:
                yield finding
        else:
            for finding in findings:
                yield finding
