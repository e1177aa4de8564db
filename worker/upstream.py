"""One backend's connections: an HTTP/1.1 client side over ``asyncio.Protocol``, and the pool they rest in.

A connection calls its ``Receiver`` directly as bytes come: no task, future or queue per request. It goes back to the
pool only when nothing is left over on either side of it; stray bytes drop it and never reach another client.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from typing_extensions import override

from sidecar.contract.config import UpstreamTLS
from sidecar.contract.model import Address
from worker.failure import Failure, Refused
from worker.http1 import CHUNKED, ChunkedDecoder, ResponseHead, read_response

MAX_HEAD_BYTES = 65_536
"""A response head over this is refused, like Envoy's 60 KiB default."""
IDLE_S = 4.0
"""How long a connection rests before we close it: below uvicorn's 5 s, so that it is we who close (RFC 9112 §9.3.1)."""

_IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _RAW = range(6)


class Receiver(Protocol):
    """Who a response is for. ``done`` says that the body ends with these bytes; trailers come with that."""

    def response(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """The final response's head, with what came of its body in the same read."""

    def informational(self, head: ResponseHead) -> None:
        """A 1xx response; the final one follows."""

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """More of the body, chunk framing taken off."""

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """A 101: from now on bytes come through ``raw`` as they are."""

    def raw(self, data: bytes) -> None:
        """Bytes of a protocol that is not HTTP."""

    def raw_eof(self) -> None:
        """The backend will send no more of them."""

    def failed(self, failure: Failure) -> None:
        """There will be no (more) response; the connection is gone."""

    def upstream_full(self, *, full: bool) -> None:
        """Whether to stop or go on sending."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to a backend; serves one request at a time."""

    __slots__ = (
        "_buffer", "_decoder", "_left", "_mode", "_receiver", "_reusable", "_to_head", "_upstream",
        "idle_since", "request_sent", "reused", "silent", "transport",
    )  # fmt: skip

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._receiver: Receiver | None = None
        self._mode = _IDLE
        self._buffer = b""
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._reusable = False
        self._to_head = False
        self.transport: asyncio.Transport = _NO_TRANSPORT
        self.reused = False
        self.silent = True
        self.request_sent = False
        self.idle_since = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # both loops give a Transport for a stream
        self._upstream.open.add(self)

    def send(self, receiver: Receiver, data: bytes, *, to_head: bool, complete: bool) -> None:
        """Begin a request. ``complete``: nothing follows ``data``. ``to_head``: the method is HEAD."""
        self._receiver = receiver
        self._mode = _HEAD
        self._to_head = to_head
        self.silent = True
        self.request_sent = complete
        self.transport.write(data)

    def abort(self) -> None:
        """Give the exchange up: no more calls to the receiver, and the backend sees the connection end."""
        self._receiver = None
        self._mode = _IDLE
        self._upstream.forget(self)
        self.transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        """Read what came, in the state we are in."""
        receiver = self._receiver
        if receiver is None:
            self.abort()  # bytes that nobody asked for
        elif self._mode == _HEAD:
            self.silent = False
            self._read_head(receiver, self._buffer + data if self._buffer else data)
        elif self._mode == _LENGTH:
            self._left -= len(data)
            if self._left > 0:
                receiver.body(data, b"", done=False)
            else:
                self._end_of_length(receiver, data)
        elif self._mode == _CHUNKED:
            self._read_chunks(receiver, data)
        elif self._mode == _RAW:
            receiver.raw(data)
        else:
            receiver.body(data, b"", done=False)

    def _read_head(self, receiver: Receiver, data: bytes) -> None:
        try:
            head = read_response(data, MAX_HEAD_BYTES, to_head=self._to_head)
        except Refused as refused:
            self._fail(refused.failure)
            return
        if head is None:
            self._buffer = data
            return
        self._buffer = b""
        rest = data[head.size :]
        if head.status < 200:
            self._read_interim(receiver, head, rest)
            return
        self._reusable = head.keep_alive
        length = head.length
        if length >= 0:
            self._left = length - len(rest)
            if self._left <= 0:
                self._end_of_head(receiver, head, rest)
                return
            self._mode = _LENGTH
            receiver.response(head, rest, done=False)
        elif length == CHUNKED:
            self._begin_chunks(receiver, head, rest)
        else:
            self._reusable = False
            self._mode = _UNTIL_CLOSE
            receiver.response(head, rest, done=False)

    def _read_interim(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        if head.status == 101:
            self._mode = _RAW
            self._upstream.forget(self)
            receiver.switched(head, rest)
            return
        receiver.informational(head)
        if rest and self._receiver is receiver:
            self._read_head(receiver, rest)

    def _end_of_head(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        """The whole response came in one read, the usual case."""
        if self._left < 0:
            self._reusable = False
            rest = rest[: self._left]
        self._retire()
        receiver.response(head, rest, done=True)

    def _end_of_length(self, receiver: Receiver, data: bytes) -> None:
        if self._left < 0:
            self._reusable = False
            data = data[: self._left]
        self._retire()
        receiver.body(data, b"", done=True)

    def _begin_chunks(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        self._mode = _CHUNKED
        self._decoder = decoder = ChunkedDecoder()
        try:
            payload = decoder.feed(rest)
        except ValueError:
            self._fail(Failure.BAD_RESPONSE)
            return
        if not decoder.done or decoder.trailers:
            receiver.response(head, payload, done=False)
            if decoder.done and self._receiver is receiver:
                self._retire_decoder(decoder)
                receiver.body(b"", decoder.trailers, done=True)
            return
        self._retire_decoder(decoder)
        receiver.response(head, payload, done=True)

    def _read_chunks(self, receiver: Receiver, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - the mode says so
        try:
            payload = decoder.feed(data)
        except ValueError:
            self._fail(Failure.BAD_BODY)
            return
        if decoder.done:
            self._retire_decoder(decoder)
            receiver.body(payload, decoder.trailers, done=True)
        elif payload:
            receiver.body(payload, b"", done=False)

    def _retire_decoder(self, decoder: ChunkedDecoder) -> None:
        self._reusable = self._reusable and not decoder.rest
        self._decoder = None
        self._retire()

    def _retire(self) -> None:
        """The response is complete: rest in the pool, or close where anything is left over."""
        self._receiver = None
        self._mode = _IDLE
        if self._reusable and self.request_sent and not self.transport.is_closing():
            self.reused = True
            self._upstream.give(self)
        else:
            self._upstream.forget(self)
            self.transport.abort()

    def _fail(self, failure: Failure) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.failed(failure)

    @override
    def eof_received(self) -> bool:
        """The backend sends no more; a tunnel stays open for the other direction."""
        receiver = self._receiver
        if receiver is not None and self._mode == _RAW:
            receiver.raw_eof()
            return True
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a body that ends with the connection; of anything else, a failure."""
        self._upstream.forget(self)
        receiver = self._receiver
        self._receiver = None
        if receiver is None:
            return
        mode, self._mode = self._mode, _IDLE
        if mode == _UNTIL_CLOSE and exc is None:
            receiver.body(b"", b"", done=True)
        else:
            receiver.failed(Failure.RESET if mode == _HEAD else Failure.CUT_SHORT)

    @override
    def pause_writing(self) -> None:
        """Our side of the backend's socket is full."""
        if self._receiver is not None:
            self._receiver.upstream_full(full=True)

    @override
    def resume_writing(self) -> None:
        """There is room again."""
        if self._receiver is not None:
            self._receiver.upstream_full(full=False)


class Connecting(Protocol):
    """Who waits for a new connection."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Here it is."""

    def failed(self, failure: Failure) -> None:
        """There is none."""


class Upstream:
    """The connections to one backend: those at rest, last in first out, and the way to new ones."""

    __slots__ = ("_address", "_clock", "_connect_s", "_idle", "_loop", "_tasks", "_tls", "_tls_settings", "open")

    def __init__(
        self,
        address: Address,
        tls: UpstreamTLS,
        *,
        connect_s: float,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._address = address
        self._tls_settings = tls
        self._tls: ssl.SSLContext | None = None
        self._connect_s = connect_s
        self._loop = loop
        self._clock = clock
        self._idle: dict[UpstreamConnection, None] = {}
        self._tasks: dict[Connecting, asyncio.Task[None]] = {}
        self.open: set[UpstreamConnection] = set()

    def take(self) -> UpstreamConnection | None:
        """The connection that rested least, None if none rests."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if not connection.transport.is_closing():
                return connection
        return None

    def give(self, connection: UpstreamConnection) -> None:
        """Let a connection rest."""
        connection.idle_since = self._clock()
        self._idle[connection] = None

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is gone, or will never rest again."""
        self._idle.pop(connection, None)
        self.open.discard(connection)

    def close_idle(self, before: float) -> None:
        """Close what has rested since before that time."""
        stale = []
        for connection in self._idle:
            if connection.idle_since > before:
                break
            stale.append(connection)
        for connection in stale:
            connection.transport.close()
            self.forget(connection)

    def connect(self, waiter: Connecting) -> None:
        """Make a new connection; ``waiter`` is called when it is there or cannot be had."""
        task = self._loop.create_task(self._connect(waiter))
        self._tasks[waiter] = task
        task.add_done_callback(lambda _: self._tasks.pop(waiter, None))

    def stop_connecting(self, waiter: Connecting) -> None:
        """The waiter is gone; a connection that is nearly there is dropped with it."""
        if task := self._tasks.get(waiter):
            task.cancel()

    async def _connect(self, waiter: Connecting) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._open()
        except TimeoutError:
            waiter.failed(Failure.CONNECT_TIMEOUT)
        except ConnectionRefusedError:
            waiter.failed(Failure.REFUSED)
        except ssl.SSLError:
            waiter.failed(Failure.TLS)
        except OSError:
            waiter.failed(Failure.UNREACHABLE)
        else:
            waiter.connected(connection)

    async def _open(self) -> UpstreamConnection:
        address = self._address
        context = self._context() if address.tls else None
        name = (self._tls_settings.server_name or address.host) if context else None
        if address.path:
            _, connection = await self._loop.create_unix_connection(self._protocol, address.path)
        else:
            _, connection = await self._loop.create_connection(
                self._protocol, address.host, address.port, ssl=context, server_hostname=name
            )
        return connection

    def _protocol(self) -> UpstreamConnection:
        return UpstreamConnection(self)

    def _context(self) -> ssl.SSLContext:
        """The TLS context, made at the first https connection: reading the system's CAs takes 20 ms."""
        if self._tls is None:
            settings = self._tls_settings
            context = ssl.create_default_context(cafile=settings.ca)
            if not settings.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if settings.cert:
                context.load_cert_chain(settings.cert, settings.key)
            context.set_alpn_protocols(["http/1.1"])
            self._tls = context
        return self._tls

    def close(self) -> None:
        """Close every connection and give up those being made."""
        for task in list(self._tasks.values()):
            task.cancel()
        for connection in list(self.open):
            connection.abort()


_NO_TRANSPORT: asyncio.Transport = asyncio.Transport()
"""What a connection has before it is made; every method of it raises."""
