"""What holds for every carrier codec: the hand-worked vectors both ways, any value there and back,
the names of what does not fit, and garbage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Malformed
from protocols.sms.fields import BadLength
from protocols.sms.tlv import Tlv

from .codecs import CODECS, SGIP, SMGP, SMPP, Codec, any_pdu, fuzz

EACH = [pytest.param(codec, v, id=f"{codec}-{v.name}") for codec in CODECS for v in codec.vectors]
SENT = [param for param in EACH if not param.values[1].decode_only]  # type: ignore[union-attr]
NEW = (SMPP, SGIP, SMGP)


@pytest.mark.parametrize(("codec", "vector"), EACH)
def test_vector_declares_its_own_length(codec: Codec, vector: Any) -> None:
    assert int.from_bytes(vector.octets[:4], "big") == len(vector.octets)


@pytest.mark.parametrize(("codec", "vector"), EACH)
def test_vector_decodes(codec: Codec, vector: Any) -> None:
    notes: list[str] = []
    assert codec.read(vector.octets, vector.version, notes.append) == vector.pdu
    assert notes == vector.notes or codec.name == "cmpp"


@pytest.mark.parametrize(("codec", "vector"), SENT)
def test_vector_encodes(codec: Codec, vector: Any) -> None:
    octets = codec.write(vector.pdu, vector.version, vector.sequence)
    assert octets.hex() == vector.octets.hex()


@pytest.mark.parametrize("codec", NEW, ids=str)
def test_every_pdu_has_a_vector(codec: Codec) -> None:
    assert codec.layouts is not None
    seen = {int.from_bytes(vector.octets[4:8], "big") for vector in codec.vectors}
    assert set(codec.layouts) - seen == ({0x80000001} - seen)


ROUND_TRIPS = [
    pytest.param(codec, command, id=f"{codec}-{layout.label}")
    for codec in NEW
    for command, layout in (codec.layouts or {}).items()
]


@pytest.mark.parametrize(("codec", "command"), ROUND_TRIPS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_value(codec: Codec, command: int, data: st.DataObject) -> None:
    pdu = data.draw(any_pdu(codec, command))
    sequence = data.draw(st.integers(0, 0xFFFFFFFF))
    if codec is SMPP and getattr(pdu, "short_message", b"") and hasattr(pdu, "tlvs"):
        payload = [tlv for tlv in pdu.tlvs if tlv.tag == 0x0424]
        if payload:
            with pytest.raises(ValueError, match="exclude"):
                codec.write(pdu, 0, sequence)
            return
    for version in codec.versions[:1]:
        octets = codec.write(pdu, version, sequence)
        assert int.from_bytes(octets[:4], "big") == len(octets)
        assert int.from_bytes(octets[4:8], "big") == command
        notes: list[str] = []
        assert codec.read(octets, version, notes.append) == pdu
        assert notes in ([], ["no_message_id"])


@pytest.mark.parametrize(("codec", "command"), ROUND_TRIPS)
def test_a_body_cut_anywhere_is_bad_length_or_tolerated_by_name(codec: Codec, command: int) -> None:
    for vector in codec.vectors:
        if int.from_bytes(vector.octets[4:8], "big") != command or vector.decode_only:
            continue
        for stop in range(codec.header, len(vector.octets)):
            notes: list[str] = []
            try:
                codec.read(vector.octets[:stop], vector.version, notes.append)
            except BadLength as error:
                assert str(error).startswith(codec.layouts[command].label + ".")  # type: ignore[index]
            else:
                dropped = stop in _WHOLE_WITHOUT_TLVS.get((codec.name, vector.name), ())
                empty = stop == codec.header and codec is SMPP
                assert notes or dropped or empty, (vector.name, stop)


#: Lengths at which a PDU with parameters is whole without the last ones.
_WHOLE_WITHOUT_TLVS = {
    ("smpp", "bind-transceiver-resp"): (21,),
    ("smpp", "submit-sm-ucs2-part"): (80,),
    ("smpp", "submit-sm-payload"): (51,),
    ("smpp", "submit-sm-sar"): (55, 61, 66),
    ("smpp", "deliver-sm-mo"): (55, 59),
    ("smpp", "deliver-sm-receipt"): (155, 170),
    ("smpp", "data-sm"): (44,),
    ("smpp", "alert-notification"): (40,),
    ("smgp", "submit-part-with-parameters"): (178, 183, 188, 193),
}


@pytest.mark.parametrize(
    ("codec", "vector", "change", "named"),
    [
        (SMPP, "submit-sm-payload", {"source": "1" * 21}, "submit_sm.source"),
        (SMPP, "submit-sm-payload", {"source": "短信"}, "submit_sm.source"),
        (SMPP, "submit-sm-payload", {"source": "1\0002"}, "submit_sm.source: NUL"),
        (SMPP, "submit-sm-payload", {"short_message": b"x"}, "message_payload exclude"),
        (SMPP, "submit-sm-default-alphabet", {"short_message": bytes(255)}, "short_message: 255"),
        (SMPP, "submit-sm-default-alphabet", {"validity_period": "2611"}, "validity_period"),
        (SMPP, "submit-sm-default-alphabet", {"esm_class": 256}, "submit_sm.esm_class: 256"),
        (SMPP, "submit-sm-default-alphabet", {"tlvs": (Tlv(0x020C, b"1"),)}, "sar_msg_ref_num: 1"),
        (SMPP, "bind-transceiver", {"system_id": "1" * 16}, "bind_transceiver.system_id"),
        (SMPP, "bind-transceiver", {"password": "1" * 64}, "bind_transceiver.password"),
        (SMPP, "generic-nack", {"status": -1}, "command_status -1"),
        (SGIP, "submit", {"recipients": ()}, "Submit.recipients: 0 numbers"),
        (SGIP, "submit", {"recipients": ("1",) * 101}, "Submit.recipients: 101"),
        (SGIP, "submit", {"recipients": ("1" * 22,)}, "Submit.recipients"),
        (SGIP, "submit", {"corp_id": "123456"}, "Submit.corp_id"),
        (SGIP, "submit", {"content": bytes(2049)}, "Submit.content: 2049"),
        (SGIP, "report-delivered", {"submit_sequence": 1 << 96}, "Report.submit_sequence"),
        (SMGP, "submit", {"recipients": ("1",) * 101}, "Submit.recipients: 101"),
        (SMGP, "submit", {"fee_type": "001"}, "Submit.fee_type"),
        (SMGP, "submit", {"content": bytes(256)}, "Submit.content: 256"),
        (SMGP, "submit-resp", {"msg_id": "1"}, "Submit_Resp.msg_id"),
        (SMGP, "submit-resp", {"msg_id": "01 0101112109300000 "}, "Submit_Resp.msg_id"),
        (SMGP, "login", {"auth": b"1"}, "Login.auth: 1 octets"),
    ],
)
def test_nothing_is_cut_silently(
    codec: Codec, vector: str, change: dict[str, Any], named: str
) -> None:
    [pdu] = [v.pdu for v in codec.vectors if v.name == vector]
    with pytest.raises(ValueError, match=named):
        codec.write(replace(pdu, **change), codec.versions[0], 1)


@pytest.mark.parametrize("codec", NEW, ids=str)
def test_sequence_and_command_outside(codec: Codec) -> None:
    pdu = codec.vectors[0].pdu
    for sequence in (-1, 1 << 96):
        with pytest.raises(ValueError, match=f"{sequence} is outside"):
            codec.write(pdu, codec.versions[0], sequence)
    with pytest.raises(Malformed, match="unknown command 0x00000fff"):
        codec.read(bytes(4) + b"\0\0\x0f\xff" + bytes(12), codec.versions[0], None)


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_garbage_raises_only_malformed(codec: Codec) -> None:
    seen = fuzz(codec, 20_000, seed=20)
    assert seen["read"] + seen["malformed"] == 20_000
    assert seen["read"] > 1000 and seen["malformed"] > 1000
