"""A backend that can be told to misbehave: `python moody_origin.py NAME PORT CONTROL_SOCKET`.

It answers every GET with its name after a few milliseconds; GET /stream never ends, GET /events is an event stream,
GET /ws a WebSocket, both with something new every 50 ms. A line of JSON on its control socket changes its behaviour and
is answered with what it has counted; times are monotonic, one clock for all processes of this machine. Probes are told
apart by their User-Agent.
"""

import asyncio
import base64
import hashlib
import json
import re
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

SERVICE_S = 0.004
PROBE = b"sidebeat-probe"
NEWS_S = 0.05
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
GOODBYE = b"\x88\x02\x03\xf4"
"""A close frame that says 1012."""


@dataclass(slots=True)
class Manners:
    """How it behaves. ``status`` is for requests, ``probe_status`` for probes; ``failing_probes`` of them fail next.

    ``deaf`` to probes: their connections are closed unanswered. ``flap_s``: so long it refuses connections and cuts
    those that it has, then serves for as long, and so on.
    """

    status: int = 200
    probe_status: int = 200
    failing_probes: int = 0
    deaf: bool = False
    service_s: float = SERVICE_S
    flap_s: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    probes: int = 0
    streams: int = 0


class Connection(asyncio.Protocol):
    """One connection; requests without bodies, one at a time."""

    def __init__(self, name: str, manners: Manners, others: "set[Connection]") -> None:
        self._name = name
        self._manners = manners
        self._others = others
        self._buffer = b""
        self._is_socket = False
        self.transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a stream it is a Transport
        self._others.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_socket:  # a client that only listens sends nothing but its goodbye
            self.transport.write(GOODBYE)
            self.transport.close()
            return
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if end:
            self._buffer = rest
            self._serve(head)

    def _serve(self, head: bytes) -> None:
        manners = self._manners
        if PROBE in head:
            self._serve_probe()
            return
        manners.arrivals.append(time.monotonic())
        if head.startswith(b"GET /stream"):
            manners.streams += 1
            self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            return
        if head.startswith(b"GET /events"):
            manners.streams += 1
            self.transport.write(EVENTS)
            self._tell_news(0)
            return
        if key := re.search(rb"(?i)^GET /ws[\s\S]+sec-websocket-key: (\S+)", head):
            self._is_socket = True
            self.transport.write(SWITCH % base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest()))
            self._tell_news(0)
            return
        delay_s = manners.service_s if manners.status == 200 else 0.001
        asyncio.get_running_loop().call_later(delay_s, self._answer, manners.status)

    def _tell_news(self, number: int) -> None:
        """An event or a message every now and then."""
        if not self.transport.is_closing():
            news = b"data: %d\n\n" % number
            framed = b"\x81%c%b" % (len(news), news) if self._is_socket else b"%x\r\n%b\r\n" % (len(news), news)
            self.transport.write(framed)
            asyncio.get_running_loop().call_later(NEWS_S, self._tell_news, number + 1)

    def _serve_probe(self) -> None:
        manners = self._manners
        manners.probes += 1
        if manners.deaf:
            self.transport.abort()
        elif manners.failing_probes:
            manners.failing_probes -= 1
            self._answer(500)
        else:
            self._answer(manners.probe_status)

    def _answer(self, status: int) -> None:
        if not self.transport.is_closing():
            body = self._name.encode()
            self.transport.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


class Origin:
    """The listener, which comes and goes, and the control socket, which stays."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._port = port
        self._manners = Manners()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._flapping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen; beside whoever holds the port (SO_REUSEPORT), so that it stays the same over restarts."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", self._port))
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=bound, backlog=1024)

    def _connection(self) -> Connection:
        return Connection(self._name, self._manners, self._connections)

    def close(self) -> None:
        """Refuse connections, and cut those that are there."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.transport.abort()

    async def _flap(self, period_s: float) -> None:
        while True:
            self.close()
            await asyncio.sleep(period_s)
            await self.open()
            await asyncio.sleep(period_s)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One order a line."""
        while line := await reader.readline():
            await self._obey(json.loads(line))
            manners = self._manners
            told = {"arrivals": manners.arrivals, "probes": manners.probes, "streams": manners.streams}
            writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    async def _obey(self, orders: dict[str, Any]) -> None:
        for name, value in orders.items():
            setattr(self._manners, name, value)
        if "flap_s" in orders:
            if self._flapping is not None:
                self._flapping.cancel()
                self.close()
                await self.open()
            self._flapping = (
                asyncio.get_running_loop().create_task(self._flap(orders["flap_s"])) if orders["flap_s"] else None
            )


async def main(name: str, port: int, control: str) -> None:
    """Serve for ever."""
    origin = Origin(name, port)
    await origin.open()
    server = await asyncio.start_unix_server(origin.control, control, limit=1 << 24)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
