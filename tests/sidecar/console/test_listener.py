"""What waits for one who listens."""

import asyncio

from sidecar.console.listener import MISSED, MOST, Listener


async def test_a_slow_listener_gets_the_events_and_the_latest_status():
    listener = Listener()
    for frame in (b"s1", b"s2"):
        listener.show(frame)
    listener.tell(b"e1")
    listener.tell(b"e2")
    assert await listener.next() == b"e1e2s2"


async def test_one_that_is_too_slow_for_the_events_is_told_so_and_has_nothing_of_them():
    listener = Listener()
    for _ in range(3 * MOST):
        listener.tell(b"e")
    listener.show(b"s")
    assert await listener.next() == MISSED + b"s"
    listener.tell(b"f")
    assert await listener.next() == b"f"


async def test_one_that_waits_hears_what_comes_and_the_end():
    listener = Listener()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(listener.next())
        await asyncio.sleep(0)
        listener.tell(b"e")
    assert waiting.result() == b"e"
    listener.end()
    assert await listener.next() is None
