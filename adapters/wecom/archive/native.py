"""The archive through the vendor's shared library: its C interface by ctypes, each blocking call in a worker thread with an SDK of its own.

The symmetric step of decrypting is published nowhere else than in that library. Functions and structs are those of its public
header; structs are only passed on, and read through the library's own functions.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ctypes import CDLL, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from typing import Any, TypeVar

from adapters.wecom.archive.settings import WeComArchiveSettings
from adapters.wecom.archive.source import Keys, SourceError
from msgcenter.adapter import Malformed
from protocols.jsontext import MAX_BYTES
from protocols.wecom.answers import read
from protocols.wecom.archive import Chunk, Encrypted, Page

T = TypeVar("T")

_P = c_void_p
#: Function -> (what it returns, what it takes).
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "NewSdk": (_P, ()),
    "Init": (c_int, (_P, c_char_p, c_char_p)),
    "DestroySdk": (None, (_P,)),
    "GetChatData": (c_int, (_P, c_ulonglong, c_uint, c_char_p, c_char_p, c_int, _P)),
    "DecryptData": (c_int, (c_char_p, c_char_p, _P)),
    "GetMediaData": (c_int, (_P, c_char_p, c_char_p, c_char_p, c_char_p, c_int, _P)),
    "NewSlice": (_P, ()),
    "FreeSlice": (None, (_P,)),
    "GetContentFromSlice": (_P, (_P,)),
    "GetSliceLen": (c_int, (_P,)),
    "NewMediaData": (_P, ()),
    "FreeMediaData": (None, (_P,)),
    "GetOutIndexBuf": (_P, (_P,)),
    "GetIndexLen": (c_int, (_P,)),
    "GetData": (_P, (_P,)),
    "GetDataLen": (c_int, (_P,)),
    "IsMediaDataFinish": (c_int, (_P,)),
}


class NoLibrary(RuntimeError):
    """The shared library is not there, is of another machine, or has not the functions it should."""


class Library:
    """The loaded library; its functions by their own names."""

    def __init__(self, path: str) -> None:
        """Raises NoLibrary."""
        try:
            loaded = CDLL(path)
        except OSError as error:
            raise NoLibrary(
                f"library {path}: {error}; get the vendor's SDK of the conversation archive for this machine "
                "and give the path of its .so under `library`"
            ) from None
        for name, (returns, takes) in _SIGNATURES.items():
            try:
                function = getattr(loaded, name)
            except AttributeError:
                raise NoLibrary(
                    f"library {path}: has no function {name}; it is not the C library of the archive SDK"
                ) from None
            function.restype, function.argtypes = returns, takes
        self.call = loaded

    def content(self, piece: int) -> bytes:
        """What a slice holds."""
        return _octets(self.call.GetContentFromSlice(piece), self.call.GetSliceLen(piece))


def _octets(address: int | None, length: int) -> bytes:
    return ctypes.string_at(address, length) if address and length > 0 else b""


def _made(make: Any) -> int:
    """What a maker of the library made: its other functions take no null pointer. Raises SourceError."""
    made: int | None = make()
    if not made:
        raise SourceError(10003, f"{make.__name__}: out of memory")
    return made


class _Opened:
    """One stretch of `open`: its threads and their SDKs. A thread that outlives it, because its waiter was cancelled, keeps to
    these and never touches those of the next."""

    def __init__(self, library: Library, threads: int) -> None:
        self.library = library
        self.pool = ThreadPoolExecutor(threads, "wecom-archive")
        self.mine = threading.local()
        self._sdks: list[int] = []

    def keep(self, sdk: int) -> None:
        """This thread's SDK, from now on; given back by `close`."""
        self._sdks.append(sdk)
        self.mine.sdk = sdk

    def close(self) -> None:
        """What is under way ends within its own time limit; no SDK goes before that. Blocks."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        for sdk in self._sdks:
            self.library.call.DestroySdk(sdk)


class NativeSource:
    """Reads through the library named in the settings. Threads and SDKs live as long as `open`."""

    def __init__(self, settings: WeComArchiveSettings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._opened: _Opened | None = None
        password = settings.proxy_password
        self._proxy = settings.proxy.encode()
        self._password = password.reveal().encode() if password is not None else b""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Raises NoLibrary."""
        library = await asyncio.to_thread(Library, self._settings.library)
        self._opened = opened = _Opened(library, self._settings.threads)
        try:
            yield
        finally:
            self._opened = None
            await asyncio.shield(asyncio.to_thread(opened.close))

    async def _run(self, work: Callable[[_Opened], T]) -> T:
        opened = self._opened
        if opened is None:
            raise SourceError(10003, "the library is closed")
        return await asyncio.get_running_loop().run_in_executor(opened.pool, work, opened)

    async def fetch(self, seq: int, limit: int) -> Page:
        return await self._run(lambda opened: self._fetch(opened, seq, limit))

    async def decrypt(self, item: Encrypted) -> bytes:
        return await self._run(lambda opened: self._decrypt(opened, item))

    async def media(self, file_id: str, index: str) -> Chunk:
        return await self._run(lambda opened: self._media(opened, file_id, index))

    # -- in a worker thread --------------------------------------------------------------------------------------------

    def _sdk(self, opened: _Opened) -> int:
        """This thread's SDK, made at its first call."""
        found: int | None = getattr(opened.mine, "sdk", None)
        if found is not None:
            return found
        call = opened.library.call
        made = int(_made(call.NewSdk))
        corp, secret = self._settings.corp.encode(), self._settings.secret.reveal().encode()
        code = call.Init(made, corp, secret)
        if code:
            call.DestroySdk(made)
            raise SourceError(code, "Init")
        opened.keep(made)
        return made

    def _fetch(self, opened: _Opened, seq: int, limit: int) -> Page:
        library, timeout = opened.library, self._settings.sdk_timeout_s
        call, sdk = library.call, self._sdk(opened)
        piece = _made(call.NewSlice)
        try:
            code = call.GetChatData(sdk, seq, limit, self._proxy, self._password, timeout, piece)
            if code:
                raise SourceError(code, "GetChatData")
            return page_in(library.content(piece))
        finally:
            call.FreeSlice(piece)

    def _decrypt(self, opened: _Opened, item: Encrypted) -> bytes:
        key = self._keys.open(item)
        # A private key that does not fit opens to anything: once in some 240 times to nothing at all, often to a text with a
        # zero in it, where C would cut it. Neither is for the library to find out.
        if not key or b"\x00" in key:
            raise SourceError(10006, "the key text is none")
        library, sealed = opened.library, item.chat_msg.encode(errors="replace")
        piece = _made(library.call.NewSlice)
        try:
            code = library.call.DecryptData(key, sealed, piece)
            if code:
                raise SourceError(code, "DecryptData")
            return library.content(piece)
        finally:
            library.call.FreeSlice(piece)

    def _media(self, opened: _Opened, file_id: str, index: str) -> Chunk:
        call, timeout = opened.library.call, self._settings.sdk_timeout_s
        sdk, asked = self._sdk(opened), (index.encode(), file_id.encode(errors="replace"))
        piece = _made(call.NewMediaData)
        try:
            code = call.GetMediaData(sdk, *asked, self._proxy, self._password, timeout, piece)
            if code:
                raise SourceError(code, "GetMediaData")
            after = _octets(call.GetOutIndexBuf(piece), call.GetIndexLen(piece))
            data = _octets(call.GetData(piece), call.GetDataLen(piece))
            is_last = bool(call.IsMediaDataFinish(piece))
            return data, after.rstrip(b"\x00").decode("ascii", "replace"), is_last
        finally:
            call.FreeMediaData(piece)


def page_in(octets: bytes) -> Page:
    """The items in an answer of GetChatData. Raises SourceError."""
    if len(octets) > MAX_BYTES:
        raise SourceError(301058, f"{len(octets)} octets")
    try:
        answer = read(octets)
    except Malformed as error:
        raise SourceError(10002, str(error)) from None
    if answer.errcode:
        raise SourceError(answer.errcode, answer.errmsg)
    return Page.of(answer)
