"""One whole configuration as an immutable value, and what can be asked of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from msgcenter.config.category import Category
from msgcenter.config.policy import CityConfig, HolidaysConfig, PolicyConfig, WordsConfig
from msgcenter.config.process import ProcessConfig
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    ChannelConfig,
    RoutesConfig,
)
from msgcenter.config.templates import TemplateConfig
from msgcenter.policy.rules import Rules
from msgcenter.policy.when import Facts
from msgcenter.templates.book import Book

PROCESS_FILE = "msgcenter.yaml"
HOT_FILES = (
    *("channels.yaml", "routes.yaml", "policy.yaml", "callers.yaml", "accounts.yaml"),
    *("words.yaml", "holidays.yaml"),
)
FILES = (PROCESS_FILE, *HOT_FILES)
#: The folders of the cities' own versions of rules and of templates, one file each.
CITIES, TEMPLATES = "cities", "templates"


def files_in(directory: Path, folder: str) -> list[str]:
    """The files of a folder beside the others, as `FOLDER/NAME.yaml`, in order of name; none if there is no such folder.

    Raises OSError if the folder cannot be read.
    """
    inside = directory / folder
    if not inside.is_dir():
        return []
    return sorted(f"{folder}/{path.name}" for path in inside.iterdir() if path.suffix == ".yaml")


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
    words: WordsConfig
    holidays: HolidaysConfig
    cities: Mapping[str, CityConfig]
    """File name without `.yaml` -> what the city changes."""
    rules: Rules
    """All of these, compiled."""
    templates: Mapping[str, TemplateConfig]
    book: Book
    """The templates, compiled."""
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
    texts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The hot files that are present, as they were read."""
    identity: str = field(default="", repr=False)
    """Changes when anything does, secrets included; never shown."""

    def category(self, name: str) -> Category:
        """Raises KeyError for an unknown category."""
        return self.policy.categories[name]

    def channel_for(self, kind: str, category: str = "", caller: str = "") -> str | None:
        """The channel that a message of this kind goes out by when nothing else is known of it."""
        chosen = self.rules.routing.choose(kind, Facts(category=category, caller=caller))
        return chosen.channel if chosen is not None else None

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
            "policy.yaml": dump(self.policy),
            "words.yaml": dump(self.words),
            "holidays.yaml": dump(self.holidays),
            **{f"{CITIES}/{name}.yaml": dump(c) for name, c in self.cities.items()},
            **{f"{TEMPLATES}/{name}.yaml": dump(t) for name, t in self.templates.items()},
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
    for folder in (CITIES, TEMPLATES) if directory else ():
        assert directory is not None
        try:
            paths += [directory / name for name in files_in(directory, folder)]
        except OSError as e:
            digest.update(f"{folder}\0{e.errno}\0".encode())
    for path in (*paths, *watched):
        digest.update(str(path).encode())
        try:
            digest.update(
                f"\0{path.stat().st_mode}\0".encode() + hashlib.sha256(path.read_bytes()).digest()
            )
        except OSError as e:
            digest.update(f"\0{e.errno}\0".encode())
    return digest.hexdigest()
