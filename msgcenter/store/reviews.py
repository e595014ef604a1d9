"""Reviews: content that waits until somebody approves or rejects it, and what became of it; a decision is made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Select, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import Page, ReviewRow, ReviewState
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, chunks, rows_of, wanted
from msgcenter.store.rows import clean
from msgcenter.store.tables import review


class Reviewing(Database):
    """Ask, find, list, decide, forget."""

    async def ask_reviews(self, rows: Sequence[ReviewRow]) -> dict[str, ReviewRow]:
        """Keep those that are not there yet; all of them as they are now, by id."""
        if not rows:
            return {}
        insert = self._insert(review).on_conflict_do_nothing()
        ids = [clean(row.id) for row in rows]

        async def work(connection: AsyncConnection) -> dict[str, ReviewRow]:
            await connection.execute(insert, rows_of(rows))
            out: dict[str, ReviewRow] = {}
            for chunk in chunks(ids):
                found = await connection.execute(select(review).where(review.c.id.in_(chunk)))
                out.update((row.id, ReviewRow(**row._mapping)) for row in found)
            return out

        return await self._write(work)

    async def review(self, review_id: str) -> ReviewRow | None:
        """One of them."""
        query = select(review).where(review.c.id == clean(review_id))
        async with self._read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return ReviewRow(**row._mapping) if row is not None else None

    async def list_reviews(
        self,
        *,
        state: str = "",
        caller: str = "",
        rule: str = "",
        now_ms: int,
        cursor: str = "",
        limit: int = 100,
    ) -> Page[ReviewRow]:
        """Oldest first. A waiting one whose time is over counts as expired. Raises BadCursor."""
        query: Select[tuple[object]] = select(review).where(
            *wanted((review.c.caller, caller), (review.c.rule, rule))
        )
        if state in ("waiting", "expired"):
            over = review.c.until <= now_ms
            query = query.where(review.c.state == "waiting", over if state == "expired" else ~over)
        elif state:
            query = query.where(review.c.state == clean(state))
        if cursor:
            query = query.where(tuple_(review.c.at, review.c.id) > tuple_(*decode_place(cursor)))
        query = query.order_by(review.c.at, review.c.id).limit(limit + 1)
        async with self._read() as connection:
            rows = [ReviewRow(**row._mapping) for row in await connection.execute(query)]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(rows), encode_place(rows[-1].at, rows[-1].id) if more else "")

    async def decide_review(
        self, review_id: str, state: ReviewState, by: str, reason: str, at: int
    ) -> ReviewRow | None:
        """Decide one that waits and whose time is not over; the row afterwards, whoever decided it. None when there is none."""
        where = review.c.id == clean(review_id)
        values = {"state": state, "by": clean(by), "reason": clean(reason), "decided_at": at}

        async def work(connection: AsyncConnection) -> ReviewRow | None:
            found = (
                await connection.execute(select(review).where(where).with_for_update())
            ).one_or_none()
            if found is None:
                return None
            row = ReviewRow(**found._mapping)
            if row.state != "waiting" or row.until <= at:
                return row
            await connection.execute(update(review).where(where).values(**values))
            return replace(row, state=state, by=by, reason=reason, decided_at=at)

        return await self._write(work)

    async def count_reviews(self, now_ms: int) -> tuple[int, int]:
        """How many wait, and since when the oldest does (0: none)."""
        query = select(func.count(), func.min(review.c.at)).where(
            review.c.state == "waiting", review.c.until > now_ms
        )
        async with self._read() as connection:
            count, oldest = (await connection.execute(query)).one()
        return int(count), int(oldest or 0)

    async def forget_reviews(self, before_ms: int, limit: int = 5_000) -> int:
        """Delete some that were over before then; how many."""
        old = select(review.c.id).where(review.c.until < before_ms).limit(limit)

        async def work(connection: AsyncConnection) -> int:
            return int(
                (await connection.execute(delete(review).where(review.c.id.in_(old)))).rowcount
            )

        return await self._write(work)
