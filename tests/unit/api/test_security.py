"""The API's side of SECURITY.md: what is stored, compared, bounded and signed."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from msgcenter.api import auth, web
from msgcenter.api.auth import make_key
from msgcenter.client import ApiError, AsyncClient
from protocols.webhook.signing import secret_of, sign
from tests.unit.api.parts import FILES, PEPPER, Parts, message

SECRET = secret_of(b"s" * 32)
SIGNED = """
signed:
  scopes: [send, read]
  categories: ['*']
  defaults: {account: hotline}
  signing: {secrets: ["${env:SIGNING}"]}
"""


@pytest.fixture
async def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start({"callers.yaml": FILES["callers.yaml"] + SIGNED}, env={"SIGNING": SECRET})
    try:
        yield parts
    finally:
        await parts.close()


async def test_the_store_never_sees_a_secret(parts: Parts) -> None:
    key = await parts.key()
    await parts.store.close()
    kept = b"".join(path.read_bytes() for path in parts.folder.glob("store.db*"))
    await parts.store.open()
    keyid, secret = auth.read_key(key) or ("", "")
    assert keyid.encode() in kept
    assert secret.encode() not in kept
    assert auth.hash_secret(PEPPER, secret).encode() in kept


async def test_a_key_that_does_not_exist_is_compared_as_well(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(auth.hmac, "compare_digest", compare)
    _, stranger, _ = make_key("test", PEPPER)
    headers = {"Authorization": f"Bearer {stranger}"}
    async with parts.client.get("/v1/messages", headers=headers) as answer:
        assert answer.status == 401
    assert compared == [(64, 64)]


async def test_a_key_is_not_taken_from_the_address(parts: Parts) -> None:
    key = await parts.key()
    for name in ("key", "api_key", "access_token", "authorization"):
        async with parts.client.get(f"/v1/channels?{name}={key}") as answer:
            assert answer.status == 401
    assert not any(key in str(line) for line in parts.log.lines)


# -- slow and large -----------------------------------------------------------------------------


async def test_a_body_that_drips_is_ended(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_S", 0.2)
    url = parts.client.make_url("/")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {await parts.key()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    writer.write(head.encode())
    async with asyncio.timeout(20):
        answer = await reader.read()  # to the end: the connection is closed, not only answered
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_slow"' in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /version HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /version?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /version HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(500)) + b"\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    ],
    ids=["long header", "long address", "many headers", "smuggled length", "control character"],
)
async def test_heads_out_of_bounds_are_refused(parts: Parts, head: bytes) -> None:
    url = parts.client.make_url("/")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head)
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.close()
    assert line.split()[1:2] in ([b"400"], [b"431"], [b"414"]), line


async def test_wide_and_repeating_json_is_bounded(parts: Parts) -> None:
    started = time.monotonic()
    bodies: list[Any] = [
        {"messages": [message(**{f"x{n}": 1 for n in range(2000)})]},
        {"messages": [[]] * 1001},
        message(**{"y" * 50_000: 1}),
        message(content={"type": "text", "text": "字" * 200_000}),
    ]
    for body in bodies:
        path = "/v1/messages:batch" if "messages" in body else "/v1/messages"
        status, answer, _ = await parts.post(path, body)
        assert status in (202, 422)
        assert len(str(answer)) < 200_000, "a refusal is not larger than what was refused"
    assert time.monotonic() - started < 60
    assert not parts.bus.frames


# -- headers ------------------------------------------------------------------------------------


async def test_a_file_name_cannot_add_headers(parts: Parts) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(64)
    name = 'a"; filename=b\r\nSet-Cookie: x=1\r\n.png'
    status, kept, _ = await parts.call(
        "POST", "/v1/media", params={"name": name}, data=png, headers={"Content-Type": "image/png"}
    )
    if status == 201:
        headers = {"Authorization": f"Bearer {await parts.key()}"}
        async with parts.client.get(f"/v1/media/{kept['id']}", headers=headers) as answer:
            assert answer.status == 200
            assert "Set-Cookie" not in answer.headers
            assert "\r" not in answer.headers.get("Content-Disposition", "")
    else:
        assert status == 422


async def test_what_is_echoed_cannot_add_headers(parts: Parts) -> None:
    status, _, headers = await parts.post("/v1/messages", message(reference="a\r\nX: y"))
    assert (status, "X" in headers) == (422, False)
    status, _, headers = await parts.get("/v1/messages/x%0d%0aX:%20y")
    assert (status, "X" in headers) == (404, False)


# -- signed requests ----------------------------------------------------------------------------


async def test_a_key_alone_is_not_enough_where_requests_are_signed(parts: Parts) -> None:
    status, body, _ = await parts.post("/v1/messages", message(), caller="signed")
    assert (status, body["code"]) == (401, "signature_invalid")
    status, body, _ = await parts.get("/v1/callers/me", caller="signed")
    assert (status, body["code"]) == (401, "signature_invalid")
    assert SECRET not in str(body)


async def test_the_client_signs_every_try_anew(parts: Parts) -> None:
    base, key = str(parts.client.make_url("/")), await parts.key("signed")
    async with AsyncClient(base, key, signing_secret=SECRET) as client:
        for _ in range(2):
            assert (await client.send_message(message()))["status"] == "accepted"  # type: ignore[arg-type]
        assert (await client.list_messages(direction="out", limit=5))["items"] == []
        png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(64)
        assert (await client.upload_media(png, content_type="image/png"))["size"] == len(png)
    async with AsyncClient(base, key, signing_secret=secret_of(b"o" * 32)) as wrong:
        with pytest.raises(ApiError, match="signature_invalid"):
            await wrong.send_message(message())  # type: ignore[arg-type]


async def test_a_copied_request_counts_once_and_nowhere_else(parts: Parts) -> None:
    body = b'{"to":"13800138000","category":"care","content":{"type":"text","text":"x"}}'
    now = parts.clock.now_ms() // 1000

    async def post(headers: dict[str, str], path: str = "/v1/messages", data: bytes = body) -> Any:
        given = {"Content-Type": "application/json", **headers}
        return await parts.call("POST", path, data=data, caller="signed", headers=given)

    good = sign([SECRET], "req_1", now, b"POST /v1/messages\n" + body)
    assert (await post(good, "/v1/messages:batch"))[1]["code"] == "signature_invalid"
    assert (await post(good, "/v1/messages?wait=1s"))[1]["code"] == "signature_invalid"
    assert (await post(good, data=body + b" "))[1]["code"] == "signature_invalid"
    assert (await post(good))[0] == 202
    assert (await post(good))[1]["code"] == "signature_replayed"
    old = sign([SECRET], "req_2", now - 301, b"POST /v1/messages\n" + body)
    assert (await post(old))[1]["code"] == "signature_invalid"
    assert len(parts.bus.envelopes) == 1
