"""Kannel (bearerbox and smsbox, the C gateway that many operators run) bound to our SMPP gateway: what its users send arrives,
what phones write and what becomes of messages reaches its users.

It needs Debian's `kannel` package, which nothing else here does: without it these tests are skipped, whatever the machine must
have otherwise.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, quote

import aiohttp
import pytest
from aiohttp import web

from adapters.sim.smsc import Options, Smsc
from msgcenter.simulator import Journal

BEARERBOX, SMSBOX = (
    shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin")
    for name in ("bearerbox", "smsbox")
)
pytestmark = [
    pytest.mark.skipif(
        BEARERBOX is None or SMSBOX is None,
        reason="Kannel is not installed: apt-get install --no-install-recommends kannel",
    ),
    pytest.mark.timeout(120),
]
NUMBER = "8613800138000"
LONG = "您订购的畅享套餐将于下月一日生效。" * 10
CONF = """\
group = core
admin-port = {admin}
admin-password = x
admin-allow-ip = 127.0.0.1
smsbox-port = {boxes}
box-allow-ip = 127.0.0.1
log-level = 1
dlr-storage = internal
sms-combine-concatenated-mo = true

group = smsc
smsc = smpp
smsc-id = ours
host = 127.0.0.1
port = {smpp}
smsc-username = 901234
smsc-password = sandbox
system-type = ""
transceiver-mode = true
interface-version = 34
source-addr-ton = 0
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1
msg-id-type = 0x00
reconnect-delay = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {send}
log-level = 1

group = sendsms-user
username = u
password = p
concatenation = true
max-messages = 20

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{hear}/mo?from=%p&to=%P&text=%b&charset=%C"
omit-empty = true
max-messages = 0
"""


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


class Kannel:
    """What it is asked over HTTP, and what it told us."""

    def __init__(self, send: int, hear: int) -> None:
        self._send, self._hear = send, hear
        self.heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def told(self, request: web.Request) -> web.Response:
        pairs = parse_qsl(request.rel_url.raw_query_string, encoding="latin-1")
        await self.heard.put(dict(pairs))
        return web.Response(text="")

    async def send(self, text: str) -> int:
        """The status of its answer: 202 when it has taken the message."""
        receipt = f"http://127.0.0.1:{self._hear}/dlr?state=%d"
        plain = text.isascii()
        query = (
            f"username=u&password=p&from=10657&to={NUMBER}&dlr-mask=3&dlr-url={quote(receipt, safe='')}"
            f"&coding={0 if plain else 2}&text={quote(text.encode('ascii' if plain else 'utf-16-be'))}"
            + ("" if plain else "&charset=UTF-16BE")
        )
        async with (
            aiohttp.ClientSession() as http,
            http.get(
                f"http://127.0.0.1:{self._send}/cgi-bin/sendsms?{query}".replace(" ", "+")
            ) as answer,
        ):
            return answer.status


@asynccontextmanager
async def running(folder: Path, smpp: int) -> AsyncIterator[Kannel]:
    admin, boxes, send, hear = free_ports(4)
    conf = folder / "kannel.conf"
    conf.write_text(CONF.format(admin=admin, boxes=boxes, smpp=smpp, send=send, hear=hear))
    kannel = Kannel(send, hear)
    app = web.Application()
    app.add_routes([web.get("/mo", kannel.told), web.get("/dlr", kannel.told)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", hear).start()
    log = (folder / "kannel.log").open("wb")
    processes: list[asyncio.subprocess.Process] = []
    try:
        for box, port in ((BEARERBOX, boxes), (SMSBOX, send)):
            assert box is not None
            processes.append(
                await asyncio.create_subprocess_exec(
                    box, "-v", "1", str(conf), cwd=folder, stdout=log, stderr=log
                )
            )
            await answering(port, folder)
        yield kannel
    finally:
        for process in reversed(processes):
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 10)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        log.close()
        await runner.cleanup()


async def answering(port: int, folder: Path) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise AssertionError((folder / "kannel.log").read_text(errors="replace")[-3000:])


async def test_texts_receipts_and_a_message_from_a_phone(tmp_path: Path) -> None:
    sim = Smsc(Options(protocol="smpp", report_delay=0.1), Journal())
    await sim.start()
    try:
        async with running(tmp_path, sim.port) as kannel:
            texts = ["hello from Kannel", "您好，验证码 1234", LONG]
            for number, text in enumerate(texts, 1):
                assert await kannel.send(text) == 202
                for _ in range(300):
                    if len(sim.journal.entries()) == number:
                        break
                    await asyncio.sleep(0.1)
            assert [entry["text"] for entry in sim.journal.entries()] == texts
            assert sim.journal.entries()[2]["parts"] == 3
            states = [(await asyncio.wait_for(kannel.heard.get(), 30))["state"] for _ in texts]
            assert states == ["1"] * len(texts)  # delivered to the phone
            written = await asyncio.wait_for(sim.inject_mo(NUMBER, "10657", "退订"), 30)
            assert written["delivered"]
            mo = await asyncio.wait_for(kannel.heard.get(), 30)
            assert (mo["from"].lstrip("+"), mo["to"].lstrip("+")) == (NUMBER, "10657")
            assert mo["text"].encode("latin-1").decode(mo["charset"].lower()) == "退订"
    finally:
        await sim.stop()
