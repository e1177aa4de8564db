"""The backend of what lasts: WebSockets that are echoed, and an event stream that says when each event was written.

python stream_origin.py PORT PORT. GET /events gives one event each ``EVENT_S``, which holds the monotonic clock in
nanoseconds; a WebSocket gets every data frame back, compressed as it came; any other GET, such as a probe, a greeting.
"""

import asyncio
import base64
import hashlib
import sys
import time
from functools import partial
from typing import cast

import uvloop
from typing_extensions import override
from websockets.utils import apply_mask

from lab import Lab, free_ports, serves

END = b"\r\n\r\n"
EVENT_S = 0.002
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhello, world\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n"
COMPRESSED = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
LAST_DATA_OPCODE = 0x02
CLOSE = 0x08


class Peer(asyncio.Protocol):
    """One connection. Requests have no body."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._received = b""
        self._talks = False
        self._transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        """Take whole heads, or whole frames."""
        self._received += data
        while not self._talks and END in self._received:
            head, _, self._received = self._received.partition(END)
            self._answer(head)
        if self._talks:
            self._echo()

    def _answer(self, head: bytes) -> None:
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if b"sec-websocket-key" in fields:
            digest = hashlib.sha1(fields[b"sec-websocket-key"] + GUID, usedforsecurity=False).digest()
            extensions = COMPRESSED if b"permessage-deflate" in fields.get(b"sec-websocket-extensions", b"") else b""
            self._transport.write(SWITCH % base64.b64encode(digest) + extensions + b"\r\n")
            self._talks = True
        elif head.startswith(b"GET /events "):
            self._transport.write(EVENTS)
            self._tell()
        else:
            self._transport.write(HELLO)

    def _tell(self) -> None:
        """Write an event, and the next one in a moment."""
        if not self._transport.is_closing():
            self._loop.call_later(EVENT_S, self._tell)
            event = b"data: %d\n\n" % time.monotonic_ns()
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def _echo(self) -> None:
        """Send every whole data frame back without its mask."""
        received, at = self._received, 0
        while len(received) - at >= 8:
            opcode, length, start = received[at] & 0x0F, received[at + 1] & 0x7F, at + 2
            if length == 126:
                length, start = int.from_bytes(received[start : start + 2], "big"), start + 2
            end = start + 4 + length
            if end > len(received):
                break
            if opcode == CLOSE:
                self._transport.close()
            elif opcode <= LAST_DATA_OPCODE:
                payload = apply_mask(received[start + 4 : end], received[start : start + 4])
                size = bytes((length,)) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
                self._transport.write(received[at : at + 1] + size + payload)
            at = end
        self._received = received[at:]


def start(lab: Lab) -> tuple[int, int]:
    """Start it on the load's core; its two ports."""
    first, second = free_ports(2)
    program = lab.start("stream-origin", [sys.executable, __file__, str(first), str(second)], core=lab.load_core)
    for port in (first, second):
        program.wait_until(partial(serves, port))
    return first, second


async def main() -> None:
    """Until it is ended."""
    loop = asyncio.get_running_loop()
    for port in sys.argv[1:]:
        await loop.create_server(lambda: Peer(loop), "127.0.0.1", int(port), backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
