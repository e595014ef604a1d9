"""State loses its memory while messages are in hand: what may have left is Unknown and not sent again; what did not, is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgcenter.clock import IdFactory, SystemClock, system_random
from protocols.outcome import Sent, Unknown
from tests.flow.rigging import (
    FarEnd,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    text,
    until,
)
from tests.flow.test_crash import kill

IDS = IdFactory(SystemClock(), system_random())


async def test_what_was_in_hand_when_state_was_lost_is_not_sent_again(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    folder = config_folder(
        tmp_path, policy="categories:\n  marketing: {receipt_wait: 1s, quiet: [], consent: false}\n"
    )
    bulk = [text(IDS, n, category="marketing", tier=5) for n in range(20)]
    talk = [text(IDS, 90, category="marketing", tier=5, order_key="talk") for _ in range(3)]

    class Stuck(scripted(far_end)):
        """Takes the bytes; the answer never comes, for the process dies first."""

        async def deliver(self, batch):
            await super().deliver(batch)
            await asyncio.Event().wait()

    async with running(folder, Stuck, records) as app:
        await submit(app, [*bulk, *talk])
        await until(lambda: len(far_end.taken) == len(bulk) + 1)
        kill(app)
    for file in (folder / "data").glob("state.db*"):
        file.unlink()
    before = list(far_end.taken)
    later = [text(IDS, n, category="marketing", tier=5) for n in range(50, 55)]
    async with running(folder, scripted(far_end), records) as app:
        await submit(app, later)
        count = len(bulk) + len(talk) + len(later)
        await until(
            lambda: (
                sum(isinstance(r.outcome, Sent | Unknown) for r in records.last().values()) == count
            )
        )
    last = {id_: record.outcome for id_, record in records.last().items()}
    assert all(isinstance(last[e.id], Unknown) for e in bulk)
    assert isinstance(last[talk[0].id], Unknown)
    assert all(isinstance(last[e.id], Sent) for e in later)
    assert len(far_end.taken) == len(set(far_end.taken))
    assert set(before) <= set(far_end.taken)
