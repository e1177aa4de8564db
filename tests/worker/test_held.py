import asyncio
from typing import cast

from worker.server.held import HeldTransport

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Transport:
    """Remembers what was written, in which pieces."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True


def held() -> tuple[HeldTransport, Transport]:
    transport = Transport()
    return HeldTransport(cast("asyncio.Transport", transport), asyncio.get_running_loop()), transport


async def test_a_head_and_the_body_that_follows_are_one_write():
    ours, theirs = held()
    ours.write(HEAD)
    ours.write(b"ok")
    ours.write(b"more")
    assert theirs.writes == [HEAD + b"ok", b"more"]


async def test_a_head_without_a_body_leaves_in_the_same_round_of_the_loop():
    ours, theirs = held()
    ours.write(HEAD)
    assert theirs.writes == []
    await asyncio.sleep(0)
    assert theirs.writes == [HEAD]


async def test_nothing_overtakes_what_is_held():
    ours, theirs = held()
    ours.write(HEAD)
    ours.close()
    assert theirs.writes == [HEAD]
    assert theirs.is_closed
