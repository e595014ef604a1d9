"""Backlog: in order of time however few of them fit in memory."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgcenter.backlog import Backlog


@given(
    near=st.integers(1, 6),
    moves=st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=80),
)
def test_what_waits_comes_back_in_order_whatever_fits_in_memory(
    near: int, moves: list[int | None]
) -> None:
    """None takes what is next, a number is a time at which one more waits."""
    backlog: Backlog[int] = Backlog(near)
    model: list[tuple[int, int]] = []
    for number, move in enumerate([*moves, *[None] * len(moves)]):
        if move is not None:
            backlog.push(move, number)
            heapq.heappush(model, (move, number))
        else:
            assert backlog.next_at == (model[0][0] if model else None)
            first = model[0][0] if model else None
            wanted = []
            while model and model[0][0] == first:
                wanted.append(heapq.heappop(model)[1])
            assert backlog.take() == wanted
        assert len(backlog) == len(model)
        assert len(backlog._near) <= near
    backlog.close()


@pytest.mark.parametrize("order", [1, -1])
def test_a_long_backlog_is_in_the_file(order: int) -> None:
    backlog: Backlog[str] = Backlog(100)
    for number in range(10_000)[::order]:
        backlog.push(number // 2, f"value {number}")
    assert len(backlog._near) <= 100
    came = [sorted(backlog.take()) for _ in range(5000)]
    assert came == [sorted([f"value {2 * n}", f"value {2 * n + 1}"]) for n in range(5000)]
    assert backlog.take() == []
