"""Files of customers: each row of a CSV or NDJSON file as one item of `POST /v1/customers:batch`, and back; read as a stream.

CSV has a header row of the names in COLUMNS. Several values in one cell are parted by `;`, an empty cell says nothing. NDJSON has one
item in each line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from msgcenter.config.problems import did_you_mean

PLAIN = ("id", "zone", "city", "level", "organisation", "agent")
LISTS = ("tags", "add_tags", "remove_tags", "channels")
CONSENT = ("state", "channel", "category", "at", "wording", "source", "proof", "keep_until")
COLUMNS = (
    *PLAIN,
    *("addresses", "valid_from", "valid_to"),
    *LISTS,
    *("service_only", "mute_until"),
    *(f"consent_{name}" for name in CONSENT),
)
MAX_LINE = 1 << 20
_YES, _NO = frozenset({"true", "1", "yes", "是"}), frozenset({"false", "0", "no", "否"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be an item."""

    field: str
    value: str
    detail: str
    remedy: str


class Unreadable(Exception):
    """The file as a whole cannot be imported; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: where it begins, how far into the file it ends, and the item or why there is none."""

    line: int
    offset: int
    item: Mapping[str, Any]
    problem: Problem | None = None


class _Lines:
    """The lines of a file as text, counted in octets. Raises Unreadable."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self.offset = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while raw := self._file.readline(MAX_LINE + 1):
            self.number += 1
            if len(raw) > MAX_LINE:
                raise Unreadable(f"line {self.number} is longer than {MAX_LINE} octets")
            self.offset += len(raw)
            if self.number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            try:
                yield raw.decode(self._encoding)
            except UnicodeDecodeError as error:
                raise Unreadable(
                    f"line {self.number} is not {self._encoding}: octet {error.start}; "
                    "name the file's encoding, for example --encoding gb18030"
                ) from error


def read_rows(file: BinaryIO, form: str, encoding: str = "utf-8") -> Iterator[Entry]:
    """The rows of a `csv` or `ndjson` file. Raises Unreadable."""
    lines = _Lines(file, encoding)
    return _csv(lines) if form == "csv" else _ndjson(lines)


def _ndjson(lines: _Lines) -> Iterator[Entry]:
    for line in lines:
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            why = Problem(
                "", line.strip()[:120], f"is not JSON: {error}", "write one object a line"
            )
            yield Entry(lines.number, lines.offset, {}, why)
            continue
        if isinstance(item, dict):
            yield Entry(lines.number, lines.offset, item)
        else:
            why = Problem("", line.strip()[:120], "is not an object", "write one object a line")
            yield Entry(lines.number, lines.offset, {}, why)


def _csv(lines: _Lines) -> Iterator[Entry]:
    rows = csv.reader(lines, strict=True)
    begun = 1
    try:
        header = [name.strip() for name in next(rows, [])]
        _check(header)
        begun = lines.number + 1
        for row in rows:
            if any(cell.strip() for cell in row):
                yield _entry(header, row, begun, lines.offset)
            begun = lines.number + 1
    except csv.Error as error:
        raise Unreadable(f"line {begun}: {error}; check the quotes") from error


def _check(header: Sequence[str]) -> None:
    for name in header:
        if name not in COLUMNS:
            hint = did_you_mean(name, list(COLUMNS), what="columns")
            raise Unreadable(f"line 1: column {name!r} is not known; {hint}")
        if header.count(name) > 1:
            raise Unreadable(f"line 1: column {name!r} stands twice; keep one")
    if "id" not in header and "addresses" not in header:
        raise Unreadable("line 1: neither `id` nor `addresses` is a column; add one of them")


def _entry(header: Sequence[str], row: Sequence[str], line: int, offset: int) -> Entry:
    if len(row) != len(header):
        detail = f"has {len(row)} cells, the header has {len(header)}"
        problem = Problem("", ",".join(row)[:120], detail, "quote cells that hold a comma")
        return Entry(line, offset, {}, problem)
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True) if cell.strip()}
    flag = cells.get("service_only", "").lower()
    if flag and flag not in _YES | _NO:
        problem = Problem("service_only", flag, "is not a yes or no", "write true or false")
        return Entry(line, offset, {}, problem)
    return Entry(line, offset, _item(cells))


def _item(cells: Mapping[str, str]) -> dict[str, Any]:
    item: dict[str, Any] = {name: cells[name] for name in PLAIN if name in cells}
    item |= {name: _parts(cells[name]) for name in LISTS[:3] if name in cells}
    if "addresses" in cells:
        times = {name: cells[name] for name in ("valid_from", "valid_to") if name in cells}
        item["addresses"] = [{"address": one, **times} for one in _parts(cells["addresses"])]
    wishes: dict[str, Any] = {}
    if "service_only" in cells:
        wishes["service_only"] = cells["service_only"].lower() in _YES
    if "mute_until" in cells:
        wishes["mutes"] = [{"until": cells["mute_until"]}]
    if "channels" in cells:
        wishes["channels"] = _parts(cells["channels"])
    if wishes:
        item["preferences"] = wishes
    said = {name: cells[f"consent_{name}"] for name in CONSENT if f"consent_{name}" in cells}
    if said:
        item["consents"] = [said]
    return item


def _parts(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


# -- writing ------------------------------------------------------------------------------------


def item_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """A customer as the API shows it, as the item that makes it again. Whoever was erased has none: empty."""
    addresses = view.get("addresses", ())
    if view.get("erased_at") or any(one["address"].startswith("#") for one in addresses):
        return {}
    item: dict[str, Any] = {name: view[name] for name in PLAIN if view.get(name)}
    if item.get("id", "").startswith("cus_"):
        del item["id"]
    if addresses:
        item["addresses"] = [dict(one) for one in addresses]
    if view.get("tags"):
        item["tags"] = list(dict.fromkeys(tag["name"] for tag in view["tags"]))
    wishes = {name: value for name, value in view.get("preferences", {}).items() if value}
    if wishes:
        item["preferences"] = wishes
    said = [
        {name: one[name] for name in CONSENT if one.get(name)} for one in view.get("consents", ())
    ]
    if said:
        item["consents"] = said
    return item


CSV_COLUMNS = (*PLAIN, "addresses", "tags", "channels", "service_only")


def csv_lines(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Items as CSV: addresses that have not ended, and what fits a cell; consents and windows need NDJSON."""
    yield _line(CSV_COLUMNS)
    for item in items:
        wishes = item.get("preferences", {})
        addresses = [one["address"] for one in item.get("addresses", ()) if not one.get("valid_to")]
        row = [str(item.get(name, "")) for name in PLAIN]
        row += [
            ";".join(addresses),
            ";".join(item.get("tags", ())),
            ";".join(wishes.get("channels", ())),
            "true" if wishes.get("service_only") else "",
        ]
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()
