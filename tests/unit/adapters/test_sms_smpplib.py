"""Our SMS channel against a gateway made of somebody else's SMPP: every PDU is read and written by smpplib."""

from __future__ import annotations

import asyncio
from typing import Any

import smpplib.client
import smpplib.smpp
from smpplib import consts

from adapters.sms import Sms, SmsSettings
from msgcenter.adapter import Rejected, Retry, Sent
from msgcenter.rig import kept
from protocols.address import Address
from protocols.payload import Text
from tests.port import FakePort
from tests.unit.adapters.test_sms import LONG, sms
from tests.unit.adapters.test_sms_family import terms

REFUSED, BUSY = "8613800000003", "8613800000004"


class Gateway(asyncio.Protocol):
    """Takes what is submitted, sends a receipt for each, and one message from a phone after the first."""

    def __init__(self) -> None:
        self.binds: list[Any] = []
        self.submits: list[Any] = []
        self.confirmed: list[int] = []
        self.unbound = False
        self._rest = b""
        self._numbers = smpplib.client.SimpleSequenceGenerator()

    def __call__(self) -> Gateway:
        return self

    def next_sequence(self) -> int:
        """smpplib asks its client for it."""
        return int(self._numbers.next_sequence())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 4 and len(self._rest) >= (
            size := int.from_bytes(self._rest[:4], "big")
        ):
            raw, self._rest = self._rest[:size], self._rest[size:]
            self._take(smpplib.smpp.parse_pdu(raw, client=self, allow_unknown_opt_params=True))

    def _say(self, command: str, sequence: int | None = None, **fields: Any) -> None:
        pdu = smpplib.smpp.make_pdu(command, client=self, sequence=sequence, **fields)
        if sequence is not None:
            pdu.sequence = sequence
        self._transport.write(pdu.generate())

    def _take(self, pdu: Any) -> None:
        match pdu.command:
            case "bind_transceiver":
                self.binds.append(pdu)
                self._say("bind_transceiver_resp", pdu.sequence, system_id="smpplib")
            case "enquire_link":
                self._say("enquire_link_resp", pdu.sequence)
            case "unbind":
                self.unbound = True
                self._say("unbind_resp", pdu.sequence)
            case "deliver_sm_resp":
                self.confirmed.append(pdu.status)
            case "submit_sm":
                self._submitted(pdu)
            case other:
                raise AssertionError(f"the channel said {other}")

    def _submitted(self, pdu: Any) -> None:
        number = pdu.destination_addr.decode()
        if number in (REFUSED, BUSY):
            status = (
                consts.SMPP_ESME_RINVDSTADR if number == REFUSED else consts.SMPP_ESME_RTHROTTLED
            )
            self._say("submit_sm_resp", pdu.sequence, status=status)
            return
        self.submits.append(pdu)
        message_id = f"A{len(self.submits):04d}"
        self._say("submit_sm_resp", pdu.sequence, message_id=message_id)
        receipt = (
            f"id:{message_id} sub:001 dlvrd:001 submit date:2601011200 done date:2601011201 "
            "stat:DELIVRD err:000 text:"
        )
        both = {"source_addr": number, "destination_addr": pdu.source_addr.decode()}
        self._say(
            "deliver_sm", **both, esm_class=4,  # a receipt
            short_message=receipt.encode(),
        )  # fmt: skip
        if len(self.submits) == 1:
            self._say(
                "deliver_sm", **both, data_coding=consts.SMPP_ENCODING_ISO10646,
                short_message="退订".encode("utf-16-be"),
            )  # fmt: skip


def text_of(parts: list[Any]) -> str:
    """What the phone shows of the parts of one text, which may have come in any order."""
    if not parts[0].esm_class & consts.SMPP_GSMFEAT_UDHI:
        [only] = parts
        octets = only.short_message
    else:
        assert {part.short_message[4] for part in parts} == {len(parts)}
        parts = sorted(parts, key=lambda part: part.short_message[5])
        octets = b"".join(part.short_message[6:] for part in parts)
    codec = "utf-16-be" if parts[0].data_coding == consts.SMPP_ENCODING_ISO10646 else "ascii"
    return str(octets.decode(codec))


async def test_texts_refusals_receipts_and_a_message_from_a_phone() -> None:
    gateway = Gateway()
    server = await asyncio.get_running_loop().create_server(gateway, "127.0.0.1", 0)
    port = FakePort()
    settings = SmsSettings.model_validate(terms("smpp", server.sockets[0].getsockname()[1]))
    adapter = Sms(settings, port)
    try:
        async with kept(adapter):
            texts = ["hello", "您的验证码 1234", LONG, "x", "y"]
            outcomes = await adapter.deliver([sms(n, words) for n, words in enumerate(texts)])
            shown = [(type(one), getattr(one, "code", "")) for one in outcomes]
            assert shown[:3] == [(Sent, "")] * 3
            assert shown[3:] == [(Rejected, "bad_number"), (Retry, "throttled")]
            for number, words in enumerate(texts[:3]):
                to = f"86138{number:08d}".encode()
                assert text_of([p for p in gateway.submits if p.destination_addr == to]) == words
            ids = {one for outcome in outcomes[:3] for one in outcome.remote_ids}  # type: ignore[union-attr]
            assert len(ids) == len(gateway.submits)
            await port.until(lambda: len(port.reports) == len(ids) and len(port.received) == 1)
            assert {one.report.remote_id for one in port.reports} == ids
            assert {one.report.state for one in port.reports} == {"delivered"}
            [mo] = port.received
            assert (mo.payload, mo.sender) == (Text("退订"), Address("tel", "+8613800000000"))
            await port.until(lambda: len(gateway.confirmed) == len(ids) + 1)
            assert set(gateway.confirmed) == {consts.SMPP_ESME_ROK}
            [bind] = gateway.binds
            assert (bind.system_id, bind.password) == (b"901234", b"sandbox")
            await adapter.drain()
            assert gateway.unbound
    finally:
        server.close()
        await server.wait_closed()
