"""What the connections of a worker have to write in this turn of its loop, written together at the end of it.

Each write is a system call that wakes its reader. Between two requests' work the reader falls asleep again, and waking
it is dear; of writes in a row only the first has to. With 64 connections this saves a fifth of the CPU time of a small
request (measured 2026-11); where one request comes at a time it changes nothing.
"""

import asyncio
from typing import Protocol


class Sender(Protocol):
    """A connection with something to write."""

    def flush(self) -> None:
        """Write it, unless that has been done or become pointless meanwhile; never raises."""


class Outbox:
    """The connections that write at the end of this turn, in the order in which they asked for it."""

    __slots__ = ("_loop", "_senders")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._senders: list[Sender] = []

    def put(self, sender: Sender) -> None:
        """Have ``sender.flush`` called once the events that are at hand have been dealt with."""
        if not self._senders:
            self._loop.call_soon(self.flush)
        self._senders.append(sender)

    def flush(self) -> None:
        """Write everything now."""
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.flush()
