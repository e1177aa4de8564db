"""What a master hands to its workers arrives as a whole or not yet, and only once."""

import asyncio

import pytest

from forks import forked
from sidecar.contract.config import Config, parse
from waiting import eventually, eventually_sync
from worker.board import board_for
from worker.server.handover import Handover, heed


def config(number: int) -> Config:
    return parse({"pools": {f"p{number}": {"backends": [f"http://127.0.0.1:{number}"]}}}, {})


def test_a_worker_takes_the_latest_and_no_config_twice():
    handover = Handover(config(1))

    def is_told() -> None:
        eventually_sync(lambda: handover.take() == config(3))
        assert handover.number == 2
        assert handover.take() is None

    with forked(is_told) as worker:
        handover.give(config(2))
        handover.give(config(3))
        assert worker.wait() == 0
    assert handover.take() is None, "the master has it already"


def test_a_worker_that_reads_while_the_master_writes_gets_all_of_one_or_nothing():
    handover, turns = Handover(config(1)), 300

    def is_told() -> None:
        seen = [1]
        while seen[-1] < turns:
            if (taken := handover.take()) is not None:
                seen.append(taken.pools[next(iter(taken.pools))].members[0].address.port)
                assert f"p{seen[-1]}" in taken.pools
        assert seen == sorted(set(seen))

    with forked(is_told) as worker:
        for number in range(2, turns + 1):
            handover.give(config(number))
        assert worker.wait() == 0


async def test_what_cannot_be_applied_is_not_said_to_be_and_the_next_one_is(caplog: pytest.LogCaptureFixture):
    handover, board = Handover(config(1)), board_for(config(1))
    writer, applied = board.writer(board.claim()), list[Config]()

    def apply(given: Config) -> None:
        if given == config(2):
            raise MemoryError
        applied.append(given)

    worker = Handover(config(1))
    worker._descriptor = handover._descriptor  # as a fork would have it
    async with asyncio.TaskGroup() as tasks:
        heeding = tasks.create_task(heed(worker, apply, writer))
        handover.give(config(2))
        await eventually(lambda: "reload=failed" in caplog.text)
        assert board.states()[0].config == 0
        handover.give(config(3))
        await eventually(lambda: board.states()[0].config == 2)
        heeding.cancel()
    assert applied == [config(3)]
