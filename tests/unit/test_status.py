"""Status: derived from evidence by one pure function, the same under any order of marks, never backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from msgcenter import status
from msgcenter.clock import ManualClock
from msgcenter.state import EVIDENCE, Conclude, Mark, Snapshot
from msgcenter.state.memory import MemoryState
from protocols.envelope import Key
from tests.unit.rig import message

RANK = {name: number for number, name in enumerate(EVIDENCE)}
GOOD = {"delivered", "read"}
marks = st.lists(
    st.builds(
        Mark,
        st.just("m"),
        st.integers(0, 1),
        st.just(0),
        st.integers(0, 2),
        st.sampled_from(EVIDENCE),
        st.sampled_from(["", "C1"]),
        st.just(5),
    ),
    max_size=8,
)


def snap(view: str = "", **deliveries: list[str]) -> Snapshot:
    """`d0=["sent", "read"]`: the parts of delivery 0."""
    return Snapshot(
        True,
        b"",
        view,
        {
            (int(name[1:]), 0): {
                n: (evidence, evidence.upper(), 0) for n, evidence in enumerate(parts)
            }
            for name, parts in deliveries.items()
        },
    )


async def marked(given_marks: list[Mark]) -> list[Snapshot]:
    """What State holds after each of these marks."""
    state = MemoryState(ManualClock())
    out = []
    for number, mark in enumerate(given_marks):
        call = Conclude(Key(f"r{number}", 0, 0, "inbound"), b"x", marks=(mark,))
        out.append((await state.conclude([call]))[0].snapshot)
    return out


@given(marks, st.randoms(use_true_random=False))
async def test_the_order_of_marks_does_not_matter(given_marks: list[Mark], rng) -> None:
    if not given_marks:
        return
    shuffled = list(given_marks)
    rng.shuffle(shuffled)
    one, other = (await marked(given_marks))[-1], (await marked(shuffled))[-1]
    assert status.derive(one) == status.derive(other)


@given(st.lists(st.sampled_from(EVIDENCE), min_size=1, max_size=8))
async def test_one_part_never_moves_backwards(words: list[str]) -> None:
    ranks = [
        RANK[status.derive(s)] for s in await marked([Mark("m", 0, 0, 0, word) for word in words])
    ]
    assert ranks == sorted(ranks)
    assert ranks[-1] == max(RANK[word] for word in words)


@given(
    st.integers(1, 3).flatmap(
        lambda parts: st.tuples(
            st.just(parts),
            st.lists(st.tuples(st.integers(0, parts - 1), st.sampled_from(EVIDENCE)), max_size=8),
        )
    )
)
async def test_good_news_never_makes_a_message_worse(
    case: tuple[int, list[tuple[int, str]]],
) -> None:
    parts, words = case
    sent = [Mark("m", 0, 0, part, "sent") for part in range(parts)]
    seen = await marked(sent + [Mark("m", 0, 0, part, word) for part, word in words])
    goodness = ["undelivered", "unknown", "sent", "delivered", "read"]
    before = status.derive(seen[parts - 1])
    assert before == "sent"
    for (_, word), snapshot in zip(words, seen[parts:], strict=True):
        after = status.derive(snapshot)
        if word in GOOD:
            assert goodness.index(after) >= goodness.index(before)
        before = after


@given(
    marks, st.sampled_from(["", "queued", "held:quiet", "sending", "rejected:x", "suppressed:y"])
)
async def test_delivered_and_read_stay_whatever_else_is_said(
    given_marks: list[Mark], view: str
) -> None:
    reached = 0
    for snapshot in await marked(given_marks):
        derived = status.derive(Snapshot(True, b"", view, snapshot.deliveries))
        assert derived in status.STATUSES
        whole = [min(RANK[p[0]] for p in parts.values()) for parts in snapshot.deliveries.values()]
        if max(whole) >= RANK["delivered"]:
            reached += 1
            assert derived in GOOD
    assert reached <= len(given_marks)


def test_a_message_is_as_good_as_the_worst_part_of_its_best_delivery() -> None:
    assert status.derive(snap(d0=["delivered", "sent"])) == "sent"
    assert status.derive(snap(d0=["delivered", "undelivered"])) == "undelivered"
    assert status.derive(snap(d0=["read", "delivered"])) == "delivered"
    assert status.derive(snap(d0=["undelivered"], d1=["delivered"])) == "delivered"
    assert status.derive(snap(d0=["unknown"], d1=["undelivered"])) == "unknown"


def test_views_and_evidence() -> None:
    assert status.derive(Snapshot()) == "accepted"
    assert status.derive(snap("queued")) == "queued"
    assert status.derive(snap("held:quiet", d0=["undelivered"])) == "held"
    assert status.derive(snap("sending", d0=["unknown"])) == "sending"
    assert status.derive(snap("queued", d0=["sent"])) == "sent"
    assert status.derive(snap("rejected:x", d0=["unknown"])) == "unknown"
    assert status.derive(snap("rejected:x")) == "rejected"


def test_the_reason_is_the_far_ends_code_or_the_views() -> None:
    assert status.reason(snap("sent", d0=["undelivered", "sent"])) == "UNDELIVERED"
    assert status.reason(snap("suppressed:opt_out")) == "opt_out"
    assert status.reason(snap("expired:expired")) == "expired"
    assert status.reason(snap("held:quiet")) == "quiet"
    assert status.reason(snap("queued")) == ""
    assert status.reason(snap("rejected:x", d0=["unknown"])) == "UNKNOWN"


def test_sent_is_final_only_where_nothing_follows() -> None:
    assert not status.is_final("sent", receipts=True)
    assert status.is_final("sent", receipts=False)
    for each in status.TERMINAL:
        assert status.is_final(each, receipts=True)
    for each in status.PENDING:
        assert not status.is_final(each, receipts=False)


def test_meta_survives_and_a_longer_one_of_a_newer_release_too() -> None:
    envelope = message(reference="r", order_key="k", expires_at=9, campaign="c", account="a")
    meta = status.Meta.of(envelope)
    assert status.Meta.packed(envelope) == meta.pack()
    assert status.Meta.unpack(meta.pack()) == meta
    newer = b"\xdc\x00\x0d" + meta.pack()[1:] + b"\xa3new"  # 13 fields instead of 12
    assert meta.pack()[0] == 0x9C
    assert status.Meta.unpack(newer) == meta
    assert status.Meta.unpack(b"") == status.Meta("", "", 0)
