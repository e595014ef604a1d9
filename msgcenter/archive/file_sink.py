"""Records as JSON lines in files that rotate by day and size; each line numbered and checked, the
tail repaired at open.

`records-20261121-000001.jsonl`: the first line describes the file, each further one is a record:

    {"format":"msgcenter.records","version":1,"day":"20261121","first_seq":1,"crc":"…"}
    {"seq":1,"id":"…","message":"…","at":…,…,"envelope":{…},"crc":"89abcdef"}

`crc` is the CRC-32 (hex) of the line's octets before `,"crc":`, so any JSON tool reads the file and
any script can check it. `seq` counts from 1 without gaps over all files of the folder: a missing
line shows. `envelope` is null for a receipt, whose `message` says what it speaks of. Days are those
of `day_offset_s` (China). A record already in this or the previous file is not written again.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from msgcenter.archive.files import AppendFile, cut_tail
from msgcenter.archive.sink import SinkContext, SinkError
from msgcenter.clock import Clock
from msgcenter.store import ContentPolicy
from msgcenter.store.rows import envelope_row, record_row
from protocols.envelope import Record

FORMAT = "msgcenter.records"
VERSION = 1
SHANGHAI_S = 8 * 3600
_NAME = re.compile(r"records-(\d{8})-(\d{6,})\.jsonl")
_TAIL = re.compile(rb',"crc":"([0-9a-f]{8})"\}\n')
_TAIL_SIZE = 19

_log = structlog.get_logger(__name__)


def frame(value: dict[str, Any]) -> bytes:
    """A JSON object as a checked line. Control characters and lone surrogates are escaped by
    JSON."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )[:-1]
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def unframe(line: bytes) -> dict[str, Any] | None:
    """Read a checked line; None when it is torn or damaged."""
    tail = _TAIL.fullmatch(line[-_TAIL_SIZE:])
    if tail is None or zlib.crc32(line[:-_TAIL_SIZE]) != int(tail[1], 16):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """The records of one file, up to the first damaged line."""
    with path.open("rb") as file:
        for line in file:
            value = unframe(line)
            if value is None:
                return
            if "seq" in value:
                yield value


def record_to_json(item: Record, policy: ContentPolicy) -> dict[str, Any]:
    """A record as the file shows it."""
    value = record_row(item)
    value["reference"] = item.reference
    if item.subject:
        value["caller"] = item.subject_caller
        value["envelope"] = None
    else:
        value["caller"] = item.envelope.caller
        value["envelope"] = envelope_row(item.envelope, policy(item.envelope.category), "")
        del value["envelope"]["envelope_order"], value["envelope"]["known"]
        if item.facts:
            value["facts"] = json.loads(item.facts)
    return value


class FileSink:
    """See the module. `max_bytes`: a file that has reached it is followed by a new one."""

    def __init__(
        self,
        name: str,
        directory: Path,
        clock: Clock,
        policy: ContentPolicy,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        day_offset_s: int = SHANGHAI_S,
    ) -> None:
        self.name = name
        self._directory = directory
        self._clock = clock
        self._policy = policy
        self._max_bytes = max_bytes
        self._offset = timedelta(seconds=day_offset_s)
        self._lock = threading.Lock()  # a write that was given up on still runs in its thread
        self._file: AppendFile | None = None
        self._day = ""
        self._number = 0
        self._seq = 0
        self._ids: set[str] = set()
        self._earlier: set[str] = set()

    # -- the sink ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Repair the last file's tail and learn which records it holds. Raises SinkError."""
        await self._in_thread(self._open)

    async def write(self, records: Sequence[Record]) -> None:
        """Append and fsync. Raises SinkError; then nothing of the batch is in the file."""
        values = [record_to_json(item, self._policy) for item in records]
        await self._in_thread(self._append, values)

    async def close(self) -> None:
        """Idempotent; `open` may follow."""
        await self._in_thread(self._close)

    async def _in_thread(self, work: Any, *args: Any) -> None:
        def locked() -> None:
            with self._lock:
                work(*args)

        try:
            await asyncio.to_thread(locked)
        except OSError as error:
            raise SinkError(f"{self.name}: {error}") from error

    # -- in the thread -----------------------------------------------------------------------------

    def _today(self) -> str:
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC) + self._offset
        return f"{now:%Y%m%d}"

    def _files(self) -> list[tuple[int, str, Path]]:
        found = []
        for path in self._directory.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                found.append((int(match[2]), match[1], path))
        return sorted(found)

    def _open(self) -> None:
        if self._file is not None and not self._file.broken:
            return
        self._close()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._ids, self._earlier, self._seq, self._number = set(), set(), 0, 0
        files = self._files()
        for place, (number, day, path) in enumerate(files[-2:], start=max(0, len(files) - 2)):
            self._earlier, self._ids = self._ids, set()
            self._number, self._day = number, day
            self._scan(path, repair=place == len(files) - 1)
        if files:
            self._file = AppendFile(files[-1][2])

    def _scan(self, path: Path, *, repair: bool) -> None:
        """Learn ids and the last number; with `repair` cut what is not whole."""
        whole = 0
        expected: int | None = None
        damaged = readable = False
        with path.open("rb") as file:
            for line in file:
                value = unframe(line)
                if damaged:
                    readable = readable or value is not None
                    continue
                seq = None if value is None else value.get("seq", value.get("first_seq"))
                if value is None or not isinstance(seq, int) or seq != (expected or seq):
                    damaged, readable = True, value is not None
                    continue
                if "seq" in value:
                    self._ids.add(str(value["id"]))
                    self._seq = seq
                    expected = seq + 1
                else:
                    self._seq = seq - 1
                    expected = seq
                whole += len(line)
        if damaged:
            _log.warning("archive file damaged", file=path.name, whole=whole, repaired=repair)
            if repair:
                cut_tail(path, whole, keep=readable)

    def _describe(self) -> None:
        assert self._file is not None
        first = {"format": FORMAT, "version": VERSION, "day": self._day, "first_seq": self._seq + 1}
        self._file.append(frame(first))

    def _rotate(self, today: str) -> None:
        if self._file is not None:
            self._file.close()
        self._number += 1
        self._day = today
        self._file = AppendFile(self._directory / f"records-{today}-{self._number:06d}.jsonl")
        self._earlier, self._ids = self._ids, set()

    def _append(self, values: list[dict[str, Any]]) -> None:
        if self._file is None or self._file.broken:
            self._open()
        fresh: dict[str, dict[str, Any]] = {}
        for value in values:
            if value["id"] not in self._ids and value["id"] not in self._earlier:
                fresh.setdefault(value["id"], value)
        if not fresh:
            return
        today = self._today()
        # A clock that steps back must not bring an old day back.
        if self._file is None or today > self._day or self._file.size >= self._max_bytes:
            self._rotate(max(today, self._day))
        assert self._file is not None
        if self._file.size == 0:
            self._describe()
        numbered = enumerate(fresh.values(), start=self._seq + 1)
        self._file.append(b"".join([frame({"seq": seq, **value}) for seq, value in numbered]))
        self._seq += len(fresh)
        self._ids.update(fresh)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def make(context: SinkContext) -> FileSink:
    """Entry point. Settings: `max_bytes`, `day_offset_s`."""
    settings = context.settings
    return FileSink(
        context.name,
        context.directory,
        context.clock,
        context.policy,
        max_bytes=int(settings.get("max_bytes", 64 * 1024 * 1024)),
        day_offset_s=int(settings.get("day_offset_s", SHANGHAI_S)),
    )
