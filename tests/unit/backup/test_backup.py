"""Backup and restore on real files, without a process: what is in it, what is refused, what is marked, what is listed.

Long because making, checking and restoring are asked of the same files.
"""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from msgcenter.backup import MANIFEST, BackupError, Manifest, quiet
from msgcenter.backup.make import make
from msgcenter.backup.pending import Pending as Found
from msgcenter.backup.pending import on_the_bus, pipeline_of
from msgcenter.backup.restore import ORPHAN, Restored, restore, verify
from msgcenter.bus import Queue
from msgcenter.bus.sqlite import SqliteBus
from msgcenter.bus.topology import place, topology
from msgcenter.clock import ManualClock
from msgcenter.config import Config, load
from msgcenter.parts import DataFolderBusy, lock_folder
from msgcenter.settle import frames
from msgcenter.state import Accepted, Admit, Conclude, Mark, PlanStep
from msgcenter.state.sqlite import SqliteState
from msgcenter.status import Meta, derive
from msgcenter.store import DueRow, ParkRow
from msgcenter.store.store import Store
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.outcome import Held, Routed, Sent, Suppressed
from protocols.payload import Notice, Text

T0 = 1_790_000_000_000
HOUR = 3_600_000
TO = Address("tel", "+8613800138000")


def envelope(id_: str, **fields: object) -> Envelope:
    made = Envelope(id_, "crm", TO, "transactional", 2, Text("hi"), T0, channels=("sms",))
    return replace(made, **fields)  # type: ignore[arg-type]


class Deployment:
    """An embedded data folder that no process uses."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(T0)
        self.folder = folder
        self.data = folder / "data"
        (folder / "config").mkdir(parents=True)
        self.data.mkdir()
        (folder / "config" / "msgcenter.yaml").write_text(f"data: {self.data}\n")
        (self.data / "pepper").write_bytes(b"p" * 32)
        (self.data / "smsc.secret").write_text("secret\n")

    def config(self) -> Config:
        return load(self.folder / "config", settings_models={}, env={}, clock=self.clock)

    async def fill(
        self,
        *,
        bus: tuple[tuple[str, Envelope], ...] = (),
        due: tuple[tuple[Envelope, int, str], ...] = (),
        parked: tuple[tuple[str, Envelope], ...] = (),
        state: Callable[[SqliteState], object] | None = None,
    ) -> None:
        """Frames by topic, due rows by time and rule, parked rows by queue; every message accepted."""
        queue = SqliteBus(self.data / "bus.db", self.clock)
        await queue.declare(topology(["sms-east"], ["files", "messages"], 8))
        for topic, one in bus:
            await queue.publish(frames(place(topic, one, 8), [wire.seal(one)]))
        await queue.close()
        memory = SqliteState(self.data / "state.db", self.clock)
        every = [one for _, one in bus] + [one for one, *_ in due] + [one for _, one in parked]
        mine = [e for e in every if not e.inbound and not isinstance(e.payload, Notice)]
        await memory.accepted([Accepted(one.id, Meta.packed(one)) for one in mine])
        if state is not None:
            await state(memory)  # type: ignore[misc]
        await memory.close()
        store = Store(f"sqlite:///{self.data / 'store.db'}", self.clock)
        await store.open()
        await store.migrate()
        rows = [
            DueRow(f"due_{one.id}", at, wire.seal(one), one.id, "crm", rule, "normal", "p")
            for one, at, rule in due
        ]
        await store.hold(rows)
        await store.park(
            [ParkRow(f"p_{e.id}", name, "talk", wire.seal(e), e.id, T0) for name, e in parked]
        )
        await store.close()

    async def backup(self, name: str = "b.tar.gz") -> Path:
        file = self.folder / name
        await make(self.config(), file, release="1.0", clock=self.clock, progress=quiet)
        return file

    async def restore(self, file: Path, *, replace_old: bool = True) -> Restored:
        return await restore(
            file, self.config(), replace_old=replace_old, archive=None, clock=self.clock,
            progress=quiet,
        )  # fmt: skip

    def state(self) -> SqliteState:
        return SqliteState(self.data / "state.db", self.clock)


@pytest.fixture
def it(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "one")


async def test_a_backup_holds_everything_and_only_its_owner_reads_it(it: Deployment) -> None:
    await it.fill()
    file = await it.backup()
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        names = tar.getnames()
    databases = ["data/bus.db", "data/state.db", "data/store.db"]
    assert names == [
        MANIFEST,
        "config/msgcenter.yaml",
        "data/pepper",
        "data/smsc.secret",
        *databases,
    ]
    assert sorted(path.name for path in it.folder.iterdir()) == ["b.tar.gz", "config", "data"]
    with pytest.raises(BackupError, match="is there already"):
        await it.backup()


async def test_a_server_may_write_while_its_databases_are_copied(it: Deployment) -> None:
    await it.fill()
    writer = sqlite3.connect(it.data / "bus.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO frame VALUES (1, 1, 1, x'00')")
    file = await it.backup()  # neither waits for the writer nor sees half of it
    writer.execute("COMMIT")
    writer.close()
    manifest = verify(file, it.folder / "seen", quiet)
    assert manifest.made_at == T0
    with sqlite3.connect(it.folder / "seen" / "data" / "bus.db") as db:
        assert db.execute("SELECT count(*) FROM frame").fetchone() == (0,)


def repacked(file: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """The backup with files changed, left out, or renamed."""
    out = file.with_name("changed.tar.gz")
    with tarfile.open(file) as tar, tarfile.open(out, "w:gz") as to:
        for entry in tar:
            data = tar.extractfile(entry)
            assert data is not None
            changed = change(entry.name, data.read())
            if changed is not None:
                entry.name, entry.size = changed[0], len(changed[1])
                to.addfile(entry, io.BytesIO(changed[1]))
    return out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda n, d: (n, d[:-1] + b"X") if n == "data/pepper" else (n, d), "another SHA-256"),
        (lambda n, d: (n, d + b"X") if n == "data/pepper" else (n, d), "not as the manifest says"),
        (lambda n, d: None if n == "data/store.db" else (n, d), "data/store.db is missing"),
        (lambda n, d: ("data/../../x", d) if n == "data/pepper" else (n, d), "not as the manifest"),
        (lambda n, d: (n, d.replace(b'"data/pepper"', b'"../pepper"')), "leads out of the folder"),
        (lambda n, d: (n, d.replace(b"msgcenter.backup", b"something.else")), "not a backup"),
        (lambda n, d: (n, d.replace(b'"version": 1', b'"version": 9')), "this release reads 1"),
        (lambda n, d: (n, d.replace(b'"revision": "0', b'"revision": "9')), "newer than this"),
        (lambda n, d: None if n == MANIFEST else (n, d), "does not begin with manifest.json"),
    ],
)
async def test_what_is_not_a_whole_backup_is_refused(
    it: Deployment, change: Callable[[str, bytes], tuple[str, bytes] | None], says: str
) -> None:
    await it.fill()
    changed = repacked(await it.backup(), change)
    with pytest.raises(BackupError, match=says):
        verify(changed, it.folder / "seen", quiet)
    before = set(it.data.iterdir())
    with pytest.raises(BackupError, match=says):
        await it.restore(changed)
    assert set(it.data.iterdir()) == before | {it.data / "lock"}


async def test_a_file_cut_short_is_refused(it: Deployment) -> None:
    await it.fill()
    file = await it.backup()
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(BackupError, match="read to its end"):
        verify(file, it.folder / "seen", quiet)


async def test_a_damaged_database_is_neither_backed_up_nor_restored(it: Deployment) -> None:
    await it.fill(bus=tuple(("submit", envelope(f"msg_{n}")) for n in range(200)))
    path = it.data / "bus.db"
    with path.open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(BackupError, match=r"bus\.db"):
        await it.backup()


async def test_old_data_stays_and_is_replaced_only_when_told_and_unused(it: Deployment) -> None:
    await it.fill()
    file = await it.backup()
    with pytest.raises(BackupError, match="--replace"):
        await it.restore(file, replace_old=False)
    with lock_folder(it.data), pytest.raises(DataFolderBusy):
        await it.restore(file)
    (it.data / "mine").write_text("kept")
    done = await it.restore(file)
    assert done.aside is not None
    assert (done.aside / "mine").read_text() == "kept"
    assert not (it.data / "mine").exists()
    assert (it.data / "pepper").read_bytes() == b"p" * 32
    assert done.config is not None
    assert (done.config / "msgcenter.yaml").is_file()


async def test_every_place_where_a_message_waits_is_ended_as_unknown(it: Deployment) -> None:
    talk = envelope("msg_talk", order_key="talk")
    sent = envelope("msg_sent")
    on = (
        ("submit", envelope("msg_submit")),
        ("out.sms-east", envelope("msg_out", channel="sms-east")),
    )
    received = envelope("msg_in", inbound=True, sender=TO)
    notice = envelope("evt_1", payload=Notice("e", "t", "{}"))
    rows = (
        (envelope("msg_due"), T0 - 1, "quiet"),
        (envelope("msg_paused"), T0 + 5 * HOUR, "paused:campaign:x"),
        (envelope("msg_later"), T0 + 5 * HOUR, "send_at"),
    )

    async def more(state: SqliteState) -> None:
        lost = envelope("msg_lost")
        await state.accepted([Accepted(lost.id, Meta.packed(lost))])
        key = sent.key("channel")
        mark = Mark(sent.id, 0, 0, 0, "sent", "", T0)
        outcome = wire.seal_outcome(Sent(("r1",)))
        await state.conclude([Conclude(key, outcome, "sent", 2, (mark,))])

    await it.fill(
        bus=(*on, ("inbound", received), ("out.sms-east", notice), ("out.sms-east", sent)),
        due=rows,
        parked=(("out.sms-east.conv.3", talk),),
        state=more,
    )
    done = await it.restore(await it.backup())
    ended = ["msg_submit", "msg_out", "msg_due", "msg_paused", "msg_talk", "msg_lost"]
    assert done.marked == len(ended)
    state = it.state()
    found = await state.get_many([*ended, "msg_sent", "msg_later"])
    assert [derive(one) for one in found] == ["unknown"] * len(ended) + ["sent", "accepted"]
    assert {one.view for one in found[: len(ended)]} == {"unknown:restored"}
    # Whatever comes of them later does not leave, and what could not have left does.
    again = [envelope(id_, attempt=1) for id_ in [*ended, "msg_later"]]
    admits = [Admit(e.key("channel"), (f"message:{e.id}",), "w", 5.0) for e in again]
    answers = await state.admit(admits)
    assert [a.rule for a in answers] == ["restored"] * len(ended) + [""]
    assert answers[-1].verdict == "go"
    stored = await state.replay([notice.key("channel"), received.key("inbound")])
    assert stored == [None, None]
    await state.close()


@pytest.mark.parametrize("old", ["known", "lost"])
async def test_a_hold_that_may_have_ended_early_is_sent_only_when_it_is_known_not_to_have(
    it: Deployment, old: str
) -> None:
    names = ("msg_quiet", "msg_review", "msg_early", "msg_later", "msg_retry")
    waits = {name: envelope(name) for name in names}
    rules = ("quiet", "review", "quiet", "send_at", "retry")

    async def held(state: SqliteState) -> None:
        for one, rule in zip(waits.values(), rules, strict=True):
            outcome = wire.seal_outcome(Held(T0 + HOUR, rule))
            await state.conclude([Conclude(one.key("submit"), outcome, f"held:{rule}", 1)])

    again = [replace(one, attempt=1) for one in waits.values()]
    await it.fill(
        due=tuple((one, T0 + HOUR, rule) for one, rule in zip(again, rules, strict=True)),
        state=held,
    )
    file = await it.backup()
    state = it.state()
    routed = wire.seal_outcome(Routed(("sms-east",)))
    await state.conclude([Conclude(again[2].key("submit"), routed, "queued", 5)])
    await state.close()
    if old == "lost":
        shutil.rmtree(it.data)
    await it.restore(file, replace_old=old == "known")
    state = it.state()
    found = dict(zip(names, await state.get_many(names), strict=True))
    await state.close()
    goes_on = {name for name, one in found.items() if derive(one) == "held"}
    # What only its time lets out goes on; of the others, what the State that is replaced saw held to the last.
    surely = {"msg_later", "msg_retry"}
    assert goes_on == (surely | {"msg_quiet", "msg_review"} if old == "known" else surely)
    assert {found[name].view for name in set(names) - goes_on} == {"unknown:restored"}


async def test_a_message_that_nothing_carries_has_its_end_told(it: Deployment) -> None:
    async def lost(state: SqliteState) -> None:
        one = envelope("msg_lost", reference="order 7")
        await state.accepted([Accepted(one.id, Meta.packed(one))])

    await it.fill(state=lost)
    await it.restore(await it.backup())
    bus = SqliteBus(it.data / "bus.db", it.clock)
    records = []
    for queue in topology([], ["files"], 8):
        if queue.sink == "files":
            await bus.declare([queue])
            async with bus.consume(queue, max_batch=10, max_wait=0) as lease:
                for delivery in lease.deliveries:
                    records += map(wire.open_sealed, wire.unpack_frame(delivery.body))
    await bus.close()
    (record,) = records
    assert isinstance(record, Record)
    assert isinstance(record.outcome, Suppressed)
    assert (record.subject, record.subject_caller, record.reference) == (
        "msg_lost",
        "crm",
        "order 7",
    )
    assert (record.status, record.final, record.envelope.attempt) == ("unknown", True, ORPHAN)


async def test_an_open_plan_goes_nowhere_and_what_the_old_state_knows_is_listed(
    it: Deployment,
) -> None:
    plan = envelope("msg_plan")
    meta = replace(Meta.of(plan), kind="plan").pack()

    async def open_plan(state: SqliteState) -> None:
        await state.plan_step([PlanStep(plan.id, 0, b"x", 1e6, "queued:plan", meta)])

    scheduled = envelope("msg_later")
    await it.fill(
        bus=(("submit", envelope("msg_1")), ("submit", envelope("msg_2"))),
        due=((scheduled, T0 + HOUR, "send_at"),),
        state=open_plan,
    )
    file = await it.backup()
    await it.clock.advance(60.0)
    state = it.state()
    for one in (envelope("msg_1"), scheduled):
        mark = Mark(one.id, 0, 0, 0, "delivered", "", T0)
        sealed = wire.seal_outcome(Sent())
        await state.conclude([Conclude(one.key("channel"), sealed, "sent", 2, (mark,))])
    new = envelope("msg_new", reference="n")
    await state.accepted([Accepted(new.id, Meta.packed(new))])
    await state.close()
    done = await it.restore(file)
    lines = [json.loads(line) for line in done.report.read_text().splitlines()]
    told = {line["message"]: (line["gap"], line["restored"], line["status"]) for line in lines}
    assert told == {
        "msg_1": ("settled", "unknown", "delivered"),
        "msg_later": (
            "settled",
            "unknown",
            "delivered",
        ),  # it left before its time: somebody hastened it
        "msg_2": ("pending", "unknown", "accepted"),
        "msg_plan": ("pending", "unknown", "queued"),
        "msg_new": ("missing", "", "accepted"),
    }
    state = it.state()
    gates = ("message:msg_plan",)
    (answer,) = await state.admit([Admit(replace(plan, step=2).key("channel"), gates, "w", 5.0)])
    assert (answer.verdict, answer.rule) == ("suppressed", "restored")
    await state.close()


async def test_p4_to_p6_wait_until_somebody_resumes_them(it: Deployment) -> None:
    await it.fill()
    done = await it.restore(await it.backup())
    assert set(done.paused) == {"care", "marketing", "migration"}
    store = Store(f"sqlite:///{it.data / 'store.db'}", it.clock)
    await store.open()
    assert {row.gate for row in await store.list_pauses()} == {f"category:{n}" for n in done.paused}
    await store.close()
    state = it.state()
    key = envelope("msg_x").key("channel")
    (answer,) = await state.admit([Admit(key, ("category:marketing",), "w", 5.0)])
    assert answer.verdict == "held"
    await state.close()


def test_a_queue_tells_who_works_it() -> None:
    queues = topology(["sms.east"], ["files"], 2)
    found = {pipeline_of(queue.name) for queue in queues if queue.topic == "out.sms.east"}
    assert found == {"channel"}
    assert {pipeline_of(q.name) for q in queues if q.topic == "submit"} == {"submit"}
    others = {q.topic for q in queues if not pipeline_of(q.name)}
    assert others == {"record", "dead", "invalid"}


async def test_frames_that_cannot_be_read_are_counted_and_left(it: Deployment) -> None:
    bus = SqliteBus(it.data / "bus.db", it.clock)
    queue = Queue("submit")
    await bus.declare([queue])
    good = wire.seal(envelope("msg_1"))
    await bus.publish([*frames(queue, [good, b"\x00"]), *frames(queue, [good], 5)])
    await bus.publish([replace(frames(queue, [good])[0], body=b"\x63garbage")])
    await bus.close()
    found = Found()
    on_the_bus(it.data / "bus.db", found)
    assert (len(found.passes), found.unreadable) == (1, 2)


def test_a_manifest_reads_what_it_wrote() -> None:
    one = Manifest("1.0", T0, "0010", {"bus": "sqlite"}, "", ())
    assert Manifest.read(one.as_json()) == one
