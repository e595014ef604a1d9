"""devnull: what it takes is what it says, in a file that processes share; it fails on command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.devnull import DevNull, DevNullSettings
from msgcenter.adapter import Dispatch, Rejected, Retry, Sent, Unknown, Unreachable
from msgcenter.rig import kept
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Text
from tests.port import FakePort


def item(number: int) -> Dispatch:
    to = Address("tel", f"+861380000{number:04d}")
    envelope = Envelope(
        f"msg_{number}", "crm", to, "care", 4, Text("好"), 0, order_key=f"k{number % 3}"
    )
    return Dispatch(envelope, envelope.token())


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_takes_a_batch_in_order_and_notes_it(tmp_path: Path) -> None:
    journal = tmp_path / "taken.jsonl"
    adapter = DevNull(DevNullSettings(journal=journal), FakePort())
    batch = [item(number) for number in range(100)]
    outcomes = await adapter.deliver(batch)
    assert outcomes == [Sent((one.token,)) for one in batch]
    assert [line["id"] for line in lines(journal)] == [one.envelope.id for one in batch]
    assert set(lines(journal)[0]) == {"id", "token", "recipient", "order_key", "time"}


async def test_injected_failures_follow_the_seed_and_the_journal_tells_the_truth(
    tmp_path: Path,
) -> None:
    runs = []
    for run in range(2):
        journal = tmp_path / f"{run}.jsonl"
        fail = {"retry": 0.2, "rejected": 0.1, "unknown": 0.2, "seed": 5}
        adapter = DevNull(
            DevNullSettings.model_validate({"journal": journal, "fail": fail}), FakePort()
        )
        outcomes = await adapter.deliver([item(number) for number in range(400)])
        taken = {line["id"] for line in lines(journal)}
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, Sent):
                assert f"msg_{number}" in taken
            elif isinstance(outcome, Retry | Rejected):
                assert f"msg_{number}" not in taken
        lost = {f"msg_{n}" for n, outcome in enumerate(outcomes) if isinstance(outcome, Unknown)}
        assert lost & taken
        assert lost - taken
        runs.append(outcomes)
    assert runs[0] == runs[1]
    kinds = {type(outcome) for outcome in runs[0]}
    assert kinds == {Sent, Retry, Rejected, Unknown}


async def test_an_unreachable_batch_leaves_no_trace(tmp_path: Path) -> None:
    journal = tmp_path / "taken.jsonl"
    adapter = DevNull(
        DevNullSettings.model_validate({"journal": journal, "fail": {"unreachable": 1}}), FakePort()
    )
    with pytest.raises(Unreachable):
        await adapter.deliver([item(1)])
    assert not journal.exists()


async def test_receipts_come_again_until_they_are_durable() -> None:
    port = FakePort()
    adapter = DevNull(DevNullSettings.model_validate({"receipts": {"after_s": 0.01}}), port)
    assert DevNull.spec.receipts == frozenset()
    assert adapter.spec.receipts == {"delivered"}
    port.refuse = 1
    async with kept(adapter):
        await adapter.deliver([item(1), item(2)])
        await port.until(lambda: len(port.reports) == 2)
    assert [one.report.remote_id for one in port.reports] == [item(1).token, item(2).token]
    assert port.tries == 2


def test_processes_share_one_journal(tmp_path: Path) -> None:
    journal = tmp_path / "shared.jsonl"
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.port import FakePort; from adapters.devnull import DevNull, DevNullSettings\n"
        "from tests.unit.adapters.test_devnull import item\n"
        "async def main():\n"
        "    adapter = DevNull(DevNullSettings(journal=Path(sys.argv[1])), FakePort())\n"
        "    for n in range(50): await adapter.deliver([item(n * 10 + k) for k in range(10)])\n"
        "asyncio.run(main())\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(journal)]) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    entries = lines(journal)
    assert len(entries) == 1500
    assert len({entry["id"] for entry in entries}) == 500
