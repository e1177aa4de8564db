"""Open-loop load: requests leave at a fixed rate whether or not earlier ones were answered.

A latency counts from when a request was due, so that a proxy which stalls is charged for all who had to wait. Blocking
sockets' worth of Python on epoll, because a request is due every 333 µs: event loops keep time in milliseconds.
"""

import gc
import select
import socket
import time
from collections import deque

from figures import Run, percentile
from lab import LabError
from meter import Meter
from origin import HELLO
from subjects import Proxy

RATE = 3_000
CONNECTIONS = 64
WARM_UP_S = 0.5
PATIENCE_S = 5.0
"""How long the last answers may take."""
REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n"
ENDS = (HELLO.encode(), b"\r\n0\r\n\r\n")
"""How an answer ends, by length or in chunks."""


class OpenLoop:
    """Connections to one port, and the latencies they saw."""

    def __init__(self, port: int) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._epoll.register(connection, select.EPOLLIN)
        self._idle = list(self._sockets)
        self._waiting: deque[float] = deque()
        self._due: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self.latencies: list[float] = []
        self.received_bytes = 0
        self.errors = 0

    def close(self) -> None:
        """Close the connections."""
        for connection in self._sockets.values():
            connection.close()
        self._epoll.close()

    def run(self, seconds: float) -> None:
        """Send for so long and take the answers.

        Raises:
            LabError: a connection ended, or answers do not come.
        """
        began = time.monotonic()
        for number in range(int(seconds * RATE)):
            due = began + number / RATE
            while (left := due - time.monotonic()) > 0:
                self._receive(left)
            self._waiting.append(due)
            self._send()
        give_up = time.monotonic() + PATIENCE_S
        while self._due or self._waiting:
            if time.monotonic() > give_up:
                raise LabError(f"{len(self._due) + len(self._waiting)} answers did not come within {PATIENCE_S:g} s")
            self._receive(PATIENCE_S)

    def _send(self) -> None:
        while self._waiting and self._idle:
            number = self._idle.pop()
            self._due[number] = self._waiting.popleft()
            self._sockets[number].send(REQUEST)

    def _receive(self, limit_s: float) -> None:
        """Take what comes within the limit; epoll itself waits in whole milliseconds, select does not."""
        select.select([self._epoll], [], [], limit_s)
        for number, _ in self._epoll.poll(0):
            data = self._sockets[number].recv(65_536)
            if not data:
                raise LabError("a connection was closed under the load of a fixed rate")
            self._take(number, data)

    def _take(self, number: int, data: bytes) -> None:
        self.received_bytes += len(data)
        if before := self._parts.pop(number, b""):
            data = before + data
        if not data.endswith(ENDS):
            self._parts[number] = data
            return
        self.latencies.append(time.monotonic() - self._due.pop(number))
        self.errors += not data.startswith(b"HTTP/1.1 200")
        self._idle.append(number)
        self._send()


def measure(proxy: Proxy, seconds: float) -> Run:
    """One run at the fixed rate, after a short one that does not count.

    Raises:
        LabError: the proxy could not keep up at all.
    """
    load = OpenLoop(proxy.port)
    gc.collect()
    gc.disable()
    try:
        load.run(WARM_UP_S)
        load.latencies.clear()
        load.received_bytes = 0
        meter = Meter(proxy.program.pid)
        load.run(seconds)
        meter.sample()
    except LabError as error:
        raise LabError(f"{proxy.name}: {error}") from error
    finally:
        gc.enable()
        load.close()
    ordered = sorted(load.latencies)
    return Run(
        cpu_s=meter.cpu_s,
        requests=len(ordered),
        received_bytes=load.received_bytes,
        seconds=seconds,
        p50_ms=1e3 * percentile(ordered, 0.5),
        p99_ms=1e3 * percentile(ordered, 0.99),
        rss_bytes=meter.peak_rss_bytes,
        errors=load.errors,
    )
