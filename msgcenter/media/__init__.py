"""The media store: files that messages carry, kept once by the hash of their content; messages hold an id (`med_…`), a claim check."""

from __future__ import annotations

from msgcenter.media.folder import MediaError, MediaStore
from msgcenter.media.kinds import MediaRefused, TooLarge, suits
from msgcenter.media.links import Links

__all__ = ["Links", "MediaError", "MediaRefused", "MediaStore", "TooLarge", "suits"]
