"""A backend that takes its time and counts: who is there at once, and who came in which window."""

import asyncio
import time
from collections import Counter
from types import TracebackType
from typing import Self

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Origin:
    """Serves on a loopback port. ``windows`` is by the number of a window of the wall clock, the store's own."""

    def __init__(self, *, service_s: float = 0.0, window_s: float = 1.0) -> None:
        self.most = self.served = 0
        self.busy_s = 0.0
        self.windows: Counter[int] = Counter()
        self._under_way = self._connections = 0
        self._service_s = service_s
        self._window_s = window_s
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more; whoever was connected is gone by now, and seen to be."""
        self._server.close()
        while self._connections:
            await asyncio.sleep(0.01)

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._server.sockets[0].getsockname()[1])

    def reset(self) -> None:
        """Count anew, but for those who are there."""
        self.most, self.served, self.busy_s = self._under_way, 0, 0.0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self._answer()
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self) -> None:
        began = time.monotonic()
        self.windows[int(time.clock_gettime(time.CLOCK_REALTIME) / self._window_s)] += 1
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        await asyncio.sleep(self._service_s)
        self._under_way -= 1
        self.served += 1
        self.busy_s += time.monotonic() - began
