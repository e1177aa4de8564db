"""Sends a plan: each request when it is due, whether or not earlier ones were answered.

A latency counts from when a request was due. Requests go out on the connection that rested longest, so that they
spread over all workers of a proxy. Blocking sockets and epoll, as in ``openloop`` and for its reason.
"""

import select
import socket
import time
from collections import deque
from math import inf

from balance_figures import Seen
from balance_plan import Plan

CONNECTIONS = 512
"""More than are ever under way at once unless a proxy herds; who waits for one is charged for the wait."""
PATIENCE_S = 10.0
"""How long the last answers may take; who is not answered by then counts as an error."""
GRAIN_S = 0.1
WRONG = -1
"""In the place of a backend's number: something that is not its answer."""


def answered_by(data: bytes) -> int | None:
    """Which backend an answer is from; None while it is not whole, ``WRONG`` for one that no backend gave."""
    head, gap, body = data.partition(b"\r\n\r\n")
    if not gap:
        return None
    if not head.startswith(b"HTTP/1.1 200 "):
        return WRONG
    return int(body) if len(body) == 2 else None


class Load:
    """Connections to one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._idle: deque[int] = deque()
        for _ in range(CONNECTIONS):
            self._connect()
        self._waiting: deque[int] = deque()
        self._carried: dict[int, int] = {}
        self._parts: dict[int, bytes] = {}
        self._requests: list[bytes] = []
        self._due: list[float] = []
        self._took_s: list[float] = []
        self._late_s: list[float] = []
        self._backends: list[int] = []

    def close(self) -> None:
        """Close the connections."""
        for connection in self._sockets.values():
            connection.close()
        self._epoll.close()

    def run(self, plan: Plan, began: float) -> list[Seen]:
        """Send it all, counting from ``began`` (monotonic), and take the answers; one of each, in order."""
        self._prepare(plan, began)
        for number, due in enumerate(self._due):
            while (left := due - time.monotonic()) > 0:
                self._receive(left)
            self._late_s[number] = time.monotonic() - due
            self._waiting.append(number)
            self._send()
        give_up = time.monotonic() + PATIENCE_S
        while (self._carried or self._waiting) and time.monotonic() < give_up:
            self._receive(GRAIN_S)
        return [
            Seen(due_s=arrival.due_s, took_s=took_s, late_s=late_s, backend=backend)
            for arrival, took_s, late_s, backend in zip(
                plan.arrivals, self._took_s, self._late_s, self._backends, strict=True
            )
        ]

    def _prepare(self, plan: Plan, began: float) -> None:
        head = b"GET /busy/%d HTTP/1.1\r\nHost: bench.example\r\n\r\n"
        self._requests = [head % round(1e6 * arrival.work_s) for arrival in plan.arrivals]
        self._due = [began + arrival.due_s for arrival in plan.arrivals]
        count = len(self._due)
        self._took_s, self._late_s, self._backends = [inf] * count, [inf] * count, [WRONG] * count

    def _connect(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(0)
        self._sockets[connection.fileno()] = connection
        self._epoll.register(connection, select.EPOLLIN)
        self._idle.append(connection.fileno())

    def _send(self) -> None:
        while self._waiting and self._idle:
            number = self._waiting.popleft()
            file = self._idle.popleft()
            self._carried[file] = number
            try:
                self._sockets[file].send(self._requests[number])
            except OSError:
                self._replace(file)

    def _receive(self, limit_s: float) -> None:
        select.select([self._epoll], [], [], limit_s)
        for file, _ in self._epoll.poll(0):
            if file in self._sockets:  # else it was replaced just now
                self._take(file)

    def _take(self, file: int) -> None:
        try:
            received = self._sockets[file].recv(65_536)
        except BlockingIOError:  # likewise, and its number went to the one in its place
            return
        except OSError:
            received = b""
        data = self._parts.pop(file, b"") + received
        backend = answered_by(data) if received else WRONG
        if backend == WRONG or file not in self._carried:
            self._replace(file)
        elif backend is None:
            self._parts[file] = data
        else:
            number = self._carried.pop(file)
            self._took_s[number] = time.monotonic() - self._due[number]
            self._backends[number] = backend
            self._idle.append(file)
            self._send()

    def _replace(self, file: int) -> None:
        """Give up a connection that ended or told of an error; whose request it carried stays unanswered."""
        self._carried.pop(file, None)
        self._parts.pop(file, None)
        if file in self._idle:
            self._idle.remove(file)
        self._epoll.unregister(self._sockets[file])
        self._sockets.pop(file).close()
        self._connect()
        self._send()
