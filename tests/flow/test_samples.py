"""The samples of docs/samples do what they say: against the real API, and as receivers of good, forged, old and repeated calls."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from protocols.webhook.signing import secret_of, sign
from tests.process import free_port
from tests.unit.api.parts import Parts, text_of

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
SECRET = secret_of(b"a secret of thirty-two octets!!!")
BODY = b'{"id":"evt_1","type":"msgcenter.message.sent.v1","data":{"message":"msg_1"}}'
COMMANDS = {
    "python": (sys.executable, "sample.py"),
    "node": ("node", "sample.mjs"),
    "java": ("java", "Sample.java"),
    "shell": ("bash", "sample.sh"),
}
RECEIVERS = ("python", "node", "java")


def command(language: str) -> list[str]:
    """How a sample is started; skips where the toolchain is not installed."""
    program, file = COMMANDS[language]
    needed = ("bash", "curl", "openssl") if language == "shell" else (program,)
    for one in needed:
        if shutil.which(one) is None:
            pytest.skip(f"NOT TESTED: {file} needs `{one}`, which this machine lacks")
    return [program, str(SAMPLES / file)]


def test_each_sample_is_tested() -> None:
    files = {path.name for path in SAMPLES.iterdir() if path.is_file()}
    assert files == {file for _, file in COMMANDS.values()} | {"README.md"}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start()
    try:
        yield parts
    finally:
        await parts.close()


def environment(**more: str) -> dict[str, str]:
    root = str(SAMPLES.parents[1])
    return {**os.environ, "PYTHONPATH": root, "MSGCENTER_SECRET": SECRET, **more}


@pytest.mark.parametrize("language", COMMANDS)
async def test_it_sends_one_and_many(parts: Parts, language: str) -> None:
    argv = command(language)
    env = environment(
        MSGCENTER_URL=str(parts.client.make_url("")).rstrip("/"), MSGCENTER_KEY=await parts.key()
    )
    text = '您的"业务"\\已受理'
    for words in (
        ("send", "13800138000", text),
        ("batch", "生日快乐", "13800138001", "13800138002"),
    ):
        child = await asyncio.create_subprocess_exec(
            *argv, *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(90):
            said, _ = await child.communicate()
        assert child.returncode == 0, said.decode()
        assert "accepted" in said.decode()
    sent = [(str(one.to), text_of(one)) for one in parts.bus.envelopes]
    assert sent == [
        ("tel:+8613800138000", text),
        ("tel:+8613800138001", "生日快乐"),
        ("tel:+8613800138002", "生日快乐"),
    ]


@pytest.mark.parametrize("language", RECEIVERS)
async def test_it_receives_what_is_signed_and_nothing_else(language: str) -> None:
    argv, port = command(language), free_port()
    child = await asyncio.create_subprocess_exec(
        *argv, "receive", str(port), env=environment(), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(90):
            assert b"listening on" in await child.stdout.readline()
        now = int(time.time())
        good = sign([SECRET], "evt_1", now, BODY)
        async with aiohttp.ClientSession() as http:

            async def call(headers: dict[str, str], body: bytes = BODY) -> int:
                url = f"http://127.0.0.1:{port}/"
                async with http.post(url, data=body, headers=headers) as answer:
                    return answer.status

            assert await call({}) == 401
            assert await call(good, BODY.replace(b"msg_1", b"msg_2")) == 401
            assert await call({**good, "webhook-timestamp": str(now + 1)}) == 401
            assert await call(sign([SECRET], "evt_1", now - 400, BODY)) == 401
            assert await call(sign([secret_of(b"o" * 32)], "evt_1", now, BODY)) == 401
            both = sign([secret_of(b"o" * 32), SECRET], "evt_1", now, BODY)
            assert await call(both) == 204, "during a rotation two secrets sign"
            assert await call(good) == 200, "a repeat is taken and not worked on again"
            assert await call(sign([SECRET], "evt_2", now, b"x" * (2 << 20)), b"x" * (2 << 20)) in (
                413,
                401,
            )
        async with asyncio.timeout(20):
            assert (await child.stdout.readline()).startswith(b"evt_1 ")
    finally:
        child.kill()
        await child.wait()


async def test_the_shell_checks_a_signature() -> None:
    argv, now = command("shell"), int(time.time())
    good = sign([secret_of(b"o" * 32), SECRET], "evt_1", now, BODY)
    for headers, body, status in (
        (good, BODY, 0),
        (good, BODY + b" ", 1),
        (sign([SECRET], "evt_1", now - 400, BODY), BODY, 1),
    ):
        child = await asyncio.create_subprocess_exec(
            *argv,
            "verify",
            *headers.values(),
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await child.communicate(body)
        assert child.returncode == status, told.decode()
