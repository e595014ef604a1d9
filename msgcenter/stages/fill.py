"""fill: put a template's words in: the version valid now, in its variant for the channel kind; nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence

from msgcenter.clock import Clock
from msgcenter.facts import kind_of
from msgcenter.pipeline import Item
from msgcenter.policy.when import Facts
from msgcenter.templates.book import Book, say
from msgcenter.templates.engine import Unfit
from protocols.envelope import Decision, Envelope
from protocols.outcome import Rejected
from protocols.payload import Template


class Fill:
    """Runs before every stage that looks at what is said. In the submit pipeline its words are what rules judge, in the channel
    pipeline they are what leaves; both times the version is the one of that moment."""

    name = "fill"

    def __init__(
        self,
        book: Callable[[], Book],
        facts: Callable[[Sequence[Envelope]], Awaitable[Sequence[Facts]]],
        clock: Clock,
    ) -> None:
        self._book = book
        self._facts = facts
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StoreError."""
        templated = [item for item in items if isinstance(item.envelope.payload, Template)]
        if not templated:
            return
        book, now = self._book(), self._clock.now_ms()
        known = await self._facts([item.envelope for item in templated])
        for item, facts in zip(templated, known, strict=True):
            self._fill(item, book, facts, now)

    def _fill(self, item: Item, book: Book, facts: Facts, now: int) -> None:
        template = item.envelope.payload
        assert isinstance(template, Template)
        kind = kind_of(item.envelope)
        version = book.chosen(template.name, template.version, now, facts.organisation)
        if isinstance(version, Unfit):
            self._refuse(item, template, version)
            return
        said = say(version, kind, json.loads(template.variables), facts.zone)
        if isinstance(said, Unfit):
            self._refuse(item, template, said)
            return
        item.said = said
        item.decisions.append(
            Decision(
                self.name,
                version.name,
                "filled",
                f"variant {kind if kind in version.variants else 'default'}",
                0,
                (("organisation", "/".join(facts.organisation)),) if version.places else (),
            )
        )

    def _refuse(self, item: Item, template: Template, why: Unfit) -> None:
        item.decide(
            Rejected("message", str(why), "template"),
            Decision(self.name, template.reference, "rejected", str(why)),
        )
