"""What a channel adds to a text before it is split, and whether the result fits: the signature
exactly once, a way to opt out under marketing, at most so many parts; with the facts of each step.

Pure functions on values; which rules a channel has is its configuration. Source: the carriers'
content rules as operated (signature 【name】 at the front or the end, counted in the length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from protocols.sms.coding import Coding, write

Place = Literal["front", "end"]

#: Words that tell how to refuse: a text that ends with one needs no other. Compared without case.
REFUSALS = ("回t退订", "回td退订", "回复t退订", "回复td退订", "退订回t", "退订回td", "退订回n",
            "拒收请回复r", "拒收回复r", "拒收回r", "回r拒收")  # fmt: skip
_MAX_PARTS = 255
_BLANKS = " \t\r\n\u3000"
_ENDS = _BLANKS + "。.！!；;，,）)"


@dataclass(frozen=True, slots=True)
class Rules:
    """`signature`: `【name】`, "" = none. `opt_out`: the line under marketing, "" = none.
    `max_parts`: the most short messages that one text may make.
    """

    signature: str = ""
    place: Place = "front"
    opt_out: str = ""
    max_parts: int = _MAX_PARTS


class Fact(NamedTuple):
    """One step: the rule's name and what it did, in words."""

    rule: str
    said: str


class Fitted(NamedTuple):
    """The text as it goes out, how it is written, what it costs, and what was done to it."""

    text: str
    coding: Coding
    parts: int
    units: int
    done: tuple[Fact, ...]
    data: bytes
    """The text's octets in `coding`, without headers."""
    cost: str
    """How it is written and what it costs, in words."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Why it is so, step by step."""
        return (*self.done, Fact("encoding", self.cost))


class Unfit(ValueError):
    """The text cannot go out by these rules; `rule` is the one that says so."""

    def __init__(self, rule: str, words: str) -> None:
        super().__init__(words)
        self.rule = rule


def sign(text: str, signature: str, place: Place = "front") -> tuple[str, str]:
    """The text with the signature exactly once, at its place, and what was done for that.

    Elsewhere the name loses its brackets, for a second signature is refused by gateways.
    """
    if not signature:
        return text, ""
    bare = text.strip(_BLANKS)
    found = text.count(signature)
    at_place = bare.startswith(signature) if place == "front" else bare.endswith(signature)
    if found == 1 and at_place:
        return text, "there already"
    repeats = 0
    while bare.startswith(signature):
        bare = bare[len(signature) :].lstrip(_BLANKS)
        repeats += 1
    while bare.endswith(signature):
        bare = bare[: -len(signature)].rstrip(_BLANKS)
        repeats += 1
    inside = bare.count(signature)
    bare = bare.replace(signature, signature.strip("【】")) if repeats or inside else text
    done = signature + bare if place == "front" else bare + signature
    if not repeats and not inside:
        return done, f"added at the {place}"
    words = [f"once at the {place}"]
    if repeats > 1:
        words.append(f"{repeats - 1} more dropped")
    if inside:
        words.append(f"{inside} within the text written without brackets")
    return done, ", ".join(words)


def can_refuse(text: str, opt_out: str = "") -> bool:
    """Whether the text ends with a way to opt out: the channel's own words or others that are known."""
    end = text.rstrip(_ENDS).casefold()
    own = opt_out.strip(_ENDS + "（(").casefold()
    return bool(own and end.endswith(own)) or end.endswith(REFUSALS)


def with_opt_out(text: str, opt_out: str, signature: str = "") -> tuple[str, str]:
    """The text with the opt-out words at its end (before a signature that stands there), and what
    was done for that.
    """
    if not opt_out:
        return text, ""
    body, tail = text, ""
    if signature and text.rstrip(_BLANKS).endswith(signature):
        body = text.rstrip(_BLANKS)[: -len(signature)]
        tail = signature
    if can_refuse(body, opt_out):
        return text, "there already"
    return body + opt_out + tail, "appended"


def fit(
    text: str,
    rules: Rules,
    codings: Sequence[Coding],
    *,
    marketing: bool = False,
    wide: bool = False,
) -> Fitted:
    """The text as the channel sends it. Raises Unfit: empty, no coding for its characters, more
    parts than allowed.
    """
    if not text:
        raise Unfit("empty", "a short message needs at least one character")
    facts: list[Fact] = []
    if rules.signature:
        text, said = sign(text, rules.signature, rules.place)
        facts.append(Fact("signature", said))
    if marketing:
        text, said = with_opt_out(text, rules.opt_out, rules.signature)
        if said:
            facts.append(Fact("opt_out", said))
    try:
        (coding, parts, units), data = write(text, codings, wide=wide)
    except ValueError as error:
        raise Unfit("encoding", str(error)) from error
    if parts > min(rules.max_parts, _MAX_PARTS):
        raise Unfit(
            "max_parts",
            f"{len(text)} characters make {parts} parts, at most {min(rules.max_parts, _MAX_PARTS)} "
            "are allowed: shorten the text",
        )
    cost = f"{coding.name}, parts {parts}, units {units}"
    return Fitted(text, coding, parts, units, tuple(facts), data, cost)
