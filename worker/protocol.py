"""The direct lane: a uvicorn HTTP protocol that runs exchanges without an ASGI round trip.

One object per client connection. It reads request heads, hands each to an ``Exchange``, and writes what comes back,
head and body in one write where they came together. Pipelined requests wait their turn.
"""

import asyncio

from typing_extensions import override

from worker.answer import Fields, error_answer
from worker.bodies import BodyReader, body_reader, encode_chunks
from worker.dispatch import exchange_for, note_refusal
from worker.exchange import NEVER, Exchange
from worker.failure import Failure, Refused
from worker.headers import Peer, peer_of, protocol_of, response_fields, switching_fields
from worker.http1 import NO_HEAD, UNKNOWN_LENGTH, RequestHead, ResponseHead, read_request
from worker.lane import Home
from worker.linger import Lingering
from worker.sockets import probe, reset
from worker.tunnel import Tunnel, tunnel_for

MAX_PIPELINED = 65_536
"""Bytes of further requests we hold while one is under way; then the client has to wait."""


class ClientConnection(asyncio.Protocol):
    """One client's connection, and its turn-taking with exchanges."""

    __slots__ = (
        "_body", "_buffer", "_chunked_out", "_close_after", "_ends_with_connection", "_exchange", "_head", "_held",
        "_is_full", "_peer", "_response", "_service", "_transport", "_tunnel", "deadline",
    )  # fmt: skip

    def __init__(self, service: Home) -> None:
        self._service = service
        self._transport: asyncio.Transport
        self._peer: Peer
        self._head = NO_HEAD
        self._buffer = self._response = b""
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._body: BodyReader | None = None
        self._chunked_out = self._ends_with_connection = self._close_after = self._held = self._is_full = False
        self.deadline = NEVER

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is here; it has ``header_timeout_s`` to say what it wants."""
        self._transport = transport  # type: ignore[assignment]  # both loops give a Transport for a stream
        self._peer = peer_of(transport.get_extra_info, self._service.listen.trusted_proxies)
        self.deadline = self._service.clock() + self._service.listen.header_timeout_s
        self._service.clients.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and with it whatever was under way."""
        self._service.clients.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()

    @override
    def data_received(self, data: bytes) -> None:
        """Bytes from the client: a head, a body, or a later request's."""
        if self._exchange is None:
            self._read_head(self._buffer + data if self._buffer else data)
        elif self._body is not None:
            self._read_body(self._exchange, self._body, data)
        else:
            self._buffer += data
            if len(self._buffer) > MAX_PIPELINED:
                self.hold_upload(hold=True)

    @override
    def eof_received(self) -> bool:
        """The client sends no more: as nginx and Envoy see it, it leaves."""
        self.flush()
        return False

    def _read_head(self, data: bytes) -> None:
        if self._response:
            self.flush()  # or what comes of this request might overtake it, or pile up behind it
        if self._is_full:
            self._buffer = data
            self.hold_upload(hold=True)
            return
        listen = self._service.listen
        head = None
        try:
            head = read_request(data, listen.max_header_bytes, listen.max_headers, self._head)
            if head is not None:
                self._buffer = b""
                self._begin(head, data)
                return
        except Refused as refused:
            self._turn_away(refused.failure, refused.said, unread=data if head is None else b"")
            return
        if not self._buffer:
            self.deadline = self._service.clock() + listen.header_timeout_s
        self._buffer = data

    def _begin(self, head: RequestHead, data: bytes) -> None:
        """Route a request, start its exchange, and feed it what came of its body."""
        self._head = head
        self._chunked_out = self._ends_with_connection = False
        self._close_after = not head.keep_alive
        self.deadline = NEVER
        is_whole = len(data) == head.size + head.length
        if not is_whole:
            self._buffer = data[head.size :]
            if head.length:
                self._body = body_reader(head.length)
                if b"expect" not in head.special:  # else it is the backend's turn
                    self.deadline = self._service.clock() + self._service.listen.body_idle_s
        self._exchange = exchange = exchange_for(self._service, head, peer=self._peer, downstream=self)
        # Before the start, so that head and body leave in one write.
        if head.length and is_whole:
            exchange.upload(memoryview(data)[head.size :], b"", done=True)
        elif self._body is not None and self._buffer:
            early, self._buffer = self._buffer, b""
            self._read_body(exchange, self._body, early)
        if self._exchange is exchange:
            exchange.start()

    def _read_body(self, exchange: Exchange, body: BodyReader, data: bytes) -> None:
        self.deadline = self._service.clock() + self._service.listen.body_idle_s
        try:
            payload = body.feed(data)
        except ValueError:
            self._abandon(exchange, Failure.BAD_REQUEST)
            return
        if body.done:
            self._buffer = body.rest
            self._body = None
            self.deadline = NEVER
            exchange.upload(payload, body.trailers, done=True)
        elif payload:
            exchange.upload(payload, b"", done=False)

    def _abandon(self, exchange: Exchange, failure: Failure) -> None:
        """The client broke its side of an exchange that is under way, or we have to end."""
        self._exchange = None
        exchange.abort(failure)
        if exchange.responded:
            self._transport.abort()
        else:
            self.refuse(failure, said=exchange.said(failure))

    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Downstream``."""
        if not done and self._exchange is not None and self._exchange.is_event_stream:
            probe(self._transport, self._exchange.timeouts.tcp_keepalive_s)
        framing = None if head.length >= 0 else self._reframe(head.length)
        fields = response_fields(head, self._service.via, self._service.date, framing=framing, streams=not done)
        self._answer(b"HTTP/1.1 %d%b%b" % (head.status, head.reason, fields), body, done=done)

    def _answer(self, head: bytes, body: bytes, *, done: bool) -> None:
        """Write a response, and whether its connection goes on; ``head`` is all of it but that and the empty line."""
        if self._close_after or self._body is not None or self._service.draining:
            self._close_after = True
            head += b"\r\nConnection: close"
        elif self._head.version == 0:
            head += b"\r\nConnection: keep-alive"
        if self._chunked_out:
            body = encode_chunks(body, b"", done=done)
        data = b"%b\r\n\r\n%b" % (head, body)
        if done and not self._close_after:
            self._response = data
            self._service.outbox.put(self)
        else:
            self._transport.write(data)
        if done:
            self._over()

    def flush(self) -> None:
        """See ``Sender``."""
        data, self._response = self._response, b""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _reframe(self, length: int) -> bytes | None:
        """How this client is told where the body ends: chunks, or the end of the connection for who knows none."""
        if self._head.version == 0:
            self._ends_with_connection = self._close_after = True
            return b""
        self._chunked_out = True
        return b"\r\nTransfer-Encoding: chunked" if length == UNKNOWN_LENGTH else None

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """See ``Downstream``."""
        if self._chunked_out:
            data = encode_chunks(data, trailers, done=done)
        if data:
            self._transport.write(data)
        if done:
            self._over()

    def informational(self, head: ResponseHead) -> None:
        """See ``Downstream``; an HTTP/1.0 client does not know 1xx (RFC 9110 §15.2)."""
        if head.status == 100 and self._body is not None:
            self.deadline = self._service.clock() + self._service.listen.body_idle_s
        if self._head.version == 1:
            fields = response_fields(head, self._service.via, b"")
            self._transport.write(b"HTTP/1.1 %d%b%b\r\n\r\n" % (head.status, head.reason, fields))

    def refuse(self, failure: Failure, retry_s: int = 1, said: Fields = ()) -> None:
        """See ``Lane``; also for what never became an exchange."""
        self._exchange = None
        self._close_after = close = self._close_after or self._body is not None
        self._service.refused(failure)
        self._transport.write(error_answer(failure, self._head, self._service.date, retry_s, said, close=close))
        self._over()

    def _turn_away(self, failure: Failure, said: Fields = (), unread: bytes = b"") -> None:
        """Refuse what never became an exchange; there is no head in ``unread``: nobody knows where that ends."""
        if unread:
            self._head = NO_HEAD
            self._buffer = unread
            self._close_after = True
        note_refusal(self._service, self._head, self._peer, failure)
        self.refuse(failure, said=said)

    def cut(self, failure: Failure) -> None:
        """See ``Downstream``; a body that ends with the connection would look complete, so that one is reset."""
        self._exchange = None
        if self._tunnel is not None:
            self._tunnel.cut(failure)
        elif self._ends_with_connection:
            reset(self._transport)
        elif failure is Failure.CLIENT_GONE:
            self._transport.abort()
        else:
            self._close()

    def _close(self) -> None:
        """Close once the client has taken what is written, which it has to do in time."""
        self.deadline = self._service.coarse.now + self._service.listen.body_idle_s
        self._transport.close()

    def _over(self) -> None:
        """An answer is complete: close, linger, or take the next request."""
        self._exchange = None
        if self._transport.is_closing():
            return
        if not self._close_after:
            self.deadline = self._service.coarse.now + self._service.listen.keepalive_s
            if (self._held or self._buffer) and not self._is_full:
                self._go_on()
        elif self._body is not None or self._buffer or self._held:
            self._service.clients.discard(self)
            Lingering(self._service, self._transport)
        else:
            self._close()

    def _go_on(self) -> None:
        """Take up the next request, in a turn of its own: a thousand of them must not lie on each other's stack."""
        self.hold_upload(hold=False)
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._exchange is None and self._buffer and not self._transport.is_closing():
            data, self._buffer = self._buffer, b""
            self._read_head(data)

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Downstream``."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or exchange.connection is None:
            return
        fields = switching_fields(head, self._head, self._service.via)
        self._transport.write(b"HTTP/1.1 101%b%b\r\n\r\n" % (head.reason, fields))
        self.hold_upload(hold=False)
        self._service.clients.discard(self)
        ends, protocol = (self._transport, exchange.connection.transport), protocol_of(head, self._head)
        self._tunnel = exchange.tunnel = tunnel_for(protocol, self._service, exchange, *ends, self.connection_lost)
        early, self._buffer = self._buffer, b""
        self._tunnel.begin(early, data)

    def raw(self, data: bytes) -> None:
        """See ``Downstream``."""
        if self._tunnel is not None:
            self._tunnel.from_backend(data)

    def raw_eof(self) -> None:
        """See ``Downstream``."""
        if self._tunnel is not None:
            self._tunnel.backend_eof()

    def drain(self) -> None:
        """See ``Downstream``."""
        if self._tunnel is not None:
            self._tunnel.drain()
        elif self._service.draining:
            self._close_after = True

    def hold_upload(self, *, hold: bool) -> None:
        """See ``Downstream``."""
        if self._transport.is_closing() or hold == self._held:
            return
        self._held = hold
        if hold:
            self._transport.pause_reading()
            return
        if self._body is not None and self.deadline != NEVER:
            self.deadline = self._service.clock() + self._service.listen.body_idle_s
        self._transport.resume_reading()

    @override
    def pause_writing(self) -> None:
        """The client takes no more: the backend has to wait."""
        self._is_full = True
        if self._exchange is not None:
            self._exchange.hold_response(hold=True)

    @override
    def resume_writing(self) -> None:
        """The client takes more again."""
        self._is_full = False
        if self._exchange is not None:
            self._exchange.hold_response(hold=False)
        elif not self._transport.is_closing():
            self._go_on()

    @property
    def is_flushing(self) -> bool:
        """Whether the client has yet to take the end of an answer."""
        return self._exchange is None and self._transport.get_write_buffer_size() > 0

    def check_deadline(self, now: float) -> None:
        """Called by the worker's ticker: end what the client has kept us waiting for."""
        if now < self.deadline or (self._exchange is not None and self._held):
            return
        if self._exchange is not None:
            self._abandon(self._exchange, Failure.BODY_TIMEOUT)
        elif self._is_full or self._transport.is_closing():
            self._transport.abort()
        elif self._buffer.strip(b"\r\n"):  # an empty line begins nothing (RFC 9112 §2.2)
            self._turn_away(Failure.HEADER_TIMEOUT, unread=self._buffer)
        else:
            self._transport.close()

    def end(self) -> None:
        """The worker stops now: cut what is under way."""
        if self._exchange is not None:
            self._close_after = True
            self._abandon(self._exchange, Failure.SHUTTING_DOWN)
        else:
            self._transport.abort()
