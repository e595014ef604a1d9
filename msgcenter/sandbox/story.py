"""The narrator: prints what happens as a story, and every claim with the verdict of checking it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from msgcenter.wording import decision_words

WIDTH = 150
STOPS = frozenset(
    {"wait", "hold", "held", "merge", "merged"}
    | {"refuse", "drop", "review", "rejected", "suppressed"}
)
"""Verdicts that keep a message from leaving."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something said about the product, and whether it was so."""

    chapter: str
    text: str
    true: bool
    seen: str


class Story:
    """Plain text when the console is not a terminal; lines are never wrapped by us."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapter = ""
        self.claims: list[Claim] = []

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)

    def chapter(self, number: int, title: str) -> None:
        self._chapter = title
        self.line()
        self.line(f"{number}. {title}", "bold")

    def say(self, text: str) -> None:
        self.line(f"   {text}")

    def request(self, method: str, path: str, body: Mapping[str, Any] | None, more: str) -> None:
        shown = f" {short(body)}" if body else ""
        self.line(f"   → {method} {path}{more}{shown}", "cyan")

    def answer(self, status: int, text: str, took_ms: float) -> None:
        self.line(f"   ← {status}  {text}  ({took_ms:.0f} ms)", "cyan")

    def trace(self, view: Mapping[str, Any]) -> None:
        """The passes of one message, in milliseconds since it was accepted."""
        began = _ms(view["created_at"])
        for entry in view.get("trace") or ():
            what = "receipt" if entry.get("receipt") else entry["pipeline"]
            words = [entry["outcome"], entry.get("channel") or "", entry.get("code") or ""]
            if words[2] == words[0]:
                words.pop()
            if entry.get("detail") == entry.get("channel"):
                words.pop(1)
            if entry.get("until"):
                words.append(f"until {entry['until']}")
            if entry.get("detail"):
                words.append(entry["detail"])
            remote = entry.get("remote_ids")
            if remote and not entry.get("receipt"):
                words.append(f"{len(remote)} part{'s' * (len(remote) > 1)}, first id {remote[0]}")
            said = "  ".join(word for word in words if word)
            self.line(f"     {_ms(entry['at']) - began:6d} ms  {what:<8} {said}", "dim")
            if entry["outcome"] in ("held", "suppressed") and (why := _telling(entry)):
                self.line(f"               because  {why}", "dim")
        code = f"  {view['code']}" if view.get("code") else ""
        self.line(f"               status   {view['status']}{code}", "dim")

    def why(self, view: Mapping[str, Any]) -> str:
        """The decision that a message waits or ended by, in words; "" when there is none."""
        telling = [_telling(entry) for entry in view.get("trace") or ()]
        words = next(filter(None, reversed(telling)), "")
        self.line(f"     {view.get('status')}  {view.get('code') or ''}  {words}", "dim")
        return words

    def seen(self, where: str, entries: Sequence[Mapping[str, Any]], *members: str) -> None:
        """Some members of journal entries."""
        for entry in entries:
            shown = {name: entry[name] for name in members if name in entry}
            self.line(f"     {where}: {short(shown)}", "dim")

    def claim(self, text: str, true: object, seen: object = "") -> bool:
        """Say it with its verdict; when it is not so, what was seen instead."""
        verdict = bool(true)
        self.claims.append(Claim(self._chapter, text, verdict, str(seen)))
        self.line(f"   {'✓' if verdict else '✗'} {text}", "green" if verdict else "bold red")
        if not verdict:
            self.line(f"     but: {short(seen)}", "red")
        return verdict

    def end(self) -> bool:
        """The sum; True when every claim was true and there was one."""
        good = sum(claim.true for claim in self.claims)
        all_true = good == len(self.claims) > 0
        self.line()
        style = "bold green" if all_true else "bold red"
        self.line(f"{good} of {len(self.claims)} claims true", style)
        for claim in self.claims:
            if not claim.true:
                self.line(f"  ✗ {claim.chapter}: {claim.text}", "red")
        return all_true


def _telling(entry: Mapping[str, Any]) -> str:
    """The decision that stopped one pass, in words; "" when there is none."""
    stops = [one for one in entry.get("decisions") or () if one["verdict"] in STOPS]
    return decision_words(stops[-1]) if stops else ""


def short(value: object) -> str:
    """One line of at most WIDTH characters; long texts inside are cut first, so that the rest stays readable."""
    text = value if isinstance(value, str) else json.dumps(_cut(value), ensure_ascii=False)
    return text if len(text) <= WIDTH * 2 else text[: WIDTH * 2 - 1] + "…"


def _cut(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= 60 else f"{value[:24]}… ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {key: _cut(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(inner) for inner in value]
    return value


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
