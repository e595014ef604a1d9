"""One API call as it came in, and how its fields are read: a wrong one is refused as the platform refuses it."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from aiohttp import web

from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import App

USERID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Call:
    """`raw` is the body as octets (a JSON call only), `app` whose token came with it."""

    name: str
    query: Mapping[str, str]
    fields: Fields
    raw: bytes
    app: App
    request: web.Request


Answer: TypeAlias = dict[str, Any] | web.StreamResponse


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`auth`: token -> `Call` with an app; key -> robots, which have no token."""

    method: Literal["GET", "POST"]
    handler: Callable[[Call], Awaitable[Answer]]
    ability: str = ""
    json: bool = True
    token: bool = True
    counted: bool = True


class Fields:
    """A JSON object whose members are read with their rules; `where` is its path, for the error text."""

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self.values = values
        self._where = where

    @classmethod
    def parse(cls, raw: bytes) -> Fields:
        """Raises Refused (40058) for anything but a JSON object in UTF-8."""
        try:
            values = json.loads(raw)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise Refused(40058, "Warning: wrong json format. invalid Request Parameter")
        return cls(values)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) not in (None, "", [], {})

    def path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def wrong(self, key: str, what: str, errcode: int = 40058) -> Refused:
        return Refused(errcode, f"{self.path(key)} {what}. invalid Request Parameter")

    def string(
        self,
        key: str,
        *,
        most: int = 0,
        chars: int = 0,
        need: bool = True,
        empty: int = 40058,
        pattern: re.Pattern[str] | None = None,
    ) -> str:
        """Text of at most `most` octets (or `chars` characters); `empty` is the code when it must be there and is not."""
        value = self.values.get(key)
        if value is None:
            value = ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.wrong(key, "is not a string")
        if need and not value:
            raise self.wrong(key, "missing", empty)
        if most and len(value.encode("utf-8", "surrogatepass")) > most:
            raise self.wrong(key, f"exceed max length {most}")
        if chars and len(value) > chars:
            raise self.wrong(key, f"exceed max length {chars}")
        if value and pattern and not pattern.fullmatch(value):
            raise self.wrong(key, "invalid")
        return value

    def number(
        self, key: str, default: int | None = None, low: int = 0, high: int = 2**63 - 1
    ) -> int:
        value = self.values.get(key, default)
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, int):
            raise self.wrong(key, "missing" if value is None else "is not a number")
        if not low <= value <= high:
            raise self.wrong(key, "out of range")
        return value

    def strings(
        self, key: str, *, most: int = 0, need: bool = False, errcode: int = 40058
    ) -> list[str]:
        value = self.values.get(key)
        if value is None:
            value = []
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(key, "is not a list of strings", errcode)
        if need and not value:
            raise self.wrong(key, "missing", errcode)
        if most and len(value) > most:
            raise self.wrong(key, f"exceed max count {most}", errcode)
        return list(dict.fromkeys(value))

    def object(self, key: str, errcode: int = 40058) -> Fields:
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self.wrong(key, "missing", errcode)
        return Fields(value, self.path(key))

    def objects(self, key: str, low: int = 0, high: int = 0, errcode: int = 40058) -> list[Fields]:
        value = self.values.get(key)
        if value is None:
            value = []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, "is not a list of objects")
        if len(value) < low or (high and len(value) > high):
            raise self.wrong(key, f"count out of range {low}..{high}", errcode)
        return [Fields(one, f"{self.path(key)}[{at}]") for at, one in enumerate(value)]


def paged(rows: list[Any], fields: Fields, default: int, most: int) -> tuple[list[Any], str]:
    """The page that `cursor` and `limit` ask for, and the next cursor ("" at the end)."""
    limit = fields.number("limit", default, 0, most) or default
    cursor = fields.string("cursor", need=False)
    if cursor and not re.fullmatch(r"c[0-9]{1,9}x", cursor):
        raise fields.wrong("cursor", "invalid")
    start = int(cursor[1:-1]) if cursor else 0
    page = rows[start : start + limit]
    return page, f"c{start + limit}x" if start + limit < len(rows) else ""
