"""A program that runs until SIGTERM or Ctrl-C, and then ends as one that is done."""

import asyncio
import signal
from collections.abc import Callable, Coroutine

from sidecar.terminal import Terminal


async def run_until_told(
    work: Coroutine[object, object, None], *, on_hangup: Callable[[], object] | None = None
) -> None:
    """Run it to its end; a signal cancels it, and each further one cancels what it does about that.

    What it raises is raised as it is. SIGHUP cancels where it is the terminal's end, else it calls ``on_hangup``; None:
    it ends the process.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, task.cancel)
            if on_hangup is not None:
                terminal, reload = Terminal(), on_hangup
                loop.add_signal_handler(signal.SIGHUP, lambda: task.cancel() if terminal.is_gone else reload())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None  # there is but one task
