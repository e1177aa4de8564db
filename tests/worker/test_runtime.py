"""What keeps a worker going whatever happens to one of its exchanges, and what becomes of its pools' places."""

import asyncio
from typing import Any

import pytest

from sidecar.contract.config import Config, parse
from sidecar.contract.model import Backend, View
from waiting import eventually
from worker.board import board_for
from worker.runtime import Runtime


class Broken:
    """An exchange whose deadline cannot be kept."""

    is_flushing = responded = drains = is_tunnel = False
    backend: Backend | None = None
    pool: Any = None

    def drain(self, now: float) -> None:
        """Nothing to drain."""

    def check_deadline(self, now: float) -> None:
        raise RuntimeError(f"at {now}")

    def end(self) -> None:
        """Nothing to end."""


async def test_one_broken_deadline_does_not_end_the_worker(caplog: pytest.LogCaptureFixture):
    config = parse({"store": {"url": "unix:///nowhere"}, "pools": {"api": {"backends": ["http://127.0.0.1:1"]}}}, {})
    runtime = Runtime(config, board_for(config), None, "test", {})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(runtime.run())
        runtime.active.add(Broken())
        runtime.clients.add(Broken())
        await eventually(lambda: not runtime.active and not runtime.clients)
        assert not running.done()
        running.cancel()
    assert sum("deadline-failed of=Broken" in record.getMessage() for record in caplog.records) == 2


def config_of(max_backends: int, *ports: int) -> Config:
    """One pool, and room on the board for so many backends."""
    listen, pool = {"max_backends": max_backends}, {"backends": [f"http://127.0.0.1:{port}" for port in ports]}
    return parse({"store": {"url": "unix:///nowhere"}, "listen": listen, "pools": {"api": pool}}, {})


async def test_siblings_are_told_which_view_is_followed_and_whether_the_store_answers():
    config = config_of(1, 1)
    board = board_for(config)
    runtime = Runtime(config, board, board.claim(), "test", {})
    seats, now = runtime.seats["api"], runtime.clock()
    assert seats.views() == []
    runtime.tick_slowly(now)
    assert seats.views() == [(0, 0.0)]
    assert [state.store_up for state in board.states()] == [False]

    runtime.knowledge["api"].offer(View(epoch=7), now, 2.0)
    runtime.tick_slowly(now)
    [(epoch, at)] = seats.views()
    assert (epoch, round(now - at, 3)) == (7, 2.0)
    await runtime.aclose()


async def test_a_request_that_outlives_its_pool_ends_where_it_began():
    before, after = config_of(1, 1), config_of(1, 2)
    board = board_for(before)
    runtime = Runtime(before, board, board.claim(), "test", {})
    pool = runtime.pools["api"]
    candidate = pool.take((), 0.0, True)
    assert candidate is not None

    await runtime.aclose()
    heir = Runtime(after, board, board.claim(), "test", {})
    assert (board.in_flight(candidate.row), heir.seats["api"].board is board) == (1, False)

    pool.leave(candidate.row)
    heir = Runtime(after, board, board.claim(), "test", {})
    assert (board.in_flight(candidate.row), heir.seats["api"].board is board) == (0, True)


async def test_a_pool_without_room_serves_all_the_same():
    config = config_of(1, 1, 2)
    board = board_for(config)
    runtime = Runtime(config, board, board.claim(), "test", {})
    pool, seats = runtime.pools["api"], runtime.seats["api"]
    rows = [candidate.row for _ in range(2) if (candidate := pool.take((), 0.0, True))]
    assert [seats.board.in_flight(row) for row in seats.rows.values()] == [1, 1]
    for row in rows:
        pool.leave(row)
    assert [seats.board.in_flight(row) for row in seats.rows.values()] == [0, 0]
