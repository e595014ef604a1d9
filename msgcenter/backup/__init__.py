"""Backup and restore: one file that holds a whole deployment's configuration and data, and what the way back has to mind.

`make` writes it, `restore` reads it; `pending` marks what may have left since, `gaps` says what a restore has lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

FORMAT = "msgcenter.backup"
VERSION = 1
MANIFEST = "manifest.json"
DATABASES = ("bus", "state", "store")
"""In the order in which they are copied: claims must be newer than the frames they speak of, or a restore sends twice."""
CHUNK = 1 << 20

Progress = Callable[[str, int, int], None]
"""Told of work under way: (part, done, of), in octets, pages or rows; `of` 0 = nobody knows."""


def quiet(_: str, __: int, ___: int) -> None:
    """No progress wanted."""


class BackupError(RuntimeError):
    """The backup cannot be made or used; the text says which file, what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup. `name`: its path in the archive; `size` octets."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `made_at`: epoch milliseconds, before the first part was read. `revision`: the Store's
    migration. `config_in_data`: where in the data folder the configuration lay, "" = elsewhere."""

    release: str
    made_at: int
    revision: str
    kinds: dict[str, str]
    config_in_data: str
    parts: tuple[Part, ...]

    def as_json(self) -> bytes:
        whole: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(whole, indent=1, ensure_ascii=False).encode()

    @classmethod
    def read(cls, data: bytes) -> Manifest:
        """Raises BackupError."""
        try:
            whole = json.loads(data)
            if whole["format"] != FORMAT:
                raise ValueError(f"format {whole['format']!r}")
            if whole["version"] != VERSION:
                raise BackupError(
                    f"{MANIFEST}: version {whole['version']}, this release reads {VERSION}; use the release that made it"
                )
            return cls(
                str(whole["release"]),
                int(whole["made_at"]),
                str(whole["revision"]),
                {str(k): str(v) for k, v in whole["kinds"].items()},
                _inside(str(whole["config_in_data"]), empty=True),
                tuple(
                    Part(_inside(str(p["name"])), int(p["size"]), str(p["sha256"]))
                    for p in whole["parts"]
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError(
                f"{MANIFEST}: not a backup of msgcenter ({type(error).__name__}: {error}); name another file"
            ) from error


def _inside(name: str, *, empty: bool = False) -> str:
    """A relative path that stays below where it is put."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or (not path.parts and not empty):
        raise ValueError(f"path {name!r} leads out of the folder")
    return name


def digest(path: Path, size: int) -> str:
    """SHA-256 (hex) of the first `size` octets. Raises OSError, and EOFError when there are fewer."""
    out = hashlib.sha256()
    with path.open("rb") as file:
        while size:
            data = file.read(min(CHUNK, size))
            if not data:
                raise EOFError(f"{path} became shorter while it was read")
            out.update(data)
            size -= len(data)
    return out.hexdigest()
