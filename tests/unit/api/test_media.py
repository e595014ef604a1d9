"""/v1/media: uploads, ranges, links, limits, and who may."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import FormData, MultipartWriter

from msgcenter.api.media import range_of
from msgcenter.media.kinds import LIMITS
from tests.unit.api.parts import Parts

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4


async def upload(parts: Parts, data: Any = PNG, *, mime: str = "image/png", **more: Any) -> Any:
    headers = {"Content-Type": mime} if mime else {}
    query = more.pop("query", "")
    return await parts.call("POST", f"/v1/media{query}", data=data, headers=headers, **more)


async def fetch(parts: Parts, path: str, *, caller: str = "crm", **headers: str) -> Any:
    given = {"Authorization": f"Bearer {await parts.key(caller)}", **headers} if caller else headers
    async with parts.client.get(path, headers=given) as response:
        return response.status, await response.read(), response.headers


async def test_a_file_goes_in_raw_or_as_a_part_and_comes_out(parts: Parts) -> None:
    status, raw, headers = await upload(parts, query=f"?name={quote('图片.png')}")
    assert status == 201
    assert headers["Location"] == f"/v1/media/{raw['id']}"
    assert (raw["type"], raw["name"], raw["size"]) == ("image/png", "图片.png", len(PNG))
    form = FormData()
    form.add_field("comment", "no file")
    form.add_field("media", PNG, filename="b.png", content_type="image/png")
    status, part, _ = await upload(parts, form, mime="")
    assert (status, part["id"], part["name"]) == (201, raw["id"], "图片.png")
    status, body, headers = await fetch(parts, f"/v1/media/{raw['id']}")
    assert (status, body) == (200, PNG)
    assert headers["Content-Type"] == "image/png"
    assert headers["ETag"] == f'"{raw["sha256"]}"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert quote("图片.png") in headers["Content-Disposition"]
    status, body, _ = await fetch(
        parts, f"/v1/media/{raw['id']}", **{"If-None-Match": f'"x", W/"{raw["sha256"]}"'}
    )
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-700", (0, 100)),
        ("bytes=90-900", (90, 100)),
        ("bytes=100-", (100, 100)),
        ("bytes=-0", (100, 100)),
        ("", None),
        ("bytes=-", None),
        ("bytes=9-3", None),
        ("bytes=0-1,5-6", None),
        ("octets=0-1", None),
        ("bytes=١-٢", None),
    ],
)
def test_ranges(header: str, span: Any) -> None:
    assert range_of(header, 100) == span


async def test_ranges_are_served(parts: Parts) -> None:
    _, made, _ = await upload(parts)
    path, size = f"/v1/media/{made['id']}", len(PNG)
    whole = b""
    for start in range(0, size, 300):
        status, body, headers = await fetch(parts, path, Range=f"bytes={start}-{start + 299}")
        assert status == 206
        assert headers["Content-Range"] == f"bytes {start}-{min(size, start + 300) - 1}/{size}"
        whole += body
    assert whole == PNG
    status, body, headers = await fetch(parts, path, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    assert b"range_unsatisfiable" in body
    tag = made["sha256"]
    assert (await fetch(parts, path, Range="bytes=0-1", **{"If-Range": f'"{tag}"'}))[0] == 206
    assert (await fetch(parts, path, Range="bytes=0-1", **{"If-Range": '"other"'}))[0] == 200


async def test_what_is_not_taken_says_why(parts: Parts) -> None:
    limit = LIMITS["image"]
    status, body, _ = await upload(parts, PNG + bytes(limit))
    assert (status, body["code"]) == (413, "media_too_large")
    assert str(limit) in body["detail"]
    for data, mime, status, code in (
        (b"<html>hello</html>", "text/html", 415, "media_refused"),
        (PNG, "image/jpeg", 415, "media_refused"),
        (b"", "image/png", 415, "media_refused"),
        (b"--x--", "multipart/form-data; boundary=x", 400, "media_malformed"),
        (b"garbage", "multipart/form-data", 400, "media_malformed"),
        (
            b"--x\r\nContent-Disposition: form-data; name=m; filename=a.png\r\n\r\n" + PNG,
            "multipart/form-data; boundary=x",
            400,
            "media_malformed",
        ),
    ):
        got, body, _ = await upload(parts, data, mime=mime)
        assert (got, body["code"]) == (status, code), (mime, body)
    headers = {"Content-Encoding": "gzip", "Content-Type": "image/png"}
    got, body, _ = await parts.call("POST", "/v1/media", data=b"x", headers=headers)
    assert got in (400, 415)
    with MultipartWriter("form-data") as nothing:
        nothing.append("words", {"Content-Disposition": 'form-data; name="a"'})
    got, body, _ = await upload(parts, nothing, mime="")
    assert (got, body["code"]) == (400, "media_malformed")
    got, body, _ = await upload(parts, query="?nam=x")
    assert (got, body["errors"][0]["code"]) == (422, "unknown_field")


async def test_who_may(parts: Parts) -> None:
    _, made, _ = await upload(parts)
    path = f"/v1/media/{made['id']}"
    assert (await upload(parts, caller="ops"))[0] == 403, "no scope send"
    assert (await fetch(parts, path, caller="iop"))[0] == 404, "another caller's"
    assert (await fetch(parts, path, caller="ops"))[0] == 200, "reads everything"
    assert (await fetch(parts, path, caller=""))[0] == 401
    assert (await fetch(parts, "/v1/media/med_" + "0" * 26))[0] == 404
    assert (await parts.post(f"{path}:link", caller="iop"))[0] == 404
    await upload(parts, caller="iop")
    assert (await fetch(parts, path, caller="iop"))[0] == 200, "it brought the same file itself"


async def test_a_link_needs_no_key_until_it_ends(parts: Parts) -> None:
    _, made, _ = await upload(parts)
    status, link, _ = await parts.post(f"/v1/media/{made['id']}:link", {"expires_in": "1h"})
    assert status == 200
    status, body, headers = await fetch(parts, link["url"], caller="", Range="bytes=1-3")
    assert (status, body, headers["Content-Type"]) == (206, b"PNG", "image/png")
    assert (await fetch(parts, link["url"][:-1], caller=""))[0] == 403
    assert (await fetch(parts, link["url"].replace("exp=", "exp=1"), caller=""))[0] == 403
    assert (await fetch(parts, f"/m/{made['id']}", caller=""))[0] == 403
    status, link, _ = await parts.post(f"/v1/media/{made['id']}:link")
    assert status == 200, "ten minutes by default"
    over = parts.api.links.path(made["id"], parts.clock.now_ms() // 1000 - 1)
    assert (await fetch(parts, over, caller=""))[0] == 410
    status, body, _ = await parts.post(f"/v1/media/{made['id']}:link", {"expires_in": "8d"})
    assert (status, body["errors"][0]["code"]) == (422, "duration_invalid")


async def test_a_file_that_is_gone_is_not_a_crash(parts: Parts) -> None:
    _, made, _ = await upload(parts)
    path = parts.deps.media.path(made["id"])
    path.write_bytes(PNG[:50])
    with pytest.raises(Exception, match=r"not (all|completed)|payload|closed|disconnected"):
        await fetch(parts, f"/v1/media/{made['id']}")
    path.unlink()
    status, body, _ = await fetch(parts, f"/v1/media/{made['id']}")
    assert status == 503
    assert b"media_unavailable" in body
