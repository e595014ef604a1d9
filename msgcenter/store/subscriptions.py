"""Subscriptions: add, find, list, change, remove; and the step of the one that hands events over."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.store import SubscriptionRow
from msgcenter.store.database import Database, rows_of, wanted
from msgcenter.store.rows import clean
from msgcenter.store.tables import subscription


class Subscribing(Database):
    """Each method is one transaction."""

    async def add_subscription(self, row: SubscriptionRow, most: int) -> bool:
        """Keep a new one; False when its caller has `most` already. A repeat of an id that is there changes nothing."""
        insert = self._insert(subscription).on_conflict_do_nothing()
        count = select(func.count()).where(
            subscription.c.caller == clean(row.caller), subscription.c.id != clean(row.id)
        )

        async def work(connection: AsyncConnection) -> bool:
            if int((await connection.execute(count)).scalar_one()) >= most:
                return False
            await connection.execute(insert, rows_of([row]))
            return True

        return await self._write(work)

    async def subscription(self, subscription_id: str) -> SubscriptionRow | None:
        """One of them."""
        query = select(subscription).where(subscription.c.id == clean(subscription_id))
        async with self._read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return SubscriptionRow(**row._mapping) if row is not None else None

    async def list_subscriptions(
        self, caller: str = "", state: str = ""
    ) -> tuple[SubscriptionRow, ...]:
        """All, or those of a caller or state; oldest first."""
        where = wanted((subscription.c.caller, caller), (subscription.c.state, state))
        query = (
            select(subscription)
            .where(*where)
            .order_by(subscription.c.created_at, subscription.c.id)
        )
        async with self._read() as connection:
            found = await connection.execute(query)
            return tuple(SubscriptionRow(**row._mapping) for row in found)

    async def change_subscription(
        self, subscription_id: str, change: Callable[[SubscriptionRow], SubscriptionRow]
    ) -> SubscriptionRow | None:
        """Replace one by what `change` (pure, it may run again) makes of it; the row afterwards, None when there is none."""
        where = subscription.c.id == clean(subscription_id)

        async def work(connection: AsyncConnection) -> SubscriptionRow | None:
            found = (
                await connection.execute(select(subscription).where(where).with_for_update())
            ).one_or_none()
            if found is None:
                return None
            changed = change(SubscriptionRow(**found._mapping))
            await connection.execute(
                update(subscription).where(where).values(**rows_of([changed])[0])
            )
            return changed

        return await self._write(work)

    async def move_subscription(
        self, subscription_id: str, generation: int, cursor: str, at: int
    ) -> bool:
        """Events up to `cursor` are handed over; False when it is gone, or a replay has set it elsewhere meanwhile."""
        statement = (
            update(subscription)
            .where(
                subscription.c.id == clean(subscription_id),
                subscription.c.generation == generation,
            )
            .values(cursor=cursor, handed_at=at)
        )

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement)).rowcount)

        return await self._write(work)

    async def remove_subscription(self, subscription_id: str) -> bool:
        """Whether there was one."""
        statement = delete(subscription).where(subscription.c.id == clean(subscription_id))

        async def work(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(statement)).rowcount)

        return await self._write(work)
