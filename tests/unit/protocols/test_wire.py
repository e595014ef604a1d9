"""The wire format: what is written is read again, old and new frames are readable, everything else is Malformed.

Long because each frame that must stay readable stands here as octets.
"""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import wire
from protocols.address import SCHEMES, Address
from protocols.envelope import Decision, Envelope, Record
from protocols.errors import Malformed
from protocols.outcome import (
    Amended,
    Held,
    Outcome,
    Rejected,
    Retry,
    Routed,
    Sent,
    Suppressed,
    Unknown,
)
from protocols.payload import CONTENT, DeliveryReport, Group, Leaf, Payload, Plan, Text

VECTORS = Path(__file__).parents[2] / "vectors" / "wire"
T0 = 1_790_000_000_000
NUMBER = Address("tel", "+8613800138000")
SMALL = Envelope("msg_1", "crm", NUMBER, "code", 0, Text("hi"), T0)

texts = st.text(max_size=20)
ints = st.integers(-(2**63), 2**63 - 1)
addresses = st.builds(Address, st.sampled_from(sorted(SCHEMES)), st.text(min_size=1, max_size=20))
scopes = st.sampled_from(["message", "recipient", "account", "channel"])
lists = st.lists(texts, max_size=4).map(tuple)
PAYLOADS: dict[type, st.SearchStrategy[Any]] = {
    cls: st.builds(cls, at=ints) if cls is DeliveryReport else st.builds(cls)
    for cls in get_args(Payload)
}
leaves = st.builds(
    Leaf,
    kind=texts,
    payload=st.one_of(*(PAYLOADS[cls] for cls in CONTENT)),
    account=texts,
    to=st.none() | addresses,
    wait_ms=ints,
    success=texts,
    cost=ints,
)
groups = st.builds(Group, ints, st.lists(ints, max_size=3).map(tuple))
PAYLOADS[Plan] = st.builds(
    Plan,
    st.lists(leaves, max_size=3).map(tuple),
    st.lists(groups, max_size=3).map(tuple),
    ints,
    lists,
)
payloads = st.one_of(*PAYLOADS.values())
amendments = st.builds(
    Amended,
    st.none() | addresses,
    texts,
    st.none() | st.one_of(*(PAYLOADS[cls] for cls in CONTENT)),
    lists,
    texts,
    texts,
)
OUTCOMES: dict[type, st.SearchStrategy[Any]] = {
    Sent: st.builds(Sent, lists, texts),
    Routed: st.builds(Routed, lists, st.none() | amendments),
    Suppressed: st.builds(Suppressed, texts, texts),
    Held: st.builds(Held, ints, texts, texts, ints),
    Retry: st.builds(Retry, scopes, texts, st.floats(0, 1e9), texts),
    Unknown: st.builds(Unknown, texts, lists),
    Rejected: st.builds(Rejected, scopes, texts, texts),
}
outcomes = st.one_of(*OUTCOMES.values())
envelopes = st.builds(
    Envelope,
    id=texts,
    caller=texts,
    to=addresses,
    category=texts,
    tier=ints,
    payload=payloads,
    created_at=ints,
    person=texts,
    sender=st.none() | addresses,
    inbound=st.booleans(),
    account=texts,
    channels=lists,
    channel=texts,
    step=ints,
    attempt=ints,
    tries=ints,
    token_of=ints,
    order_key=texts,
    not_before=ints,
    expires_at=ints,
    campaign=texts,
    reference=texts,
    reply_to=texts,
    remote_id=texts,
    possibly_duplicate=st.booleans(),
    trace=texts,
    leaf=texts,
    reservation=texts,
    once_key=texts,
    given=st.none() | addresses,
    held_since=ints,
    keyid=texts,
    template=texts,
)
decisions = st.builds(
    Decision, texts, texts, texts, texts, ints, st.lists(st.tuples(texts, texts)).map(tuple)
)
records = st.builds(
    Record,
    id=texts,
    at=ints,
    pipeline=texts,
    envelope=envelopes,
    outcome=outcomes,
    decisions=st.lists(decisions, max_size=2).map(tuple),
    subject=texts,
    subject_step=ints,
    subject_attempt=ints,
    status=texts,
    subject_caller=texts,
    reference=texts,
    final=st.booleans(),
)


# -- round trips ---------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(envelopes, records), min_size=1, max_size=4))
def test_a_frame_gives_back_what_was_put_in(items: list[Any]) -> None:
    frame = wire.pack_frame([wire.seal(item) for item in items])
    assert [wire.open_sealed(data) for data in wire.unpack_frame(frame)] == items


@pytest.mark.parametrize("kind", PAYLOADS, ids=lambda kind: kind.__name__)
def test_every_payload_survives(kind: type) -> None:
    @settings(max_examples=20, deadline=None)
    @given(PAYLOADS[kind])
    def check(payload: Any) -> None:
        envelope = replace(SMALL, payload=payload)
        assert wire.open_sealed(wire.seal(envelope)) == envelope

    check()


@pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: kind.__name__)
def test_every_outcome_survives_alone(kind: type) -> None:
    @settings(max_examples=20, deadline=None)
    @given(OUTCOMES[kind])
    def check(outcome: Outcome) -> None:
        assert wire.open_outcome(wire.seal_outcome(outcome)) == outcome

    check()


@pytest.mark.parametrize("cls", [Envelope, Record, Decision])
def test_no_field_is_forgotten_on_the_wire(cls: type) -> None:
    # What only some messages have is left out of all others.
    said = replace(SMALL, chat="wr1", leaf="first", reservation="t", keyid="k1", template="promo")
    record = Record("r", 1, "channel", said, Sent(), (Decision("a", "b", "c"),))
    kind, values = msgpack.unpackb(wire.seal(record))
    on_wire = {Record: values, Envelope: values[3], Decision: values[5][0]}[cls]
    assert kind == "r"
    assert len(on_wire) == len(fields(cls))


# -- frames of each release ----------------------------------------------------------------------

EXPECTED: dict[str, Any] = {
    "v1/envelope-minimal.hex": SMALL,
    "v1/envelope-full.hex": Envelope(
        id="msg_01m3t4yy0005abcdefghjkmnpq",
        caller="iop",
        to=Address("wecom", "ww1/app2/wm"),
        category="reply",
        tier=1,
        payload=Text("你好，您的业务已办好"),
        created_at=T0,
        person="customer:7",
        sender=Address("staff", "42"),
        inbound=False,
        account="desk1",
        channels=("wecom", "sms"),
        channel="sms-east",
        step=1,
        attempt=200,
        tries=12,
        token_of=2,
        order_key="desk1|wm7|ww",
        not_before=T0,
        expires_at=T0 + 1000,
        campaign="spring",
        reference="r-1",
        reply_to="msg_0",
        remote_id="",
        possibly_duplicate=True,
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    "v1/record.hex": Record(
        id="rec_1",
        at=T0 + 1000,
        pipeline="channel",
        envelope=SMALL,
        outcome=Sent(("f-1", "f-2"), "ok"),
        decisions=(Decision("admit", "cap", "go", "", 0, (("used", "3"),)),),
        subject="msg_1",
        subject_step=0,
        subject_attempt=1,
        status="delivered",
        subject_caller="crm",
        reference="r-1",
        final=True,
    ),
    "v1/record-amended.hex": Record(
        id="rec_2",
        at=T0 + 1000,
        pipeline="submit",
        envelope=replace(
            SMALL,
            person="c-7",
            channels=("sms",),
            reservation="msg_1@7",
            once_key="gift9",
            given=Address("customer", "c-7"),
            held_since=T0 - 232,
        ),
        outcome=Routed(("east",), Amended(NUMBER, "c-7", Text("**"), ("sms",), "", "msg_1@7")),
    ),
}


def octets(path: Path) -> bytes:
    return bytes.fromhex("".join(line.partition("#")[0] for line in path.read_text().splitlines()))


@pytest.mark.parametrize("name", EXPECTED)
def test_frames_written_by_hand_are_read(name: str) -> None:
    (sealed,) = wire.unpack_frame(octets(VECTORS / name))
    assert wire.open_sealed(sealed) == EXPECTED[name]


def test_every_kept_frame_has_its_expectation() -> None:
    assert {str(p.relative_to(VECTORS)) for p in VECTORS.rglob("*.hex")} == set(EXPECTED)


# -- forward compatibility -----------------------------------------------------------------------


def test_fields_of_a_newer_release_are_ignored_at_every_level() -> None:
    said = replace(
        SMALL, chat="wr1", leaf="first", reservation="t", keyid="k1", template="promo"
    )  # so that every field is there
    record = Record(
        "r", 1, "channel", said, Rejected("message", "d", "c"), (Decision("a", "b", "c"),)
    )
    kind, values = msgpack.unpackb(wire.seal(record))
    values[3][2].append("new")
    values[3][5].append(7)
    values[3] += ["new", [1, [2.5]]]
    values[4].append(None)
    values[5][0].append("new")
    assert wire.open_sealed(msgpack.packb([kind, [*values, "new", [1, ["deep"]]]])) == record


def test_an_older_release_reads_a_routed_outcome_without_what_it_does_not_know() -> None:
    tag, to, amended = msgpack.unpackb(
        wire.seal_outcome(Routed(("east",), Amended(NUMBER, "c", Text("hi"), ("sms",), "", "t")))
    )
    assert (tag, to) == ("routed", ["east"])
    # As a field of a newer release it nests no deeper than these may.
    wire._unknown([amended])
    assert wire.seal_outcome(Routed(("east",))) == msgpack.packb(["routed", ["east"]])


def test_fields_an_older_release_did_not_write_have_their_defaults() -> None:
    kind, values = msgpack.unpackb(wire.seal(replace(SMALL, reference="r", trace="t")))
    for count in range(7, len(values)):
        got = wire.open_sealed(msgpack.packb([kind, values[:count]]))
        assert isinstance(got, Envelope)
        assert got.trace == ""
        assert got.token_of == -1
    with pytest.raises(Malformed, match="envelope: 6 fields, at least 7"):
        wire.open_sealed(msgpack.packb([kind, values[:6]]))


# -- limits --------------------------------------------------------------------------------------


def changed(**values: Any) -> bytes:
    """A sealed envelope with these fields replaced by raw msgpack values."""
    names = [field.name for field in fields(Envelope)]
    _, raw = msgpack.unpackb(wire.seal(SMALL))
    for name, value in values.items():
        raw[names.index(name)] = value
    return msgpack.packb(["e", raw])


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tier": "2"}, r"envelope\.tier: expected an integer, got str"),
        ({"tier": True}, r"envelope\.tier: expected an integer, got bool"),
        ({"tier": 2.0}, r"envelope\.tier: expected an integer, got float"),
        ({"id": 7}, r"envelope\.id: expected text"),
        ({"id": b"msg"}, r"envelope\.id: expected text, got bytes"),
        ({"inbound": 0}, r"envelope\.inbound: expected true or false"),
        ({"channels": "sms"}, r"envelope\.channels: expected a list of texts"),
        ({"channels": ["sms", 1]}, r"envelope\.channels: expected text"),
        ({"to": None}, r"envelope\.to: expected an address"),
        ({"to": ["tel"]}, r"envelope\.to: expected an address"),
        ({"to": ["fax", "1"]}, r"envelope\.to: address of unknown scheme 'fax'"),
        ({"to": ["tel", ""]}, r"envelope\.to: "),
        ({"to": [["tel"], "1"]}, r"envelope\.to: "),
        ({"sender": ["fax", "1"]}, r"envelope\.sender: "),
        ({"payload": ["fax", "x"]}, r"envelope\.payload: payload: unknown tag"),
        ({"payload": [["text"], "x"]}, r"envelope\.payload: payload: unknown tag"),
        ({"payload": []}, r"envelope\.payload: payload: unknown tag"),
        ({"payload": ["text"]}, r"envelope\.payload: text: 0 fields"),
        ({"payload": ["text", 1]}, r"envelope\.payload: text\.text: expected text"),
        ({"payload": ["report", "r", "lost"]}, r"report\.state: expected one of"),
        ({"payload": ["media", "film", "med_1"]}, r"media\.kind: expected one of"),
        (
            {"payload": ["create_group", "g", "n", "o", "m"]},
            r"create group\.members: expected a list",
        ),
        ({"payload": ["report", "r", ["read"]]}, r"report\.state: expected one of"),
        (
            {"payload": ["text", "x", nested(4)]},
            "text, a field of a newer release: .*deeper than 6",
        ),
        ({"payload": ["text", "x", float("nan")]}, "a field of a newer release: .*finite"),
        ({"to": ["tel", "+86138", float("inf")]}, r"envelope\.to: expected a finite number"),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(Malformed, match=says):
        wire.open_sealed(changed(**values))


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -1.0, 1e10, "1", True])
def test_seconds_are_finite_and_sensible(after: object) -> None:
    with pytest.raises(Malformed, match=r"retry\.after: expected"):
        wire.open_outcome(msgpack.packb(["retry", "message", "d", after]))


def test_a_record_names_the_way_to_the_wrong_field() -> None:
    kind, values = msgpack.unpackb(wire.seal(Record("r", 1, "channel", SMALL, Sent())))
    values[3][4] = "P2"
    with pytest.raises(Malformed, match=r"record\.envelope: envelope\.tier: expected an integer"):
        wire.open_sealed(msgpack.packb([kind, values]))
    values[3][4] = 2
    values[5] = [["a", "b", "c", "", 0, [["only a name"]]]]
    with pytest.raises(Malformed, match=r"record\.decisions: decision\.facts: fact: "):
        wire.open_sealed(msgpack.packb([kind, values]))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (msgpack.packb(["e", {}]), "map"),
        (msgpack.packb(["e", {"id": "x"}]), "map|limit"),
        (bytes.fromhex("82 a161 01 a161 02"), "map|limit"),  # {"a": 1, "a": 2}: a duplicate key
        (msgpack.packb(["e", msgpack.ExtType(5, b"xy")]), "ext"),
        (msgpack.packb(["e", msgpack.ExtType(5, b"")]), "extension type 5"),
        (msgpack.packb(["e", msgpack.Timestamp(1, 0)]), "ext"),
        (wire.seal(SMALL) + b"\x00", "ExtraData"),
        (wire.seal(SMALL)[:-1], "not msgpack"),
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\xa1\xff", "not msgpack: UnicodeDecodeError"),
        (b"\x91" * 5000, "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (msgpack.packb(["e", [0] * 1025]), "not msgpack"),
        (msgpack.packb(["e"]), r"expected \[kind, fields\]"),
        (msgpack.packb(["x", []]), "unknown kind 'x'"),
        (msgpack.packb([["e"], []]), "unknown kind"),
        (msgpack.packb("e"), r"expected \[kind, fields\]"),
    ],
)
def test_what_is_no_sealed_item_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        wire.open_sealed(data)


def test_an_item_is_at_most_256_kib_to_write_and_to_read() -> None:
    room = wire.MAX_ITEM - len(wire.seal(replace(SMALL, payload=Text("x" * 70_000)))) + 70_000
    largest = wire.seal(replace(SMALL, payload=Text("x" * room)))
    assert len(largest) == wire.MAX_ITEM
    assert isinstance(wire.open_sealed(largest), Envelope)
    with pytest.raises(Malformed, match="at most 262144"):
        wire.seal(replace(SMALL, payload=Text("x" * (room + 1))))
    with pytest.raises(Malformed, match="at most 262144"):
        wire.open_sealed(largest + b"x")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "version none"),
        (b"\x02\x91\xc4\x00", "version 2: this release reads 1"),
        (b"\x01", "not msgpack"),
        (b"\x01" + msgpack.packb([]), "list of 1-100 items"),
        (b"\x01" + msgpack.packb([b"x"] * 101), "list of 1-100 items"),
        (b"\x01" + msgpack.packb(["text"]), "expected a sealed item, got str"),
        (b"\x01" + msgpack.packb(b"x"), "list of 1-100 items"),
        (b"\x01" + msgpack.packb([b"x"]) + b"\xc0", "ExtraData"),
        (b"\x01" + b"\x00" * wire.MAX_FRAME, "frame of 1048577 octets"),
    ],
)
def test_what_is_no_frame_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        wire.unpack_frame(body)


def test_a_frame_holds_1_to_100_items_and_1_mib() -> None:
    sealed = wire.seal(SMALL)
    assert len(wire.unpack_frame(wire.pack_frame([sealed] * 100))) == 100
    for wrong in ([], [sealed] * 101, [b"x" * wire.MAX_ITEM] * 4):
        with pytest.raises(ValueError, match=r"frame"):
            wire.pack_frame(wrong)


def test_one_bad_item_among_100_spoils_only_itself() -> None:
    items = [wire.seal(replace(SMALL, id=f"msg_{n}")) for n in range(100)]
    items[42] = b"\xff rotten"
    good, bad = [], []
    for number, data in enumerate(wire.unpack_frame(wire.pack_frame(items))):
        try:
            good.append(wire.open_sealed(data).id)
        except Malformed:
            bad.append(number)
    assert bad == [42]
    assert good == [f"msg_{n}" for n in range(100) if n != 42]


# -- garbage -------------------------------------------------------------------------------------


def test_20000_broken_inputs_are_malformed_or_readable_and_nothing_else() -> None:
    rng = random.Random(20_000)
    full = octets(VECTORS / "v1/envelope-full.hex")
    sealed = [wire.unpack_frame(octets(VECTORS / name))[0] for name in EXPECTED]
    seeds = [*sealed, full, wire.seal_outcome(Retry("channel", "busy", 1.0, "8"))]
    readers = (wire.open_sealed, wire.unpack_frame, wire.open_outcome)
    refused = 0
    for number in range(20_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            match rng.randrange(5):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    data[at] ^= 1 << rng.randrange(8)
                case 2:
                    del data[at : at + rng.randint(1, 5)]
                case 3:
                    data[at:at] = rng.randbytes(rng.randint(1, 5))
                case _:  # structure in the place of a value
                    data[at : at + 1] = rng.choice(
                        [b"\x90", b"\x91\x90", b"\x80", b"\xc0", b"\xc3"]
                    )
            if not data:
                data = bytearray(b"\x90")
        try:
            readers[number % 3](bytes(data))
        except Malformed:
            refused += 1
    assert refused > 15_000
