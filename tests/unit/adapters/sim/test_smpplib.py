"""Somebody else's SMPP client against ours: smpplib binds, sends short and long texts, gets receipts
and what phones write.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm

from adapters.sim.smsc import Options, Smsc
from msgcenter.simulator import Journal
from protocols.smpp import pdu as p
from protocols.smpp.receipt import parse_receipt, same_id

NUMBER = "8613800138000"
LONG = "您订购的畅享套餐将于下月一日生效。" * 10


def use(port: int, texts: list[str], deliveries: int) -> tuple[list[str], list[Any]]:
    """Blocking: the ids of all parts, and what came, until that many deliveries are there."""
    client = smpplib.client.Client("127.0.0.1", port, timeout=5, allow_unknown_opt_params=True)
    ids: list[str] = []
    came: list[Any] = []
    client.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id.decode()))
    client.set_message_received_handler(lambda pdu: came.append(pdu) and None)
    client.connect()
    try:
        client.bind_transceiver(system_id="901234", password="sandbox")
        for text in texts:
            parts, coding, flag = smpplib.gsm.make_parts(text)
            for part in parts:
                client.send_message(
                    source_addr_ton=smpplib.consts.SMPP_TON_UNK,
                    source_addr="10657",
                    dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                    destination_addr=NUMBER,
                    short_message=part,
                    data_coding=coding,
                    esm_class=flag,
                    registered_delivery=True,
                )
        for _ in range(40):
            if len(came) >= deliveries:
                break
            client.read_once()
        client.unbind()
    finally:
        client.disconnect()
    return ids, came


async def test_texts_receipts_and_a_message_from_a_phone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "smpp.Client")
    sim = Smsc(Options(protocol="smpp", report_delay=0.0), Journal())
    await sim.start()
    try:
        texts = ["hello {€}", "您好", LONG, "x" * 400]
        written = asyncio.ensure_future(sim.inject_mo(NUMBER, "1065701", "退订"))
        ids, came = await asyncio.to_thread(use, sim.port, texts, 9)
        assert (await written)["delivered"]
        assert [entry["text"] for entry in sim.journal.entries()] == texts
        assert [entry["parts"] for entry in sim.journal.entries()] == [1, 1, 3, 3]
        assert len(ids) == 8
        receipts = [parse_receipt(_ours(pdu)) for pdu in came if pdu.esm_class & 0x3C]
        assert {same_id(receipt.message_id) for receipt in receipts} == {same_id(i) for i in ids}
        assert {receipt.stat for receipt in receipts} == {"DELIVRD"}
        assert {pdu.receipted_message_id for pdu in came if pdu.esm_class} == {
            i.encode() for i in ids
        }
        [mo] = [pdu for pdu in came if not pdu.esm_class]
        assert mo.short_message.decode("utf-16-be") == "退订"
    finally:
        await sim.stop()


def _ours(pdu: Any) -> p.DeliverSm:
    source, destination = pdu.source_addr.decode(), pdu.destination_addr.decode()
    return p.DeliverSm(source, destination, pdu.short_message, esm_class=pdu.esm_class)


async def test_refusals_are_understood() -> None:
    sim = Smsc(Options(protocol="smpp"), Journal())
    await sim.start()

    def bind(password: str) -> None:
        client = smpplib.client.Client(
            "127.0.0.1", sim.port, timeout=5, allow_unknown_opt_params=True
        )
        client.connect()
        try:
            client.bind_transmitter(system_id="901234", password=password)
        finally:
            client.disconnect()

    try:
        with pytest.raises(smpplib.exceptions.PDUError) as refused:
            await asyncio.to_thread(bind, "wrong")
        assert refused.value.args[1] == p.RINVPASWD
        await asyncio.to_thread(bind, "sandbox")
    finally:
        await sim.stop()
