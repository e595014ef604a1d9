"""Files of the archive: whole over several pieces, taken up again where one failed, and never in the way of other messages for ever."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

from adapters.wecom.archive.source import SourceError
from msgcenter.adapter import Received
from protocols.payload import Media, Native, Text
from protocols.wecom.archive import Chunk
from tests.unit.adapters.wecom.archive.parts import Archived, archived, told

JPG = b"\xff\xd8\xff" + b"picture" * 10
PIECE = 524_288


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def kept(a: Archived, received: Received) -> bytes:
    assert isinstance(received.payload, Media), received
    return a.port.files[received.payload.media].path.read_bytes()


async def test_a_picture_and_a_file_with_its_name() -> None:
    async with archived() as a:
        picture = await a.one(msgtype="image", data=b64(JPG))
        assert kept(a, picture) == JPG
        body = {"filename": "资费.csv", "fileext": "csv"}
        file = await a.one(msgtype="file", data=b64(b"a,b\n1,2\n"), body=body)
        assert kept(a, file) == b"a,b\n1,2\n"
        assert isinstance(file.payload, Media)
        stored = a.port.files[file.payload.media]
        assert (stored.name, stored.type) == ("资费.csv", "text/csv")


async def test_a_large_file_is_taken_up_where_a_piece_failed() -> None:
    async with archived() as a:
        asked: list[str] = []
        media = a.adapter.source.media
        failing = {"Range:bytes=524288-1048575": 3, "": 1}

        async def flaky(file_id: str, index: str) -> Chunk:
            asked.append(index)
            if failing.get(index, 0):
                failing[index] -= 1
                raise SourceError(10001)
            return await media(file_id, index)

        a.adapter.source.media = flaky  # type: ignore[method-assign]
        size = 2 * PIECE + 5
        a.write(msgtype="video", size=size)
        pushing = asyncio.create_task(a.read())
        while not pushing.done():
            a.corp.jump(5)
            await asyncio.sleep(0.01)
        [received] = await pushing
        data = kept(a, received)
        assert len(data) == size
        sdkfileid = next(iter(a.archive._media))
        assert data == a.archive._media[sdkfileid][1]
        second, third = "Range:bytes=524288-1048575", "Range:bytes=1048576-1048580"
        assert asked == ["", "", second, second, second, second, third], "never from the beginning"


async def test_a_file_that_cannot_be_had_is_told_beside_its_message() -> None:
    async with archived(media_tries=2) as a:
        a.write(msgtype="image", body={"sdkfileid": "gone", "md5sum": "", "filesize": 5})
        a.write("下一条")
        a.fault("mediadata", kind="errcode", errcode=10001, times=1)
        message, lost, after = await a.read()
        assert isinstance(message.payload, Native)
        assert message.payload.kind == "image"
        assert json.loads(message.payload.body)["media_files"] == [
            {"file_id": "gone", "lost": "archive_10005"}
        ]
        kind, body = told(lost)
        assert kind == "wecom_file_lost"
        assert (body["code"], body["msgid"], body["kind"]) == (
            "archive_10005",
            message.remote_id,
            "image",
        )
        assert lost.order_key == message.order_key
        assert lost.remote_id not in (message.remote_id, after.remote_id)
        assert after.payload == Text("下一条")
        assert a.adapter.files.lost == 1


async def test_tries_are_bounded() -> None:
    async with archived(media_tries=3) as a:
        tries = 0

        async def dead(file_id: str, index: str) -> Chunk:
            nonlocal tries
            tries += 1
            raise SourceError(10003)

        a.adapter.source.media = dead  # type: ignore[method-assign]
        a.write(msgtype="image", data=b64(JPG))
        reading = asyncio.create_task(a.read())
        while not reading.done():
            a.corp.jump(5)
            await asyncio.sleep(0.01)
        assert [told(one)[1]["code"] for one in (await reading)[1:]] == ["archive_10003"]
        assert tries == 3

        async def endless(file_id: str, index: str) -> Chunk:
            return b"", "x" * (len(index) % 7 + 1), False

        a.adapter.source.media = endless  # type: ignore[method-assign]
        a.write(msgtype="image", data=b64(JPG))
        assert told((await a.read())[1])[1]["code"] == "archive_10002"

        async def greedy(file_id: str, index: str) -> Chunk:
            return b"x" * (PIECE + 1), "", True

        a.adapter.source.media = greedy  # type: ignore[method-assign]
        a.write(msgtype="image", data=b64(JPG))
        assert "at most 524288" in told((await a.read())[1])[1]["detail"]


async def test_a_file_that_takes_too_long_is_lost_and_the_message_is_not() -> None:
    async with archived(media_time=0.05) as a:

        async def silent(file_id: str, index: str) -> Chunk:
            await asyncio.sleep(60)
            raise AssertionError

        a.adapter.source.media = silent  # type: ignore[method-assign]
        a.write(msgtype="image", data=b64(JPG))
        a.write("下一条")
        message, lost, after = await a.read()
        assert isinstance(message.payload, Native)
        assert told(lost)[1]["code"] == "timeout"
        assert after.payload == Text("下一条")


async def test_size_and_md5_are_checked_and_never_fail_hard() -> None:
    async with archived() as a:
        calls = 0
        media = a.adapter.source.media

        async def short(file_id: str, index: str) -> Chunk:
            nonlocal calls
            calls += 1
            data, after, last = await media(file_id, index)
            return (data[:-1], after, last) if calls == 1 else (data, after, last)

        a.adapter.source.media = short  # type: ignore[method-assign]
        assert kept(a, await a.one(msgtype="image", data=b64(JPG))) == JPG
        assert calls == 2, "another size: once more"
        wrong: dict[str, Any] = a.archive.keep(JPG, "image") | {"filesize": 99, "md5sum": "0" * 32}
        assert kept(a, await a.one(msgtype="image", body=wrong)) == JPG
        assert calls == 4
        right = a.archive.keep(JPG, "image")
        assert right["md5sum"] == hashlib.md5(JPG).hexdigest()
        upper = right | {"md5sum": right["md5sum"].upper()}
        assert kept(a, await a.one(msgtype="image", body=upper)) == JPG


async def test_a_file_our_store_does_not_take_is_lost_with_the_reason() -> None:
    async with archived() as a:
        a.port.unwanted = frozenset({"image/jpeg"})
        a.write(msgtype="image", data=b64(JPG))
        _, lost = await a.read()
        assert told(lost)[1]["code"] == "not_kept"
