"""The file sink: torn tails at every octet, damage, rotation, a full disk."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path

import pytest

from msgcenter.archive.file_sink import FileSink, frame, read_file, unframe
from msgcenter.archive.sink import SinkError
from msgcenter.clock import ManualClock
from protocols.envelope import Record
from protocols.outcome import Sent
from protocols.payload import Text
from tests.records import T0, envelope, many, receipt, record


def make(directory: Path, clock: ManualClock | None = None, **options: int) -> FileSink:
    return FileSink("files", directory, clock or ManualClock(T0), lambda _: "full", **options)


async def filled(directory: Path, records: list[Record], **options: int) -> None:
    sink = make(directory, **options)
    await sink.open()
    await sink.write(records)
    await sink.close()


def lines_of(directory: Path) -> list[dict[str, object]]:
    paths = sorted(path for path in directory.iterdir() if path.suffix == ".jsonl")
    return [line for path in paths for line in read_file(path)]


def paths_in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def test_torn_at_every_octet(tmp_path: Path) -> None:
    """Whatever octet a crash ends the file at, the whole lines stay and the rest can be written
    again."""
    records = many(3)
    await filled(tmp_path / "a", records)
    (path,) = paths_in(tmp_path / "a")
    data = path.read_bytes()
    ends = [i + 1 for i, octet in enumerate(data) if octet == 10]
    assert len(ends) == 4
    torn = tmp_path / "torn"
    torn.mkdir()
    copy = torn / path.name
    for cut in range(len(data) + 1):
        copy.write_bytes(data[:cut])
        sink = make(torn)
        await sink.open()
        whole = max([end for end in ends if end <= cut], default=0)
        assert copy.stat().st_size == whole
        await sink.write(records)
        await sink.close()
        assert copy.read_bytes() == data
        assert len(paths_in(torn)) == 1


async def test_garbage_after_the_last_line_is_cut(tmp_path: Path) -> None:
    await filled(tmp_path, many(3))
    (path,) = paths_in(tmp_path)
    data = path.read_bytes()
    for garbage in (b"\x00" * 4096, b"\n", b"{}\n", b'{"seq":4,"crc":"00000000"}\n'):
        path.write_bytes(data + garbage)
        await filled(tmp_path, [])
        assert path.read_bytes() == data


async def test_a_line_out_of_sequence_is_not_taken_for_whole(tmp_path: Path) -> None:
    await filled(tmp_path, many(3))
    (path,) = paths_in(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data + frame({"seq": 9, "id": "x"}))
    await filled(tmp_path, [])
    assert path.read_bytes() == data


async def test_damage_in_the_middle_is_kept_aside(tmp_path: Path) -> None:
    await filled(tmp_path, many(5))
    (path,) = paths_in(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    bad = lines[3].replace(b"sent", b"SENT", 1)
    path.write_bytes(b"".join([*lines[:3], bad, *lines[4:]]))
    await filled(tmp_path, many(5))  # redelivered: the two known ones stay, three are new
    assert [line["seq"] for line in lines_of(tmp_path)] == [1, 2, 3, 4, 5]
    (aside,) = [p for p in paths_in(tmp_path) if ".damaged-" in p.name]
    assert aside.read_bytes() == b"".join([bad, *lines[4:]])


def test_lines_are_json_and_checked() -> None:
    line = frame({"seq": 1, "text": '中\u2028文 "x"\n\x00 \ud800'})
    assert line.count(b"\n") == 1
    value = json.loads(line)
    assert value.pop("crc") == f"{zlib.crc32(line[:-19]):08x}"
    assert value["text"] == '中\u2028文 "x"\n\x00 \ud800'
    for place in range(len(line)):
        broken = bytearray(line)
        broken[place] ^= 1
        assert unframe(bytes(broken)) is None
        assert unframe(line[:place]) is None


async def test_rotation_by_day_and_size(tmp_path: Path) -> None:
    clock = ManualClock(T0)  # 22:13 in China
    sink = make(tmp_path, clock, max_bytes=4000)
    await sink.open()
    await sink.write(many(1))
    await clock.advance(2 * 3600)
    await sink.write(many(10, 1))
    await sink.write(many(1, 11))
    await clock.advance(-12 * 3600)  # the clock was put back
    await sink.write(many(1, 12))
    await sink.close()
    names = [path.name for path in paths_in(tmp_path)]
    assert names == [
        "records-20260921-000001.jsonl",
        "records-20260922-000002.jsonl",
        "records-20260922-000003.jsonl",
    ]
    assert [line["seq"] for line in lines_of(tmp_path)] == list(range(1, 14))
    first = json.loads((tmp_path / names[2]).read_bytes().splitlines()[0])
    assert (first["format"], first["version"], first["first_seq"]) == ("msgcenter.records", 1, 12)


async def test_repeats_are_known_over_a_rotation_and_a_reopen(tmp_path: Path) -> None:
    await filled(tmp_path, many(5), max_bytes=100)
    await filled(tmp_path, many(6), max_bytes=100)  # into the second file: one new
    await filled(tmp_path, many(3) + many(1, 5), max_bytes=100)
    assert [line["message"] for line in lines_of(tmp_path)] == [f"msg_{n:08d}" for n in range(6)]


async def test_what_a_line_says(tmp_path: Path) -> None:
    await filled(
        tmp_path,
        [record(Sent(("r1",)), of=envelope(payload=Text("你好")), status="sent"), receipt("read")],
    )
    own, report = lines_of(tmp_path)
    assert own["kind"] == "sent" and own["remote_ids"] == ["r1"] and own["caller"] == "crm"
    assert own["envelope"]["content"] == {"type": "text", "text": "你好"}  # type: ignore[index]
    assert own["envelope"]["to"] == "tel:+8613800138000"  # type: ignore[index]
    assert (report["message"], report["receipt"], report["envelope"]) == ("msg_1", True, None)


async def test_a_full_disk_leaves_no_half_batch(tmp_path: Path) -> None:
    sink = make(tmp_path)
    await sink.open()
    await sink.write(many(2))
    (path,) = paths_in(tmp_path)
    before = path.read_bytes()
    room = 300

    def full(fd: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[:room])
        room -= written
        return written

    assert sink._file is not None
    sink._file._write = full
    with pytest.raises(SinkError, match="No space"):
        await sink.write(many(2, 2))
    assert path.read_bytes() == before
    sink._file._write = os.write
    await sink.write(many(2, 2))
    await sink.close()
    assert [line["seq"] for line in lines_of(tmp_path)] == [1, 2, 3, 4]
