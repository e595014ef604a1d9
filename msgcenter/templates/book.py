"""Templates: words that ops keep in `templates/`, in versions that are valid for a time and a part of the organisation, with a
variant for each channel kind that needs its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from types import MappingProxyType
from typing import Any, TypeAlias

from msgcenter.policy.when import SHANGHAI, Place
from msgcenter.templates.engine import MAX_OUTPUT, Source, Unfit
from msgcenter.templates.variables import Variable, read_variables
from protocols.payload import Card, Link, Markdown, MiniProgram, Payload, Text

ANY_KIND = "default"
"""The variant of every kind that has none of its own."""
_WEB = ("http://", "https://")

Shape: TypeAlias = type[Text] | type[Markdown] | type[Link] | type[Card] | type[MiniProgram]

#: `type` of a variant -> the payload it becomes, and the fields it needs.
SHAPES: Mapping[str, tuple[Shape, tuple[str, ...]]] = MappingProxyType(
    {
        "text": (Text, ("text",)),
        "markdown": (Markdown, ("text",)),
        "link": (Link, ("title", "url")),
        "card": (Card, ("title", "description", "url")),
        "miniprogram": (MiniProgram, ("appid", "page", "title")),
    }
)


@dataclass(frozen=True, slots=True)
class Variant:
    """What is said on one channel kind: a payload of which every field is a template."""

    shape: str
    fields: Mapping[str, Source]

    @property
    def payload(self) -> Shape:
        return SHAPES[self.shape][0]

    def render(self, values: Mapping[str, Any], zone: tzinfo) -> Payload:
        """Raises Unfit: a value is missing, the words came out empty or too long, or an address is none."""
        said: dict[str, str] = {}
        for name, source in self.fields.items():
            said[name] = text = source.render(values, zone)
            if name in SHAPES[self.shape][1] and not text.strip():
                raise Unfit(f"{name} comes out empty")
            if name == "url" and not text.startswith(_WEB):
                raise Unfit("url does not come out as an http or https address")
        if sum(map(len, said.values())) > MAX_OUTPUT:
            raise Unfit(f"comes out longer than {MAX_OUTPUT} characters")
        return self.payload(**said)


@dataclass(frozen=True, slots=True)
class Version:
    """One version. Times are epoch milliseconds; `valid_until` 0 = no end. `places`: none = everywhere."""

    template: str
    number: int
    variants: Mapping[str, Variant]
    variables: Mapping[str, Variable] = field(default_factory=lambda: MappingProxyType({}))
    valid_from: int = 0
    valid_until: int = 0
    places: tuple[Place, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.template}@{self.number}"

    def valid(self, at: int) -> bool:
        return self.valid_from <= at and (not self.valid_until or at < self.valid_until)

    def nearness(self, organisation: Sequence[str]) -> int:
        """How near its place is to the organisation: the depth of the deepest one that holds, 0 for everywhere, -1 outside."""
        if not self.places:
            return 0
        depths = (max(len(p.path), p.level + 1) for p in self.places if p.holds(organisation))
        return max(depths, default=-1)

    def variant(self, kind: str) -> Variant | None:
        """What it says on a channel kind; None: nothing."""
        return self.variants.get(kind) or self.variants.get(ANY_KIND)


@dataclass(frozen=True, slots=True)
class Book:
    """All templates of one configuration: name -> versions by number."""

    versions: Mapping[str, Mapping[int, Version]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def of(self, name: str, number: int = 0) -> tuple[Version, ...]:
        """The versions meant: that one, or all; empty when there are none."""
        known = self.versions.get(name, {})
        if not number:
            return tuple(known.values())
        return (known[number],) if number in known else ()

    def payloads(self, name: str, numbers: Sequence[int], kind: str) -> frozenset[type[Payload]]:
        """What these versions may become on a channel kind."""
        known = self.versions.get(name, {})
        variants = (known[number].variant(kind) for number in numbers if number in known)
        return frozenset(variant.payload for variant in variants if variant is not None)

    def asks_place(self, name: str) -> bool:
        """Whether it must be known where the message belongs."""
        return any(version.places for version in self.versions.get(name, {}).values())

    def chosen(
        self, name: str, number: int, at: int, organisation: Sequence[str]
    ) -> Version | Unfit:
        """The version that is sent at `at`: the nearest to the organisation, of these the newest; or why there is none."""
        meant = self.of(name, number)
        if not meant:
            what = f"{name}@{number}" if number else name
            return Unfit(f"there is no template {what}")
        valid = [version for version in meant if version.valid(at)]
        if not valid:
            return Unfit(
                f"no version of template {name} is valid now"
                if not number
                else f"template {name}@{number} is not valid now"
            )
        near = [(v.nearness(organisation), v.number, v) for v in valid]
        best = max(near, key=lambda one: one[:2])
        if best[0] < 0:
            return Unfit(f"template {name} is not for {'/'.join(organisation) or 'this sender'}")
        return best[2]

    def possible(
        self, name: str, number: int, at: int, organisation: Sequence[str]
    ) -> list[Version]:
        """The versions that may be chosen for a recipient not looked up yet who belongs to this part of the organisation."""
        return [
            version
            for version in self.of(name, number)
            if version.valid(at)
            and (
                version.nearness(organisation) >= 0
                or any(_may_lie_below(place, organisation) for place in version.places)
            )
        ]


def _may_lie_below(place: Place, organisation: Sequence[str]) -> bool:
    if place.level >= 0:
        return place.level >= len(organisation)
    return all(want in ("*", have) for want, have in zip(place.path, organisation, strict=False))


def say(
    version: Version, kind: str, variables: Mapping[str, Any], zone: tzinfo = SHANGHAI
) -> Payload | Unfit:
    """What goes out by a channel kind; or why nothing can. Variables that this version does not know are passed over: they were
    checked when the message was accepted, maybe for another version."""
    variant = version.variant(kind)
    if variant is None:
        return Unfit(f"template {version.name} has no variant for {kind} and no default")
    values, wrong = read_variables(version.variables, variables)
    if wrong := [one for one in wrong if one.what != "unknown"]:
        return Unfit(f"template {version.name}: " + "; ".join(map(str, wrong)))
    try:
        return variant.render(values, zone)
    except Unfit as unfit:
        return Unfit(f"template {version.name}: {unfit}")
