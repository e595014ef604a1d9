"""The configuration folder as the doctor sees it: faults, secrets that others can read, years without holidays."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from msgcenter.doctor import Finding, Look, fail, ok, warn
from msgcenter.policy.days import AHEAD

READABLE = stat.S_IRGRP | stat.S_IROTH


def settings(look: Look) -> Iterator[Finding]:
    where = str(look.folder) if look.folder else "built-in defaults, no folder"
    if look.errors is not None:
        for problem in look.errors.problems:
            field = f"{problem.path}: " if problem.path else ""
            yield fail("config", f"{problem.mark}  {field}{problem.message}", problem.remedy)
        return
    assert look.config is not None
    yield ok("config", f"{where}, hash {look.config.hash[:12]}")
    if not look.config.callers:
        yield warn(
            "config.callers",
            "callers.yaml names no caller: nobody can send",
            "add one with scopes and categories, then `msgcenter keys create NAME`",
        )
    enabled = [name for name, channel in look.config.channels.items() if channel.enabled]
    if not enabled:
        yield warn(
            "config.channels",
            "no channel is enabled: nothing can be sent",
            "add one to channels.yaml; `msgcenter config schema channels` describes it",
        )


def holidays(look: Look) -> Iterator[Finding]:
    assert look.config is not None
    days = look.config.rules.quiet.days
    today = datetime.fromtimestamp(look.clock.now_ms() / 1000, UTC).date()
    unknown = days.unknown_years(today)
    if not unknown:
        yield ok("config.holidays", f"public holidays are known until {today + AHEAD}")
        return
    years = ", ".join(map(str, unknown))
    yield warn(
        "config.holidays",
        f"the public holidays of {years} are not known: Monday to Friday count as working days",
        "upgrade chinesecalendar, or name the days in holidays.yaml",
    )


def secrets(look: Look) -> Iterator[Finding]:
    """The pepper of the data folder; the files that a configuration names are refused when they are read."""
    path: Path = look.process.data / "pepper"
    if look.process.api.pepper is not None or not path.is_file():
        return
    mode = path.stat().st_mode
    if mode & READABLE:
        yield fail(
            "secrets.pepper",
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}): it keys the hashes of all API keys",
            f"chmod 600 {path}; if others have accounts here, set api.pepper anew and make new keys",
        )
    else:
        yield ok("secrets.pepper", f"{path} can be read by its owner only")
