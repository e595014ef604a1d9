"""Somebody else's CMPP client against our gateway: cmppy logs in, submits and leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import cmppy

from adapters.sim.smsc import Options, Smsc
from msgcenter.simulator import Journal


async def test_a_text_is_taken_and_bad_numbers_and_secrets_are_refused() -> None:
    sim = Smsc(Options(protocol="cmpp3", report_delay=60.0), Journal())
    await sim.start()
    sim.faults.refuse = {"13900000000": 13}

    def submit(secret: str, to: list[str]) -> Any:
        client = cmppy.Cmppy("127.0.0.1", sim.port, "901234", secret)
        request = cmppy.SubmitReq(
            "901234", "您好，验证码 1234", src_id="10657", dest_terminal_id=to
        )
        return client.request(request)

    try:
        taken = await asyncio.to_thread(submit, "sandbox", ["13800138000"])
        assert taken.result == 0
        [entry] = sim.journal.entries()
        assert (entry["text"], entry["sender"]) == ("您好，验证码 1234", "10657")
        assert sim.submits[0].msg_id == taken.msg_id
        assert (await asyncio.to_thread(submit, "sandbox", ["13900000000"])).result == 13
        assert await asyncio.to_thread(submit, "wrong", ["13800138000"]) is None
        assert len(sim.journal.entries()) == 1
        both = ["13800138001", "13800138002"]
        assert (await asyncio.to_thread(submit, "sandbox", both)).result == 0
        assert [entry["recipient"] for entry in sim.journal.entries()[1:]] == both
    finally:
        await sim.stop()
