"""Whose request begins next, who is refused when too many wait, and what the log says of refusals that repeat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from msgcenter.api import fair, repeats
from msgcenter.api.fair import AT_ONCE, LONGEST_S, FairQueue
from msgcenter.api.problems import Problem
from msgcenter.api.repeats import FEW, Kind, Repeats
from msgcenter.clock import ManualClock
from tests.unit.api.parts import Parts, message


class Still(ManualClock):
    """A clock that is set, and lets nobody run meanwhile."""

    passed = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.passed


class Line:
    """Requests of several callers on one queue, and the order in which they began."""

    def __init__(self) -> None:
        self.clock = Still()
        self.queue = FairQueue(self.clock)
        self.began: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, caller: str, count: int) -> None:
        self.tasks += [asyncio.create_task(self._one(caller)) for _ in range(count)]

    async def _one(self, caller: str) -> None:
        await self.queue.turn(caller)
        self.began.append(caller)

    async def all(self) -> list[BaseException | None]:
        async with asyncio.timeout(10):
            return await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_lone_request_begins_at_once() -> None:
    line = Line()
    for _ in range(3):
        turn = line.queue.turn("quiet")
        with pytest.raises(StopIteration):  # without giving the event loop away
            turn.send(None)
        await asyncio.sleep(0)
    assert line.queue.waiting == 0


async def test_callers_take_turns_however_many_one_of_them_asks_for() -> None:
    line = Line()
    line.ask("noisy", 300)
    line.ask("quiet", 2)
    await line.all()
    assert line.began.count("noisy") == 300
    # its first waits for the turn that was running when it came, its second for one more of the other's
    assert [n for n, who in enumerate(line.began) if who == "quiet"][-1] <= AT_ONCE + 4


async def test_no_more_than_a_few_begin_in_one_turn_of_the_event_loop() -> None:
    line = Line()
    line.ask("noisy", 5 * AT_ONCE)
    before = 0
    while not all(task.done() for task in line.tasks):
        await asyncio.sleep(0)
        assert len(line.began) - before <= AT_ONCE
        before = len(line.began)
    assert line.queue.waiting == 0


async def test_a_caller_keeps_its_order() -> None:
    line, order = Line(), []

    async def one(number: int) -> None:
        await line.queue.turn("noisy")
        order.append(number)

    await asyncio.gather(*(one(n) for n in range(100)))
    assert order == list(range(100))


async def test_a_full_queue_refuses_whoever_holds_more_than_a_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair, "MOST", 40)
    line = Line()
    line.ask("noisy", AT_ONCE + 60)
    line.ask("other", 10)
    found = await line.all()
    codes = [each.code for each in found if isinstance(each, Problem)]
    assert codes == ["overloaded"] * 20  # the noisy one was alone then: nobody to share with
    assert all(each is None for each in found[-10:])
    line.tasks.clear()
    line.ask("other", 1)
    line.ask("noisy", AT_ONCE + 60)
    line.ask("other", 10)
    line.ask("noisy", 5)
    found = await line.all()
    codes = [each.code for each in found if isinstance(each, Problem)]
    assert codes[-5:] == ["caller_overloaded"] * 5
    assert line.began.count("other") == 21
    assert line.queue.waiting == 0


async def test_who_waited_too_long_is_refused_and_its_line_takes_no_more() -> None:
    line = Line()
    line.ask("noisy", AT_ONCE + 2)
    await asyncio.sleep(0)
    assert line.queue.waiting == 2
    line.clock.passed = LONGEST_S + 0.1
    with pytest.raises(Problem, match="overloaded") as refused:
        await line.queue.turn("noisy")
    assert refused.value.retry_after
    line.ask("quiet", 1)  # its own line does not stand still
    found = await line.all()
    assert [str(each) for each in found if each is not None] == ["overloaded"] * 2
    assert line.began == ["noisy"] * AT_ONCE + ["quiet"]
    assert line.queue.waiting == 0


async def test_who_has_gone_takes_no_turn() -> None:
    line = Line()
    line.ask("noisy", AT_ONCE + 5)
    await asyncio.sleep(0)
    for task in line.tasks[-3:]:
        task.cancel()
    line.ask("quiet", 1)
    await line.all()
    assert sorted(line.began) == ["noisy"] * (AT_ONCE + 2) + ["quiet"]
    assert line.queue.waiting == 0


class Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append({"event": event, **facts})


async def test_refusals_that_repeat_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "WINDOW_S", 0.05)
    log = Log()
    kept = Repeats(log)
    one = Kind("noisy", "POST", "/v1/messages", 429, "quota_exceeded")
    other = Kind("quiet", "POST", "/v1/messages", 422, "validation_failed")
    assert [kept.worth_a_line(one) for _ in range(FEW + 3)] == [True] * FEW + [False] * 3
    assert kept.worth_a_line(other)
    await asyncio.sleep(0.2)
    assert [(line["caller"], line["code"], line["count"]) for line in log.lines] == [
        ("noisy", "quota_exceeded", 3)
    ]
    assert kept.worth_a_line(one)  # a new window


async def test_a_flood_of_refusals_leaves_few_lines_and_every_one_is_counted(parts: Parts) -> None:
    for _ in range(40):
        await parts.post("/v1/messages", message(), caller="limited")
    lines = [
        fields for level, event, fields in parts.log.lines if (level, event) == ("info", "request")
    ]
    refused = [fields for fields in lines if fields["status"] == 429]
    assert len(refused) == FEW
    counted = parts.deps.metrics.api_requests_total.labels(
        route="/v1/messages", method="POST", status="429"
    )
    assert counted._value.get() > FEW


async def test_without_quota_left_a_request_is_refused_before_its_body_is_looked_at(
    parts: Parts,
) -> None:
    for _ in range(10):
        status, _, _ = await parts.post("/v1/messages", message(), caller="limited")
    assert status == 429
    status, body, headers = await parts.post("/v1/messages", {"nonsense": 1}, caller="limited")
    assert (status, body["code"]) == (429, "quota_exceeded")
    assert int(headers["Retry-After"]) >= 1
