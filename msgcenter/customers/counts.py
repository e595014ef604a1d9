"""Counts: what was sent to somebody is counted whoever they turn out to be: frequency caps follow a person whose customers are linked.

A person's counters lie under one key. When the key changes, everything under the old names is united with the new one's
(`State.unite`, each send once, however often it is told), behind a gate: a message under way by an old name holds units that
nobody looks at any more, so right before its send it is decided anew, and pays where the person is counted now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from msgcenter.customers import Person
from msgcenter.state import State, Suppression
from msgcenter.state.units import Counter, Unite

LINKED = "linked"
"""The word of a gate behind which a key is nobody's any more."""
KEPT_S = 7 * 86400.0
"""So long may a message be under way with its units; what is held longer is decided anew anyhow."""


def moved(key: str) -> str:
    """The gate that a message with units meets: whether what is counted under this key is counted under another one now."""
    return f"moved:{key}"


class Counts:
    """`of`: the counters of a person key by the configuration in force, always in the same order."""

    def __init__(self, state: State, of: Callable[[str], Sequence[Counter]]) -> None:
        self._state = state
        self._of = of

    async def join(self, person: Person) -> None:
        """All names of a person are one from now on. When this returns, nothing leaves that they do not pay together.
        Raises StateError."""
        names = sorted(person.aliases - {person.key})
        if not names:
            return
        await self._state.unsuppress([moved(person.key)])
        await self._shut(names)
        await self._unite([(person.key, names)])

    async def join_all(self, people: Iterable[Person]) -> None:
        """`join` for many of whom few were ever written to: only names under which something is counted get a gate.
        Raises StateError."""
        pairs = [(person.key, sorted(person.aliases - {person.key})) for person in people]
        pairs = [(key, names) for key, names in pairs if names]
        known = await self._unite(pairs)
        found = [pair for pair, one in zip(pairs, known, strict=True) if one]
        if found:
            await self._shut([name for _, names in found for name in names])
            await self._unite(found)  # what left meanwhile

    async def part(self, people: Iterable[Person], before: str) -> None:
        """People who were one under the key `before` and are not: all keep what was counted for them together, for it went to
        one of them. Raises StateError."""
        pairs = [(person.key, [before]) for person in people if person.key != before]
        await self._unite(pairs)
        if pairs:
            await self._state.unsuppress([moved(key) for key, _ in pairs])

    async def carry(self, before: Person, after: Person) -> None:
        """The same person under another key. Raises StateError."""
        await self._unite([(after.key, sorted({before.key, *before.aliases} - {after.key}))])

    async def _shut(self, names: Iterable[str]) -> None:
        await self._state.suppress(
            [Suppression(moved(name), LINKED, KEPT_S, hold=True) for name in names]
        )

    async def _unite(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[bool]:
        """Whether something was counted under the names, for each pair."""
        items: list[Unite] = []
        ends: list[int] = []
        for key, names in pairs:
            others = [self._of(name) for name in names]
            items += [
                Unite(into, tuple(of)) for into, *of in zip(self._of(key), *others, strict=True)
            ]
            ends.append(len(items))
        found = await self._state.unite(items) if items else []
        return [any(found[start:end]) for start, end in pairwise((0, *ends))]
