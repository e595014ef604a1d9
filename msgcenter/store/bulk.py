"""Bulk: an INSERT of many rows as one statement; on PostgreSQL the columns travel as arrays, a fraction of the cost of a row at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Table, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY


class Bulk:
    """`insert` takes ON CONFLICT clauses and is executed with `parameters(rows)`; build it once, for building costs more than
    running.

    On PostgreSQL it is INSERT ... SELECT FROM unnest(array, ...), on SQLite a plain INSERT for executemany.
    """

    def __init__(self, table: Table, is_sqlite: bool) -> None:
        self._is_sqlite = is_sqlite
        self._names = [one.name for one in table.c]
        self._json = {one.name for one in table.c if isinstance(one.type, JSON)}
        if is_sqlite:
            self.insert: Any = sqlite.insert(table)
            return
        types = [Text() if one.name in self._json else one.type for one in table.c]
        arrays = [
            bindparam(name, type_=ARRAY(of)) for name, of in zip(self._names, types, strict=True)
        ]
        columns = [column(name, of) for name, of in zip(self._names, types, strict=True)]
        given = func.unnest(*arrays).table_valued(*columns).render_derived(name="given")
        chosen = [
            cast(given.c[name], JSON) if name in self._json else given.c[name]
            for name in self._names
        ]
        self.insert = postgresql.insert(table).from_select(self._names, select(*chosen))

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """What to execute `insert` with. Every row has every column."""
        if self._is_sqlite:
            return rows
        out: dict[str, list[Any]] = {}
        for name in self._names:
            if name in self._json:
                out[name] = [json.dumps(row[name]) for row in rows]
            else:
                out[name] = [row[name] for row in rows]
        return out
