"""The carrier codecs side by side, as the shared suites see them: vectors, octets both ways, any
value, and garbage.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from protocols.cmpp import decode as cmpp_decode
from protocols.cmpp import encode as cmpp_encode
from protocols.cmpp import pdu as cmpp
from protocols.cmpp.layouts import HEADER as CMPP_HEADER
from protocols.cmpp.report import parse_report as cmpp_report
from protocols.errors import Malformed
from protocols.sgip import codec as sgip_codec
from protocols.sgip import pdu as sgip
from protocols.smgp import codec as smgp_codec
from protocols.smgp import pdu as smgp
from protocols.smgp.report import parse_report as smgp_report
from protocols.smpp import codec as smpp_codec
from protocols.smpp import content, receipt
from protocols.smpp import pdu as smpp
from protocols.sms import coding, fields, udh
from protocols.sms.tlv import Tlv, Tlvs

from .carrier import Vector, load

Note = Callable[[str], None]


@dataclass(frozen=True)
class Codec:
    """`write(pdu, version, sequence)`, `read(whole PDU, version, note)`; `look` reads further into a
    PDU as an adapter does.
    """

    name: str
    header: int
    versions: Sequence[int]
    commands: Sequence[int]
    vectors: Sequence[Vector]
    write: Callable[[Any, int, int], bytes]
    read: Callable[[bytes, int, Note | None], Any]
    look: Callable[[Any], None]
    layouts: dict[int, fields.Layout[Any]] | None = None

    def __str__(self) -> str:
        return self.name


def _read_cmpp(octets: bytes, version: int, note: Note | None) -> Any:
    _, command, _ = CMPP_HEADER.unpack_from(octets)
    return cmpp_decode.decode(command, octets[12:], version, note)


def _look_cmpp(pdu: Any) -> None:
    if isinstance(pdu, cmpp.Deliver):
        udh.strip(pdu.content, pdu.udhi)
        cmpp_report(pdu.content)


def _read_smpp(octets: bytes, _version: int, note: Note | None) -> Any:
    _, command, status, _ = smpp_codec.HEADER.unpack_from(octets)
    return smpp_codec.decode(command, status, octets[16:], note)


def _look_smpp(pdu: Any) -> None:
    if isinstance(pdu, (smpp.ShortMessage, smpp.DataSm)):
        _, data = content.part_of(pdu)
        content.read(data, pdu.data_coding, coding.SMPP)
        if not isinstance(pdu, smpp.SubmitSm):
            receipt.same_id(receipt.parse_receipt(pdu).message_id)  # type: ignore[arg-type]


def _read_sgip(octets: bytes, _version: int, note: Note | None) -> Any:
    _, command, _, _ = sgip_codec.HEADER.unpack_from(octets)
    return sgip_codec.decode(command, octets[20:], note)


def _look_sgip(pdu: Any) -> None:
    if isinstance(pdu, (sgip.Submit, sgip.Deliver)):
        _, data = udh.strip(pdu.content, pdu.udhi)
        coding.read(data, pdu.coding, coding.SGIP)


def _read_smgp(octets: bytes, version: int, note: Note | None) -> Any:
    _, command, _ = smgp_codec.HEADER.unpack_from(octets)
    return smgp_codec.decode(command, octets[12:], version, note)


def _look_smgp(pdu: Any) -> None:
    if isinstance(pdu, smgp.Deliver):
        if pdu.is_report:
            smgp_report(pdu.content)
        _, data = udh.strip(pdu.content, pdu.udhi)
        coding.read(data, pdu.msg_format, coding.SMGP)


_ANSWERED = 0x80000000

CMPP = Codec(
    "cmpp", 12, (cmpp.V20, cmpp.V30),
    [c | bit for c in (1, 2, 4, 5, 6, 7, 8) for bit in (0, _ANSWERED)], load("cmpp", cmpp),
    cmpp_encode.encode,
    _read_cmpp, _look_cmpp,
)  # fmt: skip
SMPP = Codec(
    "smpp", 16, (0,), list(smpp_codec.LAYOUTS), load("smpp", smpp),
    lambda pdu, _version, sequence: smpp_codec.encode(pdu, sequence),
    _read_smpp, _look_smpp, smpp_codec.LAYOUTS,
)  # fmt: skip
SGIP = Codec(
    "sgip", 20, (0,), list(sgip_codec.LAYOUTS), load("sgip", sgip),
    lambda pdu, _version, sequence: sgip_codec.encode(pdu, sequence),
    _read_sgip, _look_sgip, sgip_codec.LAYOUTS,
)  # fmt: skip
SMGP = Codec(
    "smgp", 12, (smgp.V30, smgp.V13), list(smgp_codec.LAYOUTS), load("smgp", smgp, smgp.V30),
    smgp_codec.encode,
    _read_smgp, _look_smgp, smgp_codec.LAYOUTS,
)  # fmt: skip
CODECS = (CMPP, SMPP, SGIP, SMGP)


def chars(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=most)


def _tlv(tags: Any) -> st.SearchStrategy[Tlv]:
    known = [
        st.builds(
            Tlv,
            st.just(tag),
            st.binary(min_size=rule.least, max_size=min(rule.most, rule.least + 30)),
        )
        for tag, rule in tags.items()
    ]
    vendor = st.builds(Tlv, st.integers(0x1400, 0x3FFF), st.binary(max_size=40))
    return st.one_of(*known, vendor)


def any_of(field: Any) -> st.SearchStrategy[Any]:
    """Any value that a field holds."""
    match field:
        case fields.Number(width):
            return st.integers(0, (1 << 8 * width) - 1)
        case fields.Text(width):
            return chars(width)
        case smpp_codec.CString(most):
            return chars(most - 1)
        case smpp_codec.Time():
            return st.one_of(st.just(""), chars(16).filter(lambda s: len(s) == 16))
        case fields.Raw(width):
            return st.binary(min_size=width, max_size=width)
        case fields.Hex(width):
            return st.binary(min_size=width, max_size=width).map(bytes.hex)
        case fields.Content(_, most):
            return st.binary(max_size=min(most, 300))
        case fields.Numbers(width, most):
            return st.lists(chars(width), min_size=1, max_size=most).map(tuple)
        case Tlvs(tags):
            return st.lists(_tlv(tags), max_size=4).map(tuple)
    raise AssertionError(f"no strategy for {field}")


def any_pdu(codec: Codec, command: int) -> st.SearchStrategy[Any]:
    """Any value of the PDU with this command."""
    assert codec.layouts is not None
    layout = codec.layouts[command]
    values = {name: any_of(field) for name, field in layout._fields if name[0] != "_"}
    if layout.kind in (smpp.Bind, smpp.BindResp):
        values["mode"] = st.just(smpp.Mode(command & ~_ANSWERED))
    if layout.kind is smpp.GenericNack:
        values["status"] = st.integers(0, 0xFFFFFFFF)
    return st.builds(layout.kind, **values)


def mutate(codec: Codec, rng: random.Random) -> bytes:
    """One PDU that nobody should send: random octets, or a vector with some octets changed, cut or
    added. The header's command is mostly a known one.
    """
    if rng.random() < 0.3:
        body = rng.randbytes(rng.choice((0, 1, 8, 9, 12, 21, 44, 60, 97, 150, 200, 400)))
        head = bytearray(4) + rng.choice(codec.commands).to_bytes(4, "big")
        head += rng.randbytes(codec.header - 8) if rng.random() < 0.5 else bytes(codec.header - 8)
        return bytes(head) + body
    octets = bytearray(rng.choice(codec.vectors).octets)
    for _ in range(rng.randrange(5)):
        octets[rng.randrange(4, len(octets))] = rng.randrange(256)
    if rng.random() < 0.4:
        del octets[rng.randrange(codec.header, len(octets) + 1) :]
    if rng.random() < 0.2:
        octets += rng.randbytes(rng.randrange(1, 9))
    return bytes(octets)


def fuzz(codec: Codec, inputs: int, seed: int) -> Counter[str]:
    """Read that many bad PDUs and look into them as an adapter does. Returns how many were `read`
    and `malformed`; any exception but Malformed comes out.
    """
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(inputs):
        try:
            pdu = codec.read(mutate(codec, rng), rng.choice(codec.versions), None)
        except Malformed:
            seen["malformed"] += 1
            continue
        seen["read"] += 1
        try:
            codec.look(pdu)
        except Malformed:
            seen["malformed inside"] += 1
    return seen
