"""Backends that keep a proxy waiting, for handlers and for tests of deadlines."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from backend import Connection, Handler, Request


def begins(data: bytes) -> Handler:
    """These bytes, and nothing after them; the end of the connection is noticed."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.send(data)
        await connection.gone()

    return handle


def never_answers() -> Handler:
    """Nothing, until the connection ends."""
    return begins(b"")


def never_ends(first: bytes) -> Handler:
    """An answer in chunks, of which this one comes; its end does not."""

    async def handle(request: Request, connection: Connection) -> None:
        await connection.start_chunked()
        await connection.chunk(first)
        await connection.gone()

    return handle


@contextmanager
def unresponsive() -> Iterator[str]:
    """The URL of a backend that lets nobody connect: its queue is full, so that SYNs are dropped."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
