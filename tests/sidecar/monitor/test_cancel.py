"""A cancellation that somebody swallowed."""

import asyncio
from contextlib import suppress

from sidecar.monitor.cancel import end_if_cancelled


async def test_a_swallowed_cancellation_is_raised_after_all():
    async def swallows() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        end_if_cancelled()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(swallows())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def test_nothing_is_raised_in_a_task_that_goes_on():
    end_if_cancelled()
