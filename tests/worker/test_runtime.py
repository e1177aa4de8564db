"""What keeps a worker going whatever happens to one of its exchanges."""

import asyncio

import pytest

from sidecar.contract.config import parse
from waiting import eventually
from worker.board import board_for
from worker.runtime import Runtime


class Broken:
    """An exchange whose deadline cannot be kept."""

    is_flushing = False

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
