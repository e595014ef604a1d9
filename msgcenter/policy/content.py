"""Content rules: forbidden words, personal data and links in a text, and whether it is sent, masked, held or blocked.

Words are found by an Aho-Corasick automaton (ahocorasick-rs: with 10,000 Chinese words 1 µs for a short message; automata
that search a node's children in turn need 200) over the text as it is meant: half width, without case, blanks and invisible
characters. The text is walked character by character only when something was found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from ahocorasick_rs import AhoCorasick

from msgcenter.policy.when import EVERYTHING, Facts, Matcher

ContentAction = Literal["block", "hold", "mask"]
Verdict = Literal["pass", "mask", "hold", "block"]
Personal = Literal["id_card", "bank_card", "phone", "email"]
MASK = "*"

_ORDER: Mapping[str, int] = {"pass": 0, "mask": 1, "hold": 2, "block": 3}


@dataclass(frozen=True, slots=True)
class ContentRule:
    """One rule: it looks for `words` (as written by ops), for `personal` data, or for links whose host is not allowed.

    `links`: allowed hosts, each with all hosts below it; None: links are not looked at, empty: none is allowed.
    """

    name: str
    action: ContentAction
    when: Matcher = EVERYTHING
    words: tuple[str, ...] = ()
    personal: frozenset[Personal] = frozenset()
    links: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule found: `[start, end)` in the text as given. `what`: the word as configured, the sort of personal data,
    or the host of a link; never the personal data itself."""

    rule: str
    action: ContentAction
    start: int
    end: int
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """`verdict` is the strictest action of all hits; `text` has the spans of `mask` hits replaced by `*`, character by
    character; it is what may be sent when the verdict is pass or mask."""

    verdict: Verdict
    text: str
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """Rules compiled for one configuration."""

    rules: tuple[ContentRule, ...] = ()
    _words: AhoCorasick | None = field(init=False, default=None)
    _meaning: tuple[tuple[tuple[int, str], ...], ...] = field(init=False, default=())
    """For each pattern of the automaton the rules (by number) and the words, as written, that it stands for."""

    def __post_init__(self) -> None:
        wanted: dict[str, list[tuple[int, str]]] = {}
        for number, rule in enumerate(self.rules):
            for word in rule.words:
                if meant := _meant(word):
                    wanted.setdefault(meant, []).append((number, word))
        if wanted:
            object.__setattr__(self, "_words", AhoCorasick(list(wanted)))
            object.__setattr__(self, "_meaning", tuple(tuple(rules) for rules in wanted.values()))

    def check(self, text: str, facts: Facts) -> Checked:
        """Every rule whose `when` holds looks at the whole text; nothing is hidden by an earlier hit."""
        bound = [rule.when.match(facts).holds for rule in self.rules] if text else []
        if not any(bound):
            return Checked("pass", text)
        hits = list(self._found_words(self._words, text, bound)) if self._words else []
        narrow = text if text.isascii() else text.translate(_NARROW)
        for rule, holds in zip(self.rules, bound, strict=True):
            if holds and rule.personal:
                hits += _personal(rule, narrow)
            if holds and rule.links is not None:
                hits += _links(rule, rule.links, narrow)
        if not hits:
            return Checked("pass", text)
        hits.sort(key=lambda hit: (hit.start, hit.end, hit.rule, hit.what))
        verdict: Verdict = max((hit.action for hit in hits), key=_ORDER.__getitem__)
        return Checked(verdict, _masked(text, hits), tuple(hits))

    def _found_words(self, words: AhoCorasick, text: str, bound: Sequence[bool]) -> Iterator[Hit]:
        if not words.find_matches_as_indexes(_meant(text), overlapping=True):
            return
        meant, origin = _mapped(text)
        for pattern, first, end in words.find_matches_as_indexes(meant, overlapping=True):
            span = origin[first], origin[end - 1] + 1
            latin = meant[first:end].isascii()
            for number, word in self._meaning[pattern]:
                if bound[number] and (not latin or _apart(text, *span)):
                    rule = self.rules[number]
                    yield Hit(rule.name, rule.action, *span, word)


# Invisible characters and blanks do not part a word; nor do the marks that are put between characters to hide it.
_DROPPED = re.compile(r"[\s\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff·•*_~^|]+")


def _meant(text: str) -> str:
    # compatibility *decomposition*: character by character it gives the same as in one piece, which `_mapped` needs
    return _DROPPED.sub("", unicodedata.normalize("NFKD", text).casefold())


def _mapped(text: str) -> tuple[str, list[int]]:
    """The text as it is meant, and for each of its characters the index it came from."""
    out: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text):
        meant = _meant(character)
        out.append(meant)
        origin += [index] * len(meant)
    return "".join(out), origin


def _apart(text: str, start: int, end: int) -> bool:
    """Whether what stands at [start, end) is a word of its own: `has hit` holds no `shit`."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return not any(c and c.isascii() and c.isalnum() for c in map(_meant, (before, after)))


#: Whatever looks like one ASCII character (full width, circled, mathematical) as that character, so that places stay.
_NARROW = {
    code: narrow
    for first, last in ((0x2000, 0x24FF), (0x3000, 0x3000), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF))
    for code in range(first, last + 1)
    if len(narrow := unicodedata.normalize("NFKC", chr(code))) == 1 and narrow.isascii()
}

# Digits may be grouped by single blanks or hyphens; a longer run of digits is something else.
_DIGITS = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){9,18}[xX]?(?![0-9])")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _personal(rule: ContentRule, narrow: str) -> Iterator[Hit]:
    for match in _DIGITS.finditer(narrow):
        digits = re.sub("[ -]", "", match[0]).upper()
        for sort, test in _SORTS.items():
            if sort in rule.personal and test(digits):
                yield Hit(rule.name, rule.action, match.start(), match.end(), sort)
                break
    if "email" in rule.personal and "@" in narrow:
        for match in _EMAIL.finditer(narrow):
            yield Hit(rule.name, rule.action, match.start(), match.end(), "email")


def id_card(digits: str) -> bool:
    """Resident identity number: 17 digits and the check character of GB 11643-1999 (ISO 7064 MOD 11-2), with a possible
    date of birth."""
    if len(digits) != 18 or not digits[:17].isdigit():
        return False
    if not (
        digits[6:8] in ("18", "19", "20")
        and "01" <= digits[10:12] <= "12"
        and "01" <= digits[12:14] <= "31"
    ):
        return False
    rest = sum(int(d) * w for d, w in zip(digits[:17], _WEIGHTS, strict=True)) % 11
    return "10X98765432"[rest] == digits[17]


def bank_card(digits: str) -> bool:
    """16 to 19 digits with a right check digit (ISO/IEC 7812, Luhn)."""
    if not 16 <= len(digits) <= 19 or not digits.isdigit():
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def phone(digits: str) -> bool:
    """A mobile number of mainland China: 11 digits, 13… to 19…, or these after 86 or 0086."""
    digits = re.sub("^(?:00)?86(?=1)", "", digits)
    return len(digits) == 11 and digits.isdigit() and digits[0] == "1" and digits[1] in "3456789"


_SORTS: Mapping[Personal, Callable[[str], bool]] = {
    "id_card": id_card,
    "bank_card": bank_card,
    "phone": phone,
}

# A link is what has a scheme or `www.`, or a host under a domain that phones make clickable.
_LINK = re.compile(
    r"(?:[a-z][a-z0-9+.-]{1,20}://|www\.)[^\s\u3000-\u303f\uff00-\uffef\u4e00-\u9fff\"'<>]{1,2000}"
    r"|(?<![a-z0-9@.-])(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}"
    r"(?:cn|com|net|org|gov|edu|top|xyz|vip|cc|info|me|shop|site|club|ltd|link|ink|live|tv|app|io|co|mobi|asia|biz|online)"
    r"(?![a-z0-9-]|\.[a-z0-9])(?:[:/?#][^\s\u3000-\u303f\uff00-\uffef\u4e00-\u9fff\"'<>]{0,2000})?",
    re.IGNORECASE,
)


def _links(rule: ContentRule, allowed: frozenset[str], narrow: str) -> Iterator[Hit]:
    if not any(mark in narrow for mark in (".", "。", "://")):
        return
    # 。 ends a sentence, and is a dot to a browser: both readings are looked at
    readings = {narrow, narrow.replace("。", ".")}
    found = {(*match.span(), host_of(match[0])) for r in readings for match in _LINK.finditer(r)}
    for start, end, host in sorted(found):
        parts = host.split(".")
        if not any(".".join(parts[i:]) in allowed for i in range(len(parts))):
            yield Hit(rule.name, rule.action, start, end, host)


def host_of(link: str) -> str:
    """The host a phone would go to (`http://good.cn@bad.com` goes to bad.com); empty if there is none, which is allowed
    nowhere."""
    # browsers read a backslash as a slash
    whole = (link if "://" in link else f"http://{link}").replace("\\", "/")
    try:
        return (urlsplit(whole).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _masked(text: str, hits: Iterable[Hit]) -> str:
    spans = [(hit.start, hit.end) for hit in hits if hit.action == "mask"]
    if not spans:
        return text
    out = list(text)
    for start, end in spans:
        out[start:end] = MASK * (end - start)
    return "".join(out)
