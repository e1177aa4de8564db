"""The eight backends of ``balance`` in one process: work is a timer, so they need next to no CPU.

python balance_origin.py PORT PORT ... GET /busy/US is answered with the number of the backend after so much work in
microseconds, GET /afresh/SINCE/UNTIL empties its queue and has it sick between two moments of the monotonic clock, and
any other GET, such as a probe, is answered at once and takes no slot.
"""

import asyncio
import sys
import time
from functools import partial
from typing import cast

import uvloop
from typing_extensions import override

from balance_backends import SLOWNESS, Slots, Span

END = b"\r\n\r\n"


class Backend(asyncio.Protocol):
    """One connection to one backend. Requests have no body, and the next one waits for the answer."""

    def __init__(self, slots: Slots, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._slots = slots
        self._loop = loop
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%d\n" % number
        self._received = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        """Take whole heads."""
        self._received += data
        while END in self._received:
            head, _, self._received = self._received.partition(END)
            self._take(head.split(b" ", 2)[1].decode("latin-1"))

    def _take(self, path: str) -> None:
        match path.split("/"):
            case ["", "busy", work_us]:
                now = time.monotonic()
                self._loop.call_later(self._slots.admit(now, int(work_us) / 1e6) - now, self._reply)
            case ["", "afresh", since, until]:
                self._slots.start_afresh(Span(since=float(since), until=float(until)))
                self._reply()
            case _:
                self._reply()

    def _reply(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer)


async def serve(ports: list[int]) -> list[asyncio.Server]:
    """Listen on a port for each backend; 0 lets the system choose."""
    loop = asyncio.get_running_loop()
    servers = []
    for number, (port, slowness) in enumerate(zip(ports, SLOWNESS, strict=True)):
        backend = partial(Backend, Slots(slowness), number, loop)
        servers.append(await loop.create_server(backend, "127.0.0.1", port, backlog=4096))
    return servers


async def main() -> None:
    """Until it is ended."""
    await serve([int(port) for port in sys.argv[1:]])
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
