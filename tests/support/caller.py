"""Somebody who wants something of a backend, without a lane around it.

upstream = upstream_of(backend.url, max_connections=1)
caller = await Caller(upstream).start().finished()
assert caller.statuses == [200]
"""

import asyncio
import time
from collections.abc import Callable
from typing import Self

from sidecar.contract.config import Timeouts, UpstreamTLS
from sidecar.contract.config.pools import Connections
from sidecar.contract.model import parse_address
from waiting import eventually
from worker.failure import Failure
from worker.http1 import ResponseHead
from worker.outbox import Outbox
from worker.upstream import CoarseClock, Upstream, UpstreamConnection

ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Caller:
    """Waits for a connection, makes a request, and takes down all it is told."""

    def __init__(self, upstream: Upstream, request: bytes = ASK) -> None:
        self.upstream = upstream
        self.request = request
        self.connection: UpstreamConnection | None = None
        self.statuses: list[int] = []
        self.got = b""
        self.trailers = b""
        self.is_done = False
        self.failures: list[Failure] = []
        self.fulls: list[bool] = []
        self.on_head: Callable[[UpstreamConnection], None] = lambda connection: None

    def start(self) -> Self:
        """Ask for a connection, as an exchange does."""
        connection = self.upstream.take()
        if connection is None:
            self.upstream.connect(self)
        else:
            self.connected(connection)
        return self

    def connected(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        outbox = Outbox(asyncio.get_running_loop())
        connection.send(self, self.request, outbox, to_head=False, complete=True)

    def response(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        self.statuses.append(head.status)
        assert self.connection is not None
        self.on_head(self.connection)
        self.body(body, b"", done=done)

    def informational(self, head: ResponseHead) -> None:
        self.statuses.append(head.status)

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        assert not self.is_done
        self.got += data
        self.trailers = trailers
        self.is_done = done

    def switched(self, head: ResponseHead, data: bytes) -> None:
        raise AssertionError("nobody asked for that")

    def raw(self, data: bytes) -> None:
        raise AssertionError("nor for that")

    def raw_eof(self) -> None:
        raise AssertionError("nor for that")

    def failed(self, failure: Failure) -> None:
        self.failures.append(failure)

    def upstream_full(self, *, full: bool) -> None:
        self.fulls.append(full)

    @property
    def is_over(self) -> bool:
        """Whether there is a whole response, or there will be none."""
        return self.is_done or bool(self.failures)

    async def finished(self) -> Self:
        """Wait until it is over."""
        await eventually(lambda: self.is_over)
        return self


def upstream_of(
    url: str,
    *,
    clock: CoarseClock | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    connect_s: float = 5.0,
    queue_s: float = 5.0,
    kind: type[Upstream] = Upstream,
    **connections: int,
) -> Upstream:
    """All connections to this backend; ``connections`` are keys of that section of a pool."""
    return kind(
        parse_address(url),
        UpstreamTLS(),
        Connections(**connections),
        Timeouts(connect_s=connect_s, queue_s=queue_s),
        loop=loop or asyncio.get_running_loop(),
        coarse=clock or CoarseClock(time.monotonic()),
    )
