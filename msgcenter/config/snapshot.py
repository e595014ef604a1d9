"""One whole configuration as an immutable value, and what can be asked of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from msgcenter.config.process import ProcessConfig
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    Category,
    ChannelConfig,
    PolicyConfig,
    RoutesConfig,
)

PROCESS_FILE = "msgcenter.yaml"
HOT_FILES = ("channels.yaml", "routes.yaml", "policy.yaml", "callers.yaml", "accounts.yaml")
FILES = (PROCESS_FILE, *HOT_FILES)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file of the configuration as it was read; absent files stand for their defaults."""

    name: str
    path: str
    present: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Config:
    """One whole configuration; take it once per piece of work and keep it for that piece."""

    directory: Path | None
    process: ProcessConfig
    channels: Mapping[str, ChannelConfig]
    settings: Mapping[str, BaseModel]
    """Channel name -> its settings, an instance of the adapter's own model."""
    routes: RoutesConfig
    policy: PolicyConfig
    callers: Mapping[str, CallerConfig]
    accounts: Mapping[str, AccountConfig]
    files: tuple[FileInfo, ...]
    hash: str
    """Of the text of all files: equal on two processes that read the same folder."""
    rules_hash: str
    """Of the hot files alone: equal over all processes of a deployment that follow the same
    rules."""
    loaded_at: int
    """Epoch milliseconds."""
    generation: int = 1
    """1 at start, +1 with every swap in this process."""
    watched: tuple[Path, ...] = ()
    """Secret files that were read."""
    restart_needed: tuple[str, ...] = ()
    """Keys of msgcenter.yaml that differ from what this process was started with."""
    identity: str = field(default="", repr=False)
    """Changes when anything does, secrets included; never shown."""

    def category(self, name: str) -> Category:
        """Raises KeyError for an unknown category."""
        return self.policy.categories[name]

    def channel_for(self, kind: str, category: str = "", caller: str = "") -> str | None:
        """The channel that a message of this kind goes out by: the first route that fits, else the
        kind's only enabled channel, else None."""
        for route in self.routes.routes:
            if route.kind == kind and route.fits(category, caller):
                return route.channel
        return next(
            (name for name, c in self.channels.items() if c.kind == kind and c.enabled), None
        )

    def follow(self, old: Config) -> Config:
        """This configuration as the successor of a running one: what needs a restart stays as it
        runs."""
        return replace(
            self,
            process=old.process,
            generation=old.generation + 1,
            restart_needed=tuple(differing(old.process, self.process)),
        )

    def effective(self, *, redact: bool = True) -> dict[str, Any]:
        """File name -> the merged content with every default filled in; secrets as `•••`, or as
        their references."""
        context = {"references": not redact}

        def dump(model: BaseModel) -> dict[str, Any]:
            return model.model_dump(mode="json", exclude_none=True, context=context)

        channels = {name: dump(c) for name, c in self.channels.items()}
        for name, settings in self.settings.items():
            channels[name]["settings"] = dump(settings)
        return {
            PROCESS_FILE: dump(self.process),
            "channels.yaml": channels,
            "routes.yaml": dump(self.routes),
            "policy.yaml": {
                "categories": {name: dump(c) for name, c in self.policy.categories.items()}
            },
            "callers.yaml": {name: dump(c) for name, c in self.callers.items()},
            "accounts.yaml": {name: dump(c) for name, c in self.accounts.items()},
        }


def differing(old: BaseModel, new: BaseModel, prefix: str = "") -> Iterator[str]:
    """Dotted names of the fields in which two models of one type differ."""
    for name in type(old).model_fields:
        a, b = getattr(old, name), getattr(new, name)
        if isinstance(a, BaseModel) and type(a) is type(b):
            yield from differing(a, b, f"{prefix}{name}.")
        elif a != b:
            yield f"{prefix}{name}"


def fingerprint(directory: Path | None, watched: Sequence[Path] = ()) -> str:
    """Changes when a file of the folder, or a secret file in `watched`, changes in content,
    presence or mode.

    Content, not times: an editor may restore a time, Kubernetes swaps a symlink above the files,
    and the files are few and small.
    """
    digest = hashlib.sha256()
    paths = [directory / name for name in FILES] if directory else []
    for path in (*paths, *watched):
        digest.update(str(path).encode())
        try:
            digest.update(
                f"\0{path.stat().st_mode}\0".encode() + hashlib.sha256(path.read_bytes()).digest()
            )
        except OSError as e:
            digest.update(f"\0{e.errno}\0".encode())
    return digest.hexdigest()
