"""Pauses: what operators have stopped, when each ends, and the due rows that wait for its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, bindparam, case, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import PauseRow
from msgcenter.store.database import Database
from msgcenter.store.rows import clean
from msgcenter.store.tables import PAUSED, due, pause

RESUMED = "resumed"
"""The rule of a due row whose pause is over: it has its own time, nothing moves it again."""
CHUNK = 1000
_LANES = {"conv": 0, "urgent": 0, "normal": 1, "bulk": 2}
#: Said in the words of the index, so that both databases use it.
_WAITING = text(PAUSED)


def rule_of(gate: str) -> str:
    """Under which rule a due row waits for the end of the pause of `gate`."""
    return f"paused:{gate}"


def _row(row: Row[Any]) -> PauseRow:
    return PauseRow(**row._mapping)


class Pauses(Database):
    """Begin, end, list; let out what waits."""

    async def put_pause(self, row: PauseRow) -> None:
        """Begin a pause, or change the one of this gate."""
        insert = self._insert(pause)
        new = insert.excluded
        names = ("since", "until", "by", "why", "ended_at")
        statement = insert.on_conflict_do_update(
            index_elements=[pause.c.gate], set_={name: new[name] for name in names}
        )
        values = {
            "gate": clean(row.gate),
            "since": row.since,
            "until": row.until,
            "by": clean(row.by),
            "why": clean(row.why),
            "ended_at": row.ended_at,
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)

    async def end_pause(self, gate: str, at: int, *, began_by: int) -> bool:
        """End the pause of a gate if it runs and began no later than `began_by`; whether it did."""
        statement = (
            update(pause)
            .where(pause.c.gate == clean(gate), pause.c.ended_at == 0, pause.c.since <= began_by)
            .values(ended_at=at)
        )

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement)).rowcount)

        return await self._write(work)

    async def list_pauses(self, ended_since: int | None = None) -> tuple[PauseRow, ...]:
        """Those that nobody has ended (one whose time is over is still among them), and those ended since then; oldest first."""
        running = pause.c.ended_at == 0
        wanted = running if ended_since is None else running | (pause.c.ended_at >= ended_since)
        async with self._read() as connection:
            found = await connection.execute(
                select(pause).where(wanted).order_by(pause.c.since, pause.c.gate)
            )
            return tuple(map(_row, found))

    async def count_paused(self) -> Mapping[str, int]:
        """Rule (see `rule_of`) -> how many due rows wait under it."""
        query = select(due.c.rule, func.count()).where(_WAITING).group_by(due.c.rule)
        async with self._read() as connection:
            return {rule: int(count) for rule, count in await connection.execute(query)}

    async def release_paused(self, gate: str, start_ms: int, spread_ms: int) -> int:
        """Let out what waits for the end of a pause: from `start_ms` on over `spread_ms`, better lanes first, in a lane older
        messages first; how many. May be repeated: what was let out keeps its time."""
        rank = case(_LANES, value=due.c.lane, else_=1)
        query = select(due.c.id).where(_WAITING, due.c.rule == clean(rule_of(gate)))
        async with self._alone("due"):
            async with self._read() as connection:
                ids = list(
                    (await connection.execute(query.order_by(rank, due.c.message))).scalars()
                )
            # Distinct times keep the order of age also where several leave in one millisecond's share.
            step = max(spread_ms / len(ids), 1.0) if ids else 1.0
            times = [start_ms + int(step * number) for number in range(len(ids))]
            for at in range(0, len(ids), CHUNK):
                await self._move(ids[at : at + CHUNK], times[at : at + CHUNK])
        return len(ids)

    async def _move(self, ids: Sequence[str], times: Sequence[int]) -> None:
        statement = (
            update(due)
            .where(due.c.id == bindparam("row"))
            .values(at_ms=bindparam("time"), rule=RESUMED)
        )
        values = [{"row": row, "time": at} for row, at in zip(ids, times, strict=True)]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, values)

        await self._write(work)
