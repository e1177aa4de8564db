"""One connection to a backend: the client side of HTTP/1.1 over ``asyncio.Protocol``.

It calls its ``Receiver`` directly as bytes come: no task, future or queue per request. It goes back to its pool only
when nothing is left over on either side of it; stray bytes drop it and never reach another client.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from typing_extensions import override

from worker.bodies import ChunkedDecoder
from worker.failure import Failure, Refused
from worker.http1 import CHUNKED, ResponseHead, ResponseReader
from worker.outbox import Outbox

_IDLE, _UNSENT, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _CLOSED, _RAW = range(8)


class Home(Protocol):
    """Whose connection it is."""

    heads: ResponseReader

    def give(self, connection: "UpstreamConnection") -> None:
        """Let it rest."""

    def forget(self, connection: "UpstreamConnection") -> None:
        """It is gone, or will never rest again."""

    def lost(self, connection: "UpstreamConnection") -> None:
        """It has ended; where it rested, by the backend's will."""

    def told(self, keep_alive: bytes) -> None:
        """The backend says how long it keeps a connection: the value of ``Keep-Alive``."""


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
        "_buffer", "_decoder", "_is_full", "_left", "_mode", "_receiver", "_request", "_reusable", "_to_head",
        "_upstream", "is_lost", "on_lost", "request_sent", "reused", "silent", "transport", "turns",
    )  # fmt: skip

    def __init__(self, upstream: Home) -> None:
        self._upstream = upstream
        self._receiver: Receiver | None = None
        self._mode = _IDLE
        self._request = b""
        self._buffer = b""
        self._left = 0
        self._decoder: ChunkedDecoder | None = None
        self._reusable = False
        self._to_head = False
        self._is_full = False
        self.transport: asyncio.Transport = _NO_TRANSPORT
        self.reused = False
        self.silent = True
        self.request_sent = False
        self.turns = 0
        self.is_lost = False
        self.on_lost: Callable[[], None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # both loops give a Transport for a stream

    def send(self, receiver: Receiver, data: bytes, outbox: Outbox, *, to_head: bool, complete: bool) -> None:
        """Begin a request. ``complete``: nothing follows ``data``. ``to_head``: the method is HEAD."""
        self._receiver = receiver
        self._to_head = to_head
        self.silent = True
        self.request_sent = complete
        if complete:
            self._mode = _UNSENT
            self._request = data
            outbox.put(self)
        else:
            self._mode = _HEAD
            self.transport.write(data)

    def flush(self) -> None:
        """See ``Sender``."""
        if self._mode == _UNSENT:
            self._mode = _HEAD
            self.transport.write(self._request)
            self._request = b""

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
            self._read_head(receiver, self._buffer + data if self._buffer else data)
        elif self._mode == _UNSENT:
            self._fail(Failure.RESET)  # no answer: the backend cannot know the request yet
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
        """Read heads up to the final one; the interim ones before it are passed on as they come."""
        is_first = self.silent
        self.silent = False
        while True:
            try:
                head = self._upstream.heads.read(data, to_head=self._to_head)
            except Refused as refused:
                # No head at all, on a connection that served before: the end of that response, like a body after HEAD.
                self.silent = is_first and self.reused and not data.startswith(b"HTTP/")
                self._fail(Failure.RESET if self.silent else refused.failure)
                return
            is_first = False
            if head is None:
                self._buffer = data
                return
            size = len(data) - head.size
            data = data[head.size :]
            if head.status >= 200:
                self._buffer = b""
                if (
                    size == head.length
                    and head.keep_alive
                    and self.request_sent
                    and not self._is_full
                    and b"keep-alive" not in head.special
                ):
                    self._retire_at_once()  # all of it in one read, and nothing left over: nearly every response
                    receiver.response(head, data, done=True)
                else:
                    self._begin_body(receiver, head, data)
                return
            if head.status == 101:
                self._switch(receiver, head, data)
                return
            receiver.informational(head)
            if not data or self._receiver is not receiver:
                self._buffer = b""
                return

    def _begin_body(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        self._reusable = head.keep_alive
        if b"keep-alive" in head.special:
            self._upstream.told(head.special[b"keep-alive"])
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

    def _switch(self, receiver: Receiver, head: ResponseHead, rest: bytes) -> None:
        self._buffer = b""
        self._mode = _RAW
        receiver.switched(head, rest)

    def _retire_at_once(self) -> None:
        self._receiver = None
        self._mode = _IDLE
        self.reused = True
        self._upstream.give(self)

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
                # With the head the client may have had enough, and a connection at rest must read.
                self._reusable = self._reusable and self.transport.is_reading()
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
        if self._reusable and self.request_sent and not self._is_full and not self.transport.is_closing():
            self._retire_at_once()
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
        if receiver is not None and self._mode == _RAW and self.transport.can_write_eof():
            receiver.raw_eof()
            return True
        if self._mode == _UNTIL_CLOSE:
            self._mode = _CLOSED
        return False  # over TLS there is no half of a connection

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a body that ends with the connection; of anything else, a failure.

        Over TLS only the backend itself can say that this was all; anybody on the way can end TCP (RFC 9112 §9.8).
        """
        self.is_lost = True
        if self.on_lost is not None:
            self.on_lost()
        self._upstream.lost(self)
        receiver = self._receiver
        self._receiver = None
        if receiver is None:
            return
        mode, self._mode = self._mode, _IDLE
        if mode == _CLOSED and exc is None:
            receiver.body(b"", b"", done=True)
        else:
            receiver.failed(_failure_of(mode, exc))

    @override
    def pause_writing(self) -> None:
        """Our side of the backend's socket is full."""
        self._is_full = True
        if self._receiver is not None:
            self._receiver.upstream_full(full=True)

    @override
    def resume_writing(self) -> None:
        """There is room again."""
        self._is_full = False
        if self._receiver is not None:
            self._receiver.upstream_full(full=False)


def _failure_of(mode: int, exc: Exception | None) -> Failure:
    """What the end of a connection means; what is no error of the network broke in here."""
    if mode == _RAW and exc is not None and not isinstance(exc, OSError):
        return Failure.INTERNAL
    return Failure.RESET if mode <= _HEAD else Failure.CUT_SHORT


_NO_TRANSPORT: asyncio.Transport = asyncio.Transport()
"""What a connection has before it is made; every method of it raises."""
