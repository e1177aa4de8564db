"""A cancellation that redis-py lost."""

import asyncio


def end_if_cancelled() -> None:
    """Raise what should have been raised; to be called after anything was sent to the store.

    redis-py sends through ``asyncio.wait_for``, which before Python 3.12 swallows a cancellation that comes in the same
    turn of the loop as the end of the sending. Seen as a monitor that went on publishing after it was told to stop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
