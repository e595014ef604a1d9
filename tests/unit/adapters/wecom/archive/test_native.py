"""The archive through a shared library with the vendor's C interface, compiled here over canned data: passed, read, freed, refused."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapters.wecom import WeComArchive
from adapters.wecom.archive.native import Library, NoLibrary
from adapters.wecom.archive.source import Means, SourceError
from msgcenter.adapter import Secret
from protocols.payload import Media, Native, Text
from tests.port import FakePort

CC = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(
    CC is None, reason="NO C COMPILER: the native archive library is NOT TESTED (install cc or gcc)"
)
SOURCE = Path(__file__).with_name("finance_sdk.c")
KEY = "0123456789abcdef" * 4


def build(source: Path, target: Path) -> None:
    assert CC is not None
    command = [CC, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(target), str(source)]
    subprocess.run(command, check=True, timeout=120)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("sdk") / "libWeWorkFinanceSdk_C.so"
    build(SOURCE, built)
    return built


@pytest.fixture(scope="module")
def pairs() -> dict[int, rsa.RSAPrivateKey]:
    return {version: rsa.generate_private_key(65537, 2048) for version in (1, 2)}


def pem(key: rsa.RSAPrivateKey) -> Secret:
    made = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return Secret(made.decode())


class Canned:
    """What the library will answer, and what it was asked."""

    def __init__(self, folder: Path, pairs: dict[int, rsa.RSAPrivateKey]) -> None:
        self.folder = folder
        self.pairs = pairs
        self.items: list[dict[str, Any]] = []

    def add(self, message: dict[str, Any] | bytes, version: int = 1, key: str = KEY) -> None:
        plain = message if isinstance(message, bytes) else json.dumps(message).encode()
        outer = self.pairs[version].public_key().encrypt(key.encode(), PKCS1v15())
        inner = bytes(a ^ b for a, b in zip(plain, cycle(key.encode()), strict=False))
        self.items.append(
            {
                "seq": len(self.items) + 1,
                "msgid": f"m{len(self.items) + 1}_external",
                "publickey_ver": version,
                "encrypt_random_key": base64.b64encode(outer).decode(),
                "encrypt_chat_msg": inner.hex(),
            }
        )
        self.answer({"errcode": 0, "errmsg": "ok", "chatdata": self.items})

    def answer(self, tree: dict[str, Any]) -> None:
        (self.folder / "chatdata.json").write_text(json.dumps(tree))

    def code(self, function: str, code: int) -> None:
        (self.folder / f"code.{function}").write_text(str(code))

    def heal(self, function: str) -> None:
        (self.folder / f"code.{function}").unlink()

    def log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def canned(
    tmp_path: Path, pairs: dict[int, rsa.RSAPrivateKey], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Canned]:
    monkeypatch.setenv("ARCHIVE_FAKE", str(tmp_path))
    made = Canned(tmp_path, pairs)
    made.answer({"errcode": 0, "errmsg": "ok", "chatdata": []})
    yield made


@asynccontextmanager
async def opened(
    library: Path, canned: Canned, **settings: Any
) -> AsyncIterator[tuple[WeComArchive, FakePort]]:
    port = FakePort("archive")
    known = {
        "corp": "ww1",
        "secret": Secret("archive-secret"),
        "library": str(library),
        "keys": {version: pem(key) for version, key in canned.pairs.items()},
    }
    adapter = WeComArchive(WeComArchive.Settings.model_validate(known | settings), port)
    try:
        async with adapter.source.open():
            yield adapter, port
    finally:
        await port.close()


def text(number: int, content: str) -> dict[str, Any]:
    return {
        "msgid": f"m{number}_external",
        "action": "send",
        "from": "wmAAA",
        "tolist": ["zhangsan"],
        "roomid": "",
        "msgtime": 1_700_000_000_000 + number,
        "msgtype": "text",
        "text": {"content": content},
    }


async def test_it_reads_what_the_library_gives(library: Path, canned: Canned) -> None:
    canned.add(text(1, "您好"))
    canned.add(json.dumps(text(2, "AB")).encode().replace(b"AB", b"A\x02\x1fB"), version=2)
    proxy = {"proxy": "socks5://10.0.0.1:1", "proxy_password": Secret("u:p"), "sdk_timeout_s": 7}
    async with opened(library, canned, **proxy) as (adapter, port):
        await adapter.puller.pull()
        assert [one.payload for one in port.received] == [Text("您好"), Text("AB")]
        assert [one.remote_id for one in port.received] == ["m1_external", "m2_external"]
        assert str(port.received[0].sender) == "wecom:ww1/wmAAA"
        assert adapter.puller.cursor.seq == 2
    log = canned.log()
    assert log[:2] == ["NewSdk", "Init ww1 archive-secret"]
    asked = [line for line in log if line.startswith("GetChatData")]
    assert asked == [
        "GetChatData ww1 0 1000 [socks5://10.0.0.1:1] [u:p] 7",
        "GetChatData ww1 2 1000 [socks5://10.0.0.1:1] [u:p] 7",
    ]
    assert log.count("NewSdk") == log.count("DestroySdk ww1"), "each SDK is given back"


async def test_calls_run_beside_the_loop_each_thread_with_an_sdk_of_its_own(
    library: Path, canned: Canned
) -> None:
    async with opened(library, canned, threads=1) as (adapter, _):
        for _ in range(5):
            await adapter.source.fetch(1, 10)
    assert canned.log().count("NewSdk") == 1
    assert not [one for one in threading.enumerate() if one.name.startswith("wecom-archive")]
    with pytest.raises(SourceError, match="closed"):
        await adapter.source.fetch(1, 10)


async def test_media_in_pieces(library: Path, canned: Canned) -> None:
    data = b"\xff\xd8\xff" + bytes(range(256)) * 4096  # 1 MB and 3 octets, zeros among them
    (canned.folder / "media.FILE").write_bytes(data)
    canned.add(
        text(1, "") | {"msgtype": "image", "image": {"sdkfileid": "FILE", "filesize": len(data)}}
    )
    canned.add(text(2, "") | {"msgtype": "image", "image": {"sdkfileid": "GONE"}})
    async with opened(library, canned) as (adapter, port):
        await adapter.puller.pull()
        first, second, _ = port.received
        assert isinstance(first.payload, Media)
        assert port.files[first.payload.media].path.read_bytes() == data
        assert isinstance(second.payload, Native)
        assert "archive_10005" in second.payload.body
    asked = [line.split(" ")[2] for line in canned.log() if " FILE " in line]
    assert asked == ["[]", "[Range:bytes=524288-1048575]", "[Range:bytes=1048576-1572863]"]


@pytest.mark.parametrize(
    ("function", "code", "means"),
    [
        ("Init", 10009, Means.SETUP),
        ("GetChatData", 10000, Means.SETUP),
        ("GetChatData", 10001, Means.AGAIN),
        ("GetChatData", 10011, Means.SETUP),
    ],
)
async def test_return_codes_are_told(
    library: Path, canned: Canned, function: str, code: int, means: Means
) -> None:
    canned.code(function, code)
    async with opened(library, canned) as (adapter, _):
        with pytest.raises(SourceError) as refused:
            await adapter.source.fetch(0, 10)
        assert (refused.value.code, refused.value.means) == (code, means)
        assert function in str(refused.value)
        canned.heal(function)
        assert await adapter.source.fetch(0, 10), "a thread whose SDK failed makes another"


async def test_an_errcode_inside_the_answer_is_told_as_well(library: Path, canned: Canned) -> None:
    async with opened(library, canned) as (adapter, _):
        canned.answer({"errcode": 301052, "errmsg": "archive expired"})
        with pytest.raises(SourceError, match="301052: archive licence expired"):
            await adapter.source.fetch(0, 10)
        (canned.folder / "chatdata.json").write_text("<html>")
        with pytest.raises(SourceError) as refused:
            await adapter.source.fetch(0, 10)
        assert refused.value.code == 10002


async def test_a_key_that_is_missing_or_does_not_fit_holds(library: Path, canned: Canned) -> None:
    canned.add(text(1, "一"))
    canned.add(text(2, "二"), version=2)
    canned.add(text(3, "三"))
    async with opened(library, canned, keys={1: pem(canned.pairs[1])}) as (adapter, port):
        await adapter.puller.pull()
        assert [one.payload for one in port.received] == [Text("一")]
        assert adapter.puller.cursor.seq == 1
    async with opened(library, canned, keys={1: pem(canned.pairs[2])}) as (adapter, port):
        await adapter.puller.pull()
        assert port.received == [], "what a wrong key opens to makes no sense"
    canned.items.clear()
    canned.add(text(1, "一"), key="key\x00text")
    async with opened(library, canned) as (adapter, port):
        await adapter.puller.pull()
        assert port.received == [], "C would cut the key text at the zero"


@pytest.mark.parametrize("key", [b"", b"\x00", b"ab\x00c"])
async def test_a_key_text_that_is_none_never_reaches_the_library(
    library: Path, canned: Canned, monkeypatch: pytest.MonkeyPatch, key: bytes
) -> None:
    """A private key that does not fit opens to octets at random, once in some 240 times to none."""
    canned.add(text(1, "一"))
    async with opened(library, canned) as (adapter, _):
        [item] = (await adapter.source.fetch(0, 10)).items
        monkeypatch.setattr(adapter.puller._keys, "open", lambda item: key)
        with pytest.raises(SourceError, match="key text is none") as refused:
            await adapter.source.decrypt(item)
    assert refused.value.means is Means.ITEM
    assert not [line for line in canned.log() if line.startswith("DecryptData")]


async def test_a_call_that_outlives_its_reader_keeps_its_own_sdk(
    library: Path, canned: Canned
) -> None:
    """Closing is cancelled while a call is under way; the source is opened again before that call has ended."""
    gate = canned.folder / "wait.GetMediaData"
    gate.touch()
    async with AsyncExitStack() as stack:
        adapter, _ = await stack.enter_async_context(opened(library, canned, threads=1))
        first = asyncio.ensure_future(adapter.source.media("FILE", ""))
        await until_logged(canned, "Init")  # and then it waits
        old = adapter.source._opened  # type: ignore[attr-defined]
        closing = asyncio.ensure_future(stack.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    async with adapter.source.open():
        await adapter.source.fetch(0, 10)
        assert canned.log().count("DestroySdk ww1") == 0, "its call is still under way"
    assert canned.log().count("DestroySdk ww1") == 1, "the second's own"
    gate.unlink()
    with pytest.raises(SourceError, match="10005"):
        await first
    await asyncio.to_thread(old.pool.shutdown)
    await until_logged(canned, "DestroySdk ww1", 2)


async def until_logged(canned: Canned, line: str, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while sum(one.startswith(line) for one in canned.log()) < times:
            await asyncio.sleep(0.01)


async def test_a_library_that_is_not_there_or_another_one_is_told_with_the_remedy(
    library: Path, canned: Canned, tmp_path: Path
) -> None:
    with pytest.raises(NoLibrary, match=r"give the path of its \.so under `library`"):
        Library(str(tmp_path / "nowhere.so"))
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(NoLibrary, match=r"text\.so"):
        Library(str(tmp_path / "text.so"))
    (tmp_path / "other.c").write_text("int NewSdk(void) { return 0; }\n")
    other = tmp_path / "other.so"
    build(tmp_path / "other.c", other)
    with pytest.raises(NoLibrary, match="has no function Init"):
        Library(str(other))
    with pytest.raises(NoLibrary, match="nowhere"):
        async with opened(tmp_path / "nowhere.so", canned):
            raise AssertionError("it cannot be opened")
