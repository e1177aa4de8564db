"""A program that runs until SIGTERM or Ctrl-C, and then ends as one that is done."""

import asyncio
import signal
from collections.abc import Coroutine


async def run_until_told(work: Coroutine[object, object, None]) -> None:
    """Run it to its end; a signal cancels it, and each further one cancels what it does about that."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
