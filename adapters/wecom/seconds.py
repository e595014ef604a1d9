"""Times of WeCom, which tells them in seconds: what is heard in one second keeps its order by a millisecond each."""

from __future__ import annotations

from collections import OrderedDict

KEPT = 10_000
"""Seconds of conversations that are remembered: WeCom repeats a callback within twenty."""
MOST = 999


class Seconds:
    """One for each place that hears in order; in the order of its calls."""

    def __init__(self) -> None:
        self._heard: OrderedDict[tuple[str, int], dict[str, int]] = OrderedDict()

    def __call__(self, talk: str, second: int, key: str) -> int:
        """Epoch ms within `second` (epoch s), after all that was told of `talk` in it before; of a repeat (`key`) the same.

        What comes after a thousand of them shares the last one.
        """
        place = (talk, second)
        heard = self._heard.setdefault(place, {})
        self._heard.move_to_end(place)
        if len(self._heard) > KEPT:
            self._heard.popitem(last=False)
        if len(heard) < MOST:
            heard.setdefault(key, len(heard))
        return second * 1000 + heard.get(key, MOST)


__all__ = ["Seconds"]
