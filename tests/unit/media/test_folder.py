"""The media store: one file per content, types told by content, limits, crashes, links."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.media import Links, MediaError, MediaRefused, MediaStore, TooLarge, suits
from msgcenter.media.kinds import FILE_TYPES, LIMITS, checked_upload, kept_type, recognised
from msgcenter.store.store import Store
from protocols.errors import Malformed
from tests.migrated import placed

T0 = 1_790_000_000_000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(placed(tmp_path), ManualClock(T0))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def media(tmp_path: Path, store: Store) -> MediaStore:
    return MediaStore(tmp_path / "media", store, ManualClock(T0), most_kept=1 << 20)


async def stream(data: bytes, piece: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), piece):
        await asyncio.sleep(0)
        yield data[start : start + piece]


def files(media: MediaStore) -> list[Path]:
    return [path for path in media._root.rglob("*") if path.is_file()]


async def test_the_same_content_is_one_file_with_one_id(media: MediaStore) -> None:
    first = await media.accept(stream(PNG), mime="image/png", name="a.png", caller="crm")
    again = await media.accept(stream(PNG, 7), mime="", name="b.png", caller="crm")
    other = await media.accept(stream(PNG), mime="image/png", name="c.png", caller="iop")
    came = await media.keep(PNG, mime="image/png", name="in.png")
    assert again == first
    assert first.id == other.id == came.id
    assert first.sha256 == hashlib.sha256(PNG).hexdigest()
    assert (first.name, other.name, came.name) == ("a.png", "c.png", "in.png")
    [path] = files(media)
    assert path.read_bytes() == PNG
    assert (await media.file(first.id)).path == path
    assert path.stat().st_mode & 0o077 == 0o040


async def test_a_caller_sees_its_own_files_and_those_that_came_in(media: MediaStore) -> None:
    own = await media.accept(stream(PNG), mime="image/png", name="a.png", caller="crm")
    came = await media.keep(JPEG, mime="image/jpeg", name="in.jpg")
    ids = [own.id, came.id, "med_" + "0" * 26, "nonsense"]
    assert set(await media.visible(ids, "crm", all_=False)) == {own.id, came.id}
    assert set(await media.visible(ids, "iop", all_=False)) == {came.id}
    assert set(await media.visible(ids, "ops", all_=True)) == {own.id, came.id}
    # what another process added is seen although this one remembers less
    elsewhere = MediaStore(media._root, media._rows, ManualClock(T0))
    await elsewhere.accept(stream(PNG), mime="image/png", name="theirs.png", caller="iop")
    assert (await media.visible(ids, "iop", all_=False))[own.id].name == "theirs.png"


@pytest.mark.parametrize("known", FILE_TYPES, ids=lambda one: one.mime)
def test_every_type_is_recognised_by_its_own_mark(known) -> None:
    head = bytearray(64)
    for at, octets in known.magic:
        head[at : at + len(octets)] = octets
    assert recognised(bytes(head)).mime == known.mime
    assert checked_upload(bytes(head), "") == known.mime
    assert checked_upload(bytes(head), known.mime.upper() + "; q=1") == known.mime
    assert kept_type(bytes(head), "text/html") == known.mime
    with pytest.raises(MediaRefused, match="declared as text/html"):
        checked_upload(bytes(head), "text/html")


@pytest.mark.parametrize(
    ("head", "declared"),
    [
        (b"<!DOCTYPE html><script>", "text/plain"),
        (b"  <svg onload=x>", "text/csv"),
        (b"MZ\x90\x00 program", "application/octet-stream"),
        (b"\x7fELF", "image/png"),
        (b"a,b\x00c", "text/csv"),
        (b"just words", "image/png"),
        (b"just words", ""),
    ],
)
def test_what_nobody_knows_is_not_taken_but_kept_as_octets(head: bytes, declared: str) -> None:
    with pytest.raises(MediaRefused):
        checked_upload(head, declared)
    assert kept_type(head, declared) == "application/octet-stream"


def test_containers_are_what_they_are_declared_as() -> None:
    docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert checked_upload(b"PK\x03\x04 zip", docx) == docx
    assert checked_upload(b"PK\x03\x04 zip", "application/zip") == "application/zip"
    assert checked_upload(b"#!AMR\n....", "voice/amr") == "audio/amr"
    assert checked_upload("号码,姓名".encode(), "text/csv; charset=utf-8") == "text/csv"


def test_a_file_is_sent_as_what_it_is_or_as_a_file() -> None:
    assert suits("image", "image/png") and suits("file", "image/png")
    assert suits("voice", "audio/amr") and not suits("voice", "audio/mpeg")
    assert not suits("image", "application/pdf") and not suits("video", "image/png")


@pytest.mark.parametrize("kind_and_head", [("image", PNG), ("voice", b"#!AMR\n")])
async def test_limits_are_exact_and_leave_nothing_behind(media: MediaStore, kind_and_head) -> None:
    kind, head = kind_and_head
    limit = LIMITS[kind]
    fits = head + bytes(limit - len(head))
    row = await media.accept(stream(fits, 1 << 18), mime="", name="", caller="crm")
    assert row.size == limit
    with pytest.raises(TooLarge) as refused:
        await media.accept(stream(fits + b"x", 1 << 18), mime="", name="", caller="crm")
    assert refused.value.limit == limit
    for short in (b"", b"\xff\xd8\xff"):
        with pytest.raises(MediaRefused, match="the least is 6"):
            await media.accept(stream(short), mime="image/jpeg", name="", caller="crm")
    with pytest.raises(TooLarge):
        await media.keep(stream(bytes((1 << 20) + 1), 1 << 18), mime="", name="")
    with pytest.raises(MediaRefused):
        await media.keep(b"", mime="", name="")
    assert files(media) == [media.path(row.id)]


async def test_names_hold_no_paths(media: MediaStore) -> None:
    names = {"../../etc/passwd": "passwd", "C:\\x\\报告.pdf": "报告.pdf", "a\r\nb": "a__b"}
    for number, (given, kept) in enumerate(names.items()):
        row = await media.keep(b"x%d" % number, mime="", name=given)
        assert row.name == kept


async def test_an_upload_that_breaks_off_leaves_nothing(media: MediaStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield PNG
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await media.accept(broken(), mime="image/png", name="", caller="crm")

    async def endless() -> AsyncIterator[bytes]:
        yield PNG
        await asyncio.sleep(60)

    task = asyncio.create_task(media.accept(endless(), mime="", name="", caller="crm"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert files(media) == []


async def test_a_crash_before_the_row_is_healed_by_the_next_upload(media: MediaStore) -> None:
    row = await media.accept(stream(PNG), mime="", name="a", caller="crm")
    path = media.path(row.id)
    path.write_bytes(PNG[:10])  # torn, as no rename leaves it; replaced all the same
    await media.accept(stream(PNG), mime="", name="a", caller="crm")
    assert path.read_bytes() == PNG
    path.unlink()
    with pytest.raises(Malformed, match="gone"):
        await media.file(row.id)
    await media.accept(stream(PNG), mime="", name="a", caller="crm")
    assert (await media.file(row.id)).path.read_bytes() == PNG


async def test_leftovers_are_swept_after_a_day(media: MediaStore) -> None:
    await media.keep(b"x", mime="", name="")
    old, new = media._root / "tmp" / "in-old", media._root / "tmp" / "in-new"
    for path, age in ((old, 90_000), (new, 60)):
        path.write_bytes(b"?")
        os.utime(path, (T0 / 1000 - age,) * 2)
    assert await media.sweep() == 1
    assert new.exists() and not old.exists()


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, store: Store) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MediaError, match="media folder"):
        await MediaStore(tmp_path / "file", store, ManualClock(T0)).keep(b"x", mime="", name="")


async def test_fifty_at_once_are_one_file(media: MediaStore) -> None:
    rows = await asyncio.gather(
        *(media.accept(stream(PNG), mime="", name="", caller=f"c{n % 5}") for n in range(50))
    )
    assert len({row.id for row in rows}) == 1
    assert len(files(media)) == 1


def test_a_link_is_good_for_its_file_and_time_alone() -> None:
    links = Links(b"0123456789abcdef")
    path = links.path("med_1", 1_790_000_000)
    sig = path.rpartition("sig=")[2]
    assert links.good("med_1", "1790000000", sig) == 1_790_000_000
    assert not links.good("med_2", "1790000000", sig)
    assert not links.good("med_1", "1790000001", sig)
    assert not links.good("med_1", "1790000000", sig[:-1] + "é")
    assert not links.good("med_1", "", sig)
    assert not links.good("med_1", "١٧٩", sig)
    assert not Links(b"another pepper....").good("med_1", "1790000000", sig)
