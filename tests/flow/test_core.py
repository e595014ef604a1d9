"""The core loop on the embedded parts: conservation, order, poison, flapping, expiry, cancel, unknowns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from msgcenter.adapter import Dispatch, Unreachable
from msgcenter.bus import Queue
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.settle import frames, publish_frames
from msgcenter.state import Admit, Suppression
from protocols import wire
from protocols.outcome import Outcome, Rejected, Retry, Sent, Suppressed, Unknown
from tests.flow.rigging import (
    FarEnd,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    text,
    until,
)

IDS = IdFactory(SystemClock(), system_random())


def ended(records: Records) -> int:
    return sum(
        isinstance(r.outcome, Sent | Suppressed | Rejected | Unknown)
        for r in records.last().values()
    )


async def test_every_message_is_sent_once_and_recorded_once_per_pass(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    envelopes = [text(IDS, n, tier=n % 7) for n in range(500)]
    async with running(config_folder(tmp_path), scripted(far_end), records) as app:
        await submit(app, envelopes)
        await until(lambda: ended(records) == 500)
    assert sorted(far_end.taken) == sorted(e.id for e in envelopes)
    assert len(records.of("submit")) == len(records.of("channel")) == 500
    assert len(records.all) == len(records.unique())


async def test_a_poison_envelope_among_99_good_ones_goes_to_dead_alone(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    envelopes = [text(IDS, n) for n in range(100)]
    poison = envelopes[42].id

    class Poisoned(scripted(far_end)):
        def render(self, envelope):
            if envelope.id == poison:
                raise ZeroDivisionError("no unit price")

    async with running(config_folder(tmp_path), Poisoned, records) as app:
        await submit(app, envelopes)
        await until(lambda: ended(records) == 100)
        dead = (await app.parts.store.list_dead()).items
        async with asyncio.timeout(10):
            while not dead:
                await asyncio.sleep(0.05)
                dead = (await app.parts.store.list_dead()).items
    assert len(far_end.taken) == 99
    assert [(row.message, row.code) for row in dead] == [(poison, "poison")]
    assert "no unit price" in dead[0].detail


@pytest.mark.parametrize("kind", ["unordered", "ordered"])
async def test_a_flapping_far_end_loses_and_repeats_nothing(tmp_path: Path, kind: str) -> None:
    far_end, records = FarEnd(), Records()
    envelopes = [
        text(
            IDS,
            n,
            category="marketing",
            tier=5,
            order_key=f"c{n % 50}" if kind == "ordered" else "",
        )
        for n in range(1000)
    ]
    async with running(config_folder(tmp_path), scripted(far_end, max_batch=10), records) as app:
        far_end.delay = 0.005

        async def flap() -> None:
            for _ in range(20):
                far_end.plugged = not far_end.plugged
                await asyncio.sleep(0.1)
            far_end.plugged = True

        flapping = asyncio.create_task(flap())
        await submit(app, envelopes)
        await until(lambda: ended(records) == 1000, 60)
        await flapping
        assert (await app.parts.store.list_dead()).items == ()
    assert sorted(far_end.taken) == sorted(e.id for e in envelopes)
    assert not any(isinstance(r.outcome, Unknown) for r in records.all)


async def test_order_is_kept_while_heads_fail_and_other_conversations_run_on(
    tmp_path: Path,
) -> None:
    far_end, records = FarEnd(), Records()
    rng = system_random()
    failing = 0

    def answer(item: Dispatch) -> Outcome | None:
        nonlocal failing
        if item.envelope.order_key == "stuck" and failing < 5:
            failing += 1
            return Retry("recipient", "busy")
        return Retry("recipient", "busy") if rng.random() < 0.1 else None

    far_end.script = answer
    keys = [f"c{n}" for n in range(20)] + ["stuck"]
    envelopes = [
        text(IDS, number * 100 + n, category="reply", tier=1, order_key=key, reference=f"{n:03d}")
        for n in range(20)
        for number, key in enumerate(keys)
    ]
    async with running(config_folder(tmp_path), scripted(far_end), records) as app:
        await submit(app, envelopes)
        await until(lambda: ended(records) == len(envelopes), 90)
        async with asyncio.timeout(5):
            while (await app.parts.store.count_parked()).count:
                await asyncio.sleep(0.05)
    for key in keys:
        assert far_end.order[key] == [f"{n:03d}" for n in range(20)], key


async def test_expired_cancelled_and_paused_messages_do_not_leave(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    now = SystemClock().now_ms()
    late = text(IDS, 1, expires_at=now - 1000)
    cancelled = text(IDS, 2)
    paused = text(IDS, 3, campaign="spring")
    good = text(IDS, 4, campaign="autumn")
    async with running(config_folder(tmp_path), scripted(far_end), records) as app:
        await app.parts.state.suppress(
            [
                Suppression(f"message:{cancelled.id}", "cancelled"),
                Suppression("campaign:spring", "paused"),
            ]
        )
        await submit(app, [late, cancelled, paused, good])
        await until(lambda: ended(records) == 4)
    rules = {
        e: getattr(records.last()[e.id].outcome, "rule", "") for e in (late, cancelled, paused)
    }
    assert far_end.taken == [good.id]
    assert list(rules.values()) == ["expired", "cancelled", "paused"]


async def test_unknown_is_resent_once_and_marked_where_the_category_allows_it(
    tmp_path: Path,
) -> None:
    far_end, records = FarEnd(), Records()

    def lose_first(item: Dispatch) -> Outcome | None:
        if item.envelope.possibly_duplicate:
            return None
        far_end.taken.append(item.envelope.id)
        far_end.marked.append(False)
        return Unknown("answer lost")

    far_end.script = lose_first
    never, once = text(IDS, 1, category="marketing", tier=5), text(IDS, 2)
    async with running(config_folder(tmp_path), scripted(far_end), records) as app:
        await submit(app, [never, once])
        await until(lambda: len(far_end.taken) == 3)
        await until(lambda: records.last()[once.id].status == "sent")
    assert sorted(zip(far_end.taken, far_end.marked, strict=True)) == sorted(
        [(never.id, False), (once.id, False), (once.id, True)]
    )
    assert records.last()[never.id].status == "unknown"
    assert records.last()[once.id].status == "sent"


async def test_send_at_waits_as_a_due_row_and_survives_a_restart(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    folder = config_folder(tmp_path)
    at = SystemClock().now_ms() + 1500
    later = text(IDS, 1, not_before=at)
    async with running(folder, scripted(far_end), records) as app:
        await submit(app, [later])
        await until(lambda: later.id in records.last())
        assert (await app.parts.store.count_due()).count == 1
    assert far_end.taken == []
    async with running(folder, scripted(far_end), records):
        await until(lambda: far_end.taken == [later.id])
    assert SystemClock().now_ms() >= at


async def test_the_routing_slip_goes_on_after_a_definite_refusal(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    far_end.script = lambda item: (
        Rejected("recipient", "not here", "refused") if item.envelope.step == 0 else None
    )
    envelope = text(IDS, 1)
    two = type(envelope)(
        **{**{f: getattr(envelope, f) for f in envelope.__slots__}, "channels": ("devnull",) * 2}
    )
    async with running(config_folder(tmp_path), scripted(far_end), records) as app:
        await submit(app, [two])
        await until(lambda: far_end.taken == [two.id])
        await until(lambda: records.last()[two.id].status == "sent")


async def test_a_removed_channels_backlog_goes_back_and_out_by_another(tmp_path: Path) -> None:
    """Plain messages and a conversation wait for a far end that is away; then ops take that channel out of service."""
    far_end, records = FarEnd(), Records()
    folder = config_folder(tmp_path)
    (folder / "channels.yaml").write_text("nowhere: {kind: devnull}\nspare: {kind: devnull}\n")
    (folder / "routes.yaml").write_text("routes: [{kind: devnull, channel: nowhere}]\n")
    away = {"nowhere"}

    class TwoFarEnds(scripted(far_end)):
        async def deliver(self, batch):
            if self.port.channel in away:
                raise Unreachable("away")
            return await super().deliver(batch)

    envelopes = [text(IDS, n) for n in range(20)]
    envelopes += [
        text(IDS, 50, category="reply", tier=1, order_key="talk", reference=f"{n}")
        for n in range(5)
    ]
    async with running(folder, TwoFarEnds, records) as app:
        await submit(app, envelopes)
        await until(lambda: len(records.of("submit")) == 25)
        assert far_end.taken == []
        (folder / "channels.yaml").write_text("spare: {kind: devnull}\n")
        (folder / "routes.yaml").write_text("routes: [{kind: devnull, channel: spare}]\n")
        assert (await app.live.reload()).result == "swapped"
        await until(lambda: ended(records) == 25, 40)
    assert sorted(far_end.taken) == sorted(e.id for e in envelopes)
    assert far_end.order["talk"] == [f"{n}" for n in range(5)]
    assert {r.envelope.channel for r in records.last().values()} == {"spare"}


async def test_what_a_removed_channel_has_sent_is_not_sent_again(tmp_path: Path) -> None:
    """Sent and concluded, but the frame comes again (its ack was lost) when the channel is gone: no second send."""
    far_end, records = FarEnd(), Records()
    folder = config_folder(tmp_path)
    (folder / "channels.yaml").write_text("nowhere: {kind: devnull}\nspare: {kind: devnull}\n")
    (folder / "routes.yaml").write_text("routes: [{kind: devnull, channel: nowhere}]\n")
    sent = replace(text(IDS, 1, category="marketing", tier=5), channel="nowhere")
    claimed = replace(text(IDS, 2, category="marketing", tier=5), channel="nowhere")
    async with running(folder, scripted(far_end), records) as app:
        queue = Queue("out.nowhere", "bulk")
        await publish_frames(app.parts.bus, frames(queue, [wire.seal(sent)]))
        await until(lambda: far_end.taken == [sent.id])
        # another worker had claimed this one, and died
        admit = Admit(claimed.key("channel"), (), "gone", 0.0)
        assert (await app.parts.state.admit([admit]))[0].verdict == "go"
        (folder / "channels.yaml").write_text("spare: {kind: devnull}\n")
        (folder / "routes.yaml").write_text("routes: [{kind: devnull, channel: spare}]\n")
        assert (await app.live.reload()).result == "swapped"
        both = [wire.seal(sent), wire.seal(claimed)]
        await publish_frames(app.parts.bus, frames(queue, both))
        await until(lambda: claimed.id in records.last())
        await asyncio.sleep(0.5)
    assert far_end.taken == [sent.id]
    assert isinstance(records.last()[claimed.id].outcome, Unknown)


async def test_a_channel_out_of_service_is_waited_for(tmp_path: Path) -> None:
    far_end, records = FarEnd(), Records()
    folder = config_folder(tmp_path)
    (folder / "channels.yaml").write_text("nowhere: {kind: devnull, enabled: false}\n")
    message = text(IDS, 1)
    async with running(folder, scripted(far_end), records) as app:
        await submit(app, [message])
        await until(lambda: bool(records.of("submit")))
        assert isinstance(records.of("submit")[0].outcome, Retry)
        (folder / "channels.yaml").write_text("nowhere: {kind: devnull}\n")
        assert (await app.live.reload()).result == "swapped"
        await until(lambda: far_end.taken == [message.id], 15)
