"""One who listens to the stream: what waits for it is bounded, however slowly it takes that."""

import asyncio
from collections import deque

MOST = 256
"""Events that wait for one listener; who has missed one is told to fetch them again."""
MISSED = b"event: missed\ndata: {}\n\n"


class Listener:
    """The latest status, and the events before it."""

    def __init__(self) -> None:
        self._status = b""
        self._events: deque[bytes] = deque()
        self._has_missed = False
        self._is_over = False
        self._wake = asyncio.Event()

    def show(self, frame: bytes) -> None:
        """A status, in place of one that was not taken yet."""
        self._status = frame
        self._wake.set()

    def tell(self, frame: bytes) -> None:
        """An event, after those that were not taken yet; where these are too many, none of them."""
        if len(self._events) == MOST:
            self._events.clear()
            self._has_missed = True
        if not self._has_missed:
            self._events.append(frame)
        self._wake.set()

    def end(self) -> None:
        """There is nothing more."""
        self._is_over = True
        self._wake.set()

    async def next(self) -> bytes | None:
        """All that waits, once something does; None at the end."""
        while not self._is_over:
            if waiting := b"".join([*([MISSED] if self._has_missed else []), *self._events, self._status]):
                self._events.clear()
                self._status, self._has_missed = b"", False
                return waiting
            self._wake.clear()
            await self._wake.wait()
        return None
