"""What two configurations say differently, rule by rule and in words, whatever order or spelling their files have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgcenter.config.snapshot import CITIES, PROCESS_FILE, Config

What = Literal["added", "changed", "removed"]

#: Section of a file -> what one entry of it is called.
_ENTRIES = {
    "policy.yaml": {
        "categories": "category",
        "quiet": "quiet time",
        "caps": "cap",
        "consent": "consent rule",
        "content": "content rule",
        "opt_out": "opt-out words",
        "approvals": "approval rule",
    },
    "words.yaml": {"lists": "word list"},
    "holidays.yaml": {"days": "day"},
}
#: Files that are entries by name from the top.
_NAMED = {"channels.yaml": "channel", "callers.yaml": "caller", "accounts.yaml": "account"}
#: Files whose change decides held messages anew.
RULES = ("policy.yaml", "words.yaml", "holidays.yaml", "routes.yaml")
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One rule that differs. `details`: for a changed one, each field in words (`limit 3 -> 4`)."""

    file: str
    what: What
    rule: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f": {'; '.join(self.details)}" if self.details else ""
        return f"{self.rule} {self.what}{told}"


def diff(old: Config, new: Config) -> list[Change]:
    """Every difference that means something, by file; secrets are compared by where they come from."""
    before, after = old.effective(redact=False), new.effective(redact=False)
    out: list[Change] = []
    for file in dict.fromkeys((*before, *after)):
        if file == PROCESS_FILE:
            continue
        out += _file(file, before.get(file), after.get(file))
    return out


def touches_rules(changes: Sequence[Change]) -> bool:
    """Whether held messages would be decided anew."""
    return any(one.file in RULES or one.file.startswith(f"{CITIES}/") for one in changes)


def _file(file: str, old: Any, new: Any) -> Iterator[Change]:
    if file.startswith(f"{CITIES}/"):
        if old is None or new is None:
            yield Change(file, "added" if old is None else "removed", f"city {file}")
            return
        sections = {"quiet": "quiet time", "caps": "cap"}
        yield from _sections(file, old, new, sections)
    elif file in _NAMED:
        yield from _entries(file, _NAMED[file], old or {}, new or {})
    elif file == "routes.yaml":
        yield from _routes(file, old["routes"], new["routes"])
        yield from _sections(file, {**old, "routes": 0}, {**new, "routes": 0}, {})
    else:
        yield from _sections(file, old, new, _ENTRIES.get(file, {}))


def _sections(
    file: str, old: Mapping[str, Any], new: Mapping[str, Any], sections: Mapping[str, str]
) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        if name in sections:
            yield from _entries(file, sections[name], old.get(name) or {}, new.get(name) or {})
        elif old.get(name) != new.get(name):
            details = tuple(_fields(old.get(name), new.get(name), ""))
            yield Change(file, "changed", f"`{name}`", details)


def _entries(
    file: str, word: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        rule = f"{word} `{name}`"
        if name not in old:
            yield Change(file, "added", rule, (_text(new[name]),))
        elif name not in new:
            yield Change(file, "removed", rule, (_text(old[name]),))
        elif old[name] != new[name]:
            yield Change(file, "changed", rule, tuple(_fields(old[name], new[name], "")))


def _routes(file: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    """Routes have no names and their order counts: what is the same in both is found by its content."""
    before, after = [_text(one, 400) for one in old], [_text(one, 400) for one in new]
    for number, one in enumerate(before, 1):
        if one not in after:
            yield Change(file, "removed", f"route {number}", (one,))
    for number, one in enumerate(after, 1):
        if one not in before:
            yield Change(file, "added", f"route {number}", (one,))
    kept_before = [one for one in before if one in after]
    kept_after = [one for one in after if one in before]
    if kept_before != kept_after:
        yield Change(file, "changed", "the order of routes", ("the first that fits wins",))


def _fields(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from _fields(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif old == new:
        return
    elif _plain(old) and _plain(new):
        gone = [one for one in old if one not in new]
        came = [one for one in new if one not in old]
        told = [f"without {_text(gone)}"] if gone else []
        told += [f"with {_text(came)}"] if came else []
        yield f"{path} {' and '.join(told) or 'in another order'}".strip()
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (one, other) in enumerate(zip(old, new, strict=True), 1):
            yield from _fields(one, other, f"{path}[{at}]")
    else:
        yield f"{path} {_text(old)} -> {_text(new)}".strip()


def _plain(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(one, dict | list) for one in value)


def _text(value: Any, most: int = _SHOWN) -> str:
    if value is None:
        return "nothing"
    written = json.dumps(value, ensure_ascii=False, default=str).replace('"', "")
    text = value if isinstance(value, str) else written
    return text if len(text) <= most else f"{text[: most - 1]}…"
