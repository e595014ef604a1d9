"""Opt-out words: whether what a customer wrote to an access number is a wish to be left alone, or to be written to again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: A text longer than this (characters) is a letter, not a command, even where words count inside a text.
LONGEST = 200

_INVISIBLE = re.compile(r"[\s\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]+")
_EDGES = " .,!?;:~'\"`()[]{}<>-_。,、!?;:…“”‘’《》【】「」「」"


@dataclass(frozen=True, slots=True)
class OptOutRule:
    """Words of some access numbers. `numbers`: exact, or a beginning followed by `*`; none: every number without a rule.
    `kinds`: only on channels of these kinds; without `numbers`: every account of theirs.

    Words are written as `plain` gives them. `inside`: they also count inside a longer text: Chinese ones anywhere, others
    as a word of their own. Empty `out` and `back`: all texts to these numbers are passed on untouched.
    """

    name: str
    numbers: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    out: frozenset[str] = frozenset()
    back: frozenset[str] = frozenset()
    inside: bool = False
    answer_out: str = ""
    """Text of the answer to an opt-out; empty: none."""
    answer_back: str = ""
    scope: Literal["number", "channel", "all"] = "channel"
    """What is refused from then on: what this number sends, everything on this channel, or on every channel."""


@dataclass(frozen=True, slots=True)
class Command:
    """The customer opted `out`, or `back` in. `word` as configured, `answer` empty for none."""

    action: Literal["out", "back"]
    word: str
    rule: str
    scope: Literal["number", "channel", "all"]
    answer: str


def plain(text: str) -> str:
    """A word as it is compared: half width, no case, no blanks or invisible characters, no punctuation around it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _INVISIBLE.sub("", folded).strip(_EDGES)


def rule_for(rules: Sequence[OptOutRule], number: str, kind: str = "") -> OptOutRule | None:
    """The rule of an access number on a channel of `kind`: the one that names it, else the longest beginning, else the one for
    the kind, else the one for all others."""
    best: tuple[int, OptOutRule] | None = None
    for rule in rules:
        if rule.kinds and kind not in rule.kinds:
            continue
        if not rule.numbers:
            rank = 0 if rule.kinds else -1
            if best is None or best[0] < rank:
                best = (rank, rule)
        for pattern in rule.numbers:
            if pattern == number:
                return rule
            if (
                pattern.endswith("*")
                and number.startswith(pattern[:-1])
                and (best is None or best[0] < len(pattern))
            ):
                best = (len(pattern), rule)
    return best[1] if best else None


def read(rules: Sequence[OptOutRule], number: str, text: str, kind: str = "") -> Command | None:
    """What `text`, received at access number (or account) `number` with its extension, on a channel of `kind`, asks for; None: an
    ordinary message."""
    rule = rule_for(rules, number, kind)
    if rule is None or not (rule.out or rule.back) or len(text) > LONGEST:
        return None
    said = plain(text)
    # refusal first: a word in both lists, or a text with both, must not bring more messages
    for action, words in (("out", rule.out), ("back", rule.back)):
        word = said if said in words else _inside(words, text) if rule.inside else None
        if word is not None:
            answer = rule.answer_out if action == "out" else rule.answer_back
            return Command(
                "out" if action == "out" else "back", word, rule.name, rule.scope, answer
            )
    return None


def _inside(words: frozenset[str], text: str) -> str | None:
    folded = unicodedata.normalize("NFKC", text).casefold()
    joined = _INVISIBLE.sub("", folded)
    for word in sorted(words, key=lambda word: (-len(word), word)):
        if not word.isascii():
            if word in joined:
                return word
        elif re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", folded):
            return word
    return None
