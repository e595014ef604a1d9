"""Media of the WeCom simulator: checked uploads, three days of life, ranges, pictures, fetching by URL."""

from __future__ import annotations

import hashlib

import pytest
from aiohttp import web

from tests.unit.adapters.sim.wecomed import Api, listening, running, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPG = b"\xff\xd8\xff" + bytes(100)
MB = 1024 * 1024


async def fetch(api: Api, media_id: str, span: str = "") -> tuple[int, dict[str, str], bytes]:
    query = {"access_token": api.token, "media_id": media_id}
    headers = {"Range": span} if span else {}
    async with api.session.get(api.url("media/get"), params=query, headers=headers) as response:
        return response.status, dict(response.headers), await response.read()


async def test_an_upload_lives_three_days_and_is_shared_by_the_apps() -> None:
    async with running({"token_life": 10**6}) as (sim, api):
        answer = await api.upload(JPG)
        assert answer["type"] == "image"
        assert answer["created_at"].isdigit()
        media_id = answer["media_id"]
        await sim.control("app_add", {"agentid": 1000003, "secret": "other"})
        await api.login("other")
        status, headers, data = await fetch(api, media_id)
        assert (status, data) == (200, JPG)
        assert headers["Content-Type"] == "image/jpeg"
        assert "a.image" in headers["Content-Disposition"]
        await sim.control("advance", {"seconds": 3 * 86_400})
        assert (await api.get("media/get", media_id=media_id))["errcode"] == 40007
        assert (await api.get("media/get", media_id="unknown"))["errcode"] == 40007
        media_id = (await api.upload(JPG))["media_id"]
        await sim.control("media_expire", {"media_id": media_id})
        assert (await api.get("media/get", media_id=media_id))["errcode"] == 40007


@pytest.mark.parametrize(
    ("kind", "data", "errcode"),
    [
        ("nonsense", PNG, 40004),
        ("image", b"", 44001),
        ("image", b"\xff\xd8\xff12", 40006),
        ("image", b"GIF89a, not allowed", 40005),
        ("image", JPG + bytes(10 * MB), 40009),
        ("voice", b"RIFF....WAVE", 40005),
        ("voice", b"#!AMR\n" + bytes(13 * 3001), 45007),
        ("voice", b"#!AMR\n" + bytes(2 * MB), 40006),
        ("video", b"no mp4 at all", 40005),
        ("video", b"\0\0\0\x18ftyp" + bytes(10 * MB), 40011),
        ("file", bytes(20 * MB + 1), 40006),
    ],
)
async def test_an_upload_is_refused(kind: str, data: bytes, errcode: int) -> None:
    async with running() as (_, api):
        assert (await api.upload(data, kind))["errcode"] == errcode


async def test_sixty_seconds_of_voice_pass() -> None:
    async with running() as (_, api):
        assert (await api.upload(b"#!AMR\n" + bytes(13 * 3000), "voice"))["errcode"] == 0


async def test_a_body_without_a_file_is_refused() -> None:
    async with running() as (_, api):
        assert await api.code("media/upload", type="image") == 44001


async def test_ranges() -> None:
    async with running() as (sim, api):
        media_id = (await api.upload(b"0123456789", "file"))["media_id"]
        status, headers, data = await fetch(api, media_id, "bytes=2-4")
        assert (status, data) == (206, b"234")
        assert headers["Content-Range"] == "bytes 2-4/10"
        assert (await fetch(api, media_id, "bytes=8-"))[2] == b"89"
        assert (await fetch(api, media_id, "bytes=10-"))[0] == 416
        big = {"kind": "file", "name": "big", "size": 20 * MB + 10}
        media_id = (await sim.control("media_add", big))["media_id"]
        assert (await api.get("media/get", media_id=media_id))["errcode"] == 830002
        first = await fetch(api, media_id, f"bytes=0-{20 * MB - 1}")
        rest = await fetch(api, media_id, f"bytes={20 * MB}-")
        assert len(first[2]) + len(rest[2]) == 20 * MB + 10


async def test_a_picture_gets_a_lasting_address() -> None:
    async with running({"uploadimg_day": 2}) as (sim, api):
        url = (await api.upload(PNG, name="media/uploadimg"))["url"]
        await sim.control("advance", {"seconds": 3600})
        async with api.session.get(url) as response:
            assert await response.read() == PNG
        big = PNG + bytes(2 * MB)
        assert (await api.upload(big, name="media/uploadimg"))["errcode"] == 40009
        assert (await api.upload(PNG, name="media/uploadimg"))["errcode"] == 0
        assert (await api.upload(PNG, name="media/uploadimg"))["errcode"] == 45009


async def test_upload_by_url_ends_in_an_event() -> None:
    data = b"a file from elsewhere"
    app = web.Application()

    async def give(_: web.Request) -> web.Response:
        return web.Response(body=data)

    app.router.add_get("/f", give)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/f"
    try:
        async with running() as (sim, api), listening(sim) as listener:
            job = {"scene": 1, "type": "file", "filename": "f", "url": url}
            good = await api.post(
                "media/upload_by_url", job | {"md5": hashlib.md5(data).hexdigest()}
            )
            bad = await api.post("media/upload_by_url", job | {"md5": "0" * 32})
            await until(lambda: len(listener.named("upload_media_job_finish")) == 2)
            done = await api.post("media/get_upload_by_url_result", jobid=good["jobid"])
            assert done["status"] == 2
            assert (await fetch(api, done["detail"]["media_id"]))[2] == data
            failed = await api.post("media/get_upload_by_url_result", jobid=bad["jobid"])
            assert failed["status"] == 3
            assert failed["detail"]["errcode"] == 830003
    finally:
        await runner.cleanup()
