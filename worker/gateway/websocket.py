"""A WebSocket's side (ASGI): the backend is asked first, and what it says, yes or no, is what the client hears.

The handshake is an exchange like any other, with its backend picked, retried, counted and blamed as for a request. From
the backend's 101 on, messages pass between ``receive`` and ``send`` and the backend's leg, whole and in order, and each
end hears in whose words the other has left. What lies between is no copy of the client's bytes as in the direct lane:
the server in front has unpacked them, so that compression and fragments are its own affair.
"""

import asyncio

from starlette.websockets import WebSocketDisconnect
from typing_extensions import override
from websockets.frames import Close, CloseCode

from worker.answer import Fields
from worker.dispatch import exchange_for
from worker.exchange import NEVER
from worker.failure import Failure, Refused
from worker.frames import may_send
from worker.gateway.leg import Leg
from worker.gateway.scope import Message, handshake_of
from worker.gateway.side import Side
from worker.headers import pairs_of, response_fields
from worker.http1 import ResponseHead
from worker.sockets import probe
from worker.tunnel.websocket import REASONS, Code

CLOSING_S = 10.0
"""How long a backend may take to say goodbye, too, and close; the default of websockets and of uvicorn."""
_OF_THE_LEG = frozenset(
    {b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol", b"date", b"server"}
)
"""What the server in front says for itself, or is told in another way: at a second Date some of them fail."""
_ABNORMAL = frozenset({CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE})
"""The client did not say goodbye: nobody waits for what the backend has left to say."""
_BROKEN_OFF = frozenset({Code.BAD_GATEWAY, Code.INTERNAL})
"""Nobody has said goodbye: it is we who tell of the end."""
_LEFT = (OSError, WebSocketDisconnect)
"""What ``send`` raises when the client is gone: a server's own (ASGI 2.4), and what Starlette makes of it."""


class WebSocketSide(Side):
    """The client's side of one WebSocket."""

    START = "websocket.http.response.start"
    BODY = "websocket.http.response.body"

    _is_open = False
    _is_told = False  # that it is over: nothing more is for the client
    _is_still = False
    _still_since = 0.0
    _leg: Leg
    messages = 0
    has_parted = False

    async def run(self) -> None:
        """Shake hands, and pass on what comes until both ends have closed."""
        await self._receive()  # that the client wants to connect
        self._service.clients.add(self)
        try:
            self._begin()
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read())
                await self._send_until_over()
                reader.cancel()
        finally:
            self._service.clients.discard(self)
            if not self._over:
                self._leg.close(Code.INTERNAL, REASONS[Code.INTERNAL])
                self._flush()
                self._abort(None)
            self._exchange = None  # each knows the other: a circle, and work for the collector

    def _begin(self) -> None:
        """Ask a backend."""
        self._leg = Leg(self._scope.get("subprotocols") or (), self._service.listen.max_message_bytes)
        try:
            self._head = handshake_of(self._scope, self._service.listen, self._leg.request_fields)
            self._exchange = exchange_for(self._service, self._head, peer=self._peer, downstream=self)
        except Refused as refused:
            self._reject(refused.failure, refused.said)
        else:
            self._exchange.start()

    async def _send_until_over(self) -> None:
        while True:
            try:
                await self._send_all()
            except _LEFT:  # ``receive`` is about to say how
                self._forget_client()
            else:
                return

    async def _read(self) -> None:
        """Take what the client says, while the backend takes it."""
        while not self._over:
            if self._upload_gate is not None:
                await self._upload_gate.wait()
            message = await self._receive()
            if message["type"] != "websocket.receive":
                self._leave(message)
                return
            if self._is_open:
                self._pass_up(message)

    def _pass_up(self, message: Message) -> None:
        """A message of the client's; ASGI has two keys, and one of them may be there and say nothing."""
        text = message.get("text")
        if self._leg.send(text if text is not None else message.get("bytes") or b""):
            self.messages += 1
            self._is_still = False
            self._flush()
        else:
            self._close_both(Close(CloseCode.MESSAGE_TOO_BIG, ""))

    def _leave(self, message: Message) -> None:
        """The client has closed, or is gone."""
        self._forget_client()
        if not self._is_open:
            self._over = True
            self._abort()
            self._tell()
            return
        code = message.get("code", CloseCode.NO_STATUS_RCVD)
        if code == CloseCode.NO_STATUS_RCVD and "reason" not in message:
            code = CloseCode.ABNORMAL_CLOSURE  # so uvicorn says that the connection broke
        self._leg.close(code, message.get("reason") or "")
        self.has_parted = code not in _ABNORMAL
        self._part(at_once=code in _ABNORMAL)

    def _forget_client(self) -> None:
        """There is nobody to send to; what waits for its backend to take it still goes there."""
        self._is_told = True
        self._events.clear()
        self._queued = 0
        self.hold_upload(hold=False)

    def _flush(self) -> None:
        """Have the backend get what its leg has for it."""
        connection = self._exchange.connection if self._exchange is not None else None
        for data in self._leg.to_send():
            if connection is not None and not connection.transport.is_closing():
                connection.transport.write(data)

    def _part(self, *, at_once: bool) -> None:
        """The goodbye is said: the backend has ``CLOSING_S`` to close, or to take what is written where it is we."""
        self._flush()
        exchange = self._exchange
        if exchange is None or exchange.connection is None:
            return
        if exchange.deadline == NEVER:
            exchange.deadline = self._service.clock() + CLOSING_S
        exchange.hold_response(hold=False)
        if at_once:
            exchange.connection.transport.close()

    def _tell_client(self, close: Close) -> None:
        """Close the client's leg, unless that is done; what no frame may say is left to the server's default."""
        if self._is_told:
            return
        self._is_told = True
        self.has_parted = close.code not in _BROKEN_OFF
        message: Message = {"type": "websocket.close", "reason": close.reason}
        if may_send(close.code):
            message["code"] = int(close.code)
        self._put(message)

    def _close_both(self, close: Close) -> None:
        self._tell_client(close)
        self._leg.close(close.code, close.reason)
        self._part(at_once=False)

    def _end_both(self, code: Code) -> None:
        self._close_both(Close(code, REASONS[code]))

    def drain(self) -> None:
        """See ``Downstream``; between messages, as everything here is."""
        self._end_both(Code.RESTART)

    def check_deadline(self, now: float) -> None:
        """See ``Client``: deadlines are the exchange's, but for how long nothing may pass."""
        exchange = self._exchange
        if exchange is None or not self._is_open:
            return
        exchange.count_messages()
        idle_s = exchange.timeouts.websocket_idle_timeout_s
        if not self._is_still:
            self._is_still = True
            self._still_since = now
        elif idle_s and not self._is_told and now - self._still_since >= idle_s:
            self._end_both(Code.GOING_AWAY)

    @property
    def is_flushing(self) -> bool:
        """See ``Client``; the server in front knows."""
        return False

    def end(self) -> None:
        """See ``Client``."""
        if self._over:
            return
        if self._is_open:
            self.drain()
        elif self._exchange is not None and not self._exchange.responded:
            self._give_up(Failure.SHUTTING_DOWN)
            return
        self._abort(Failure.SHUTTING_DOWN)
        self._over = True
        self._tell()

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Downstream``: only now does the client hear that it is connected."""
        try:
            subprotocol = self._leg.open(head)
        except Refused as refused:
            self._give_up(refused.failure)
            return
        self._is_open = True
        if self._exchange is not None and self._exchange.connection is not None:
            self._exchange.tunnel = self
            probe(self._exchange.connection.transport, self._exchange.timeouts.tcp_keepalive_s)
        fields = pairs_of(response_fields(head, self._service.via, b"", framing=b""))
        headers = [pair for pair in fields if pair[0] not in _OF_THE_LEG]
        self._put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})
        if data:
            self.raw(data)

    def raw(self, data: bytes) -> None:
        """See ``Downstream``."""
        self._is_still = False
        for message in self._leg.feed(data):
            self.messages += 1
            if not self._is_told:
                kind = "text" if isinstance(message, str) else "bytes"
                self._put({"type": "websocket.send", kind: message})
        goodbye = self._leg.goodbye
        if goodbye is None:
            self._flush()
        else:
            self._tell_client(goodbye)
            self._part(at_once=False)

    def raw_eof(self) -> None:
        """See ``Downstream``."""
        self._leg.end()
        if self._leg.goodbye is not None:
            self._tell_client(self._leg.goodbye)
        self._part(at_once=True)

    def cut(self, failure: Failure) -> None:
        """See ``Downstream``; the end of every WebSocket, and of a refusal that breaks off."""
        if self._is_open:
            code = Code.BAD_GATEWAY if failure.blames_backend else Code.INTERNAL
            self._tell_client(Close(code, REASONS[code]))
        self._over = True
        self._tell()

    def informational(self, head: ResponseHead) -> None:
        """See ``Downstream``; ASGI has no words for it here."""

    @override
    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Downstream``: a refusal. Over HTTP/2 a success would be taken for a 101 (RFC 8441 §5)."""
        if head.status < 300 and self._scope.get("http_version", "1.1") != "1.1":
            self._give_up(Failure.BAD_RESPONSE)
        elif self._can_answer:
            super().respond(head, body, done=done)
        else:
            self._abort()
            self._close_unopened()

    @override
    def _refuse(self, failure: Failure, fields: bytes, retry_s: int = 1, said: Fields = ()) -> None:
        if self._can_answer:
            super()._refuse(failure, fields, retry_s, said)
        else:
            self._service.refused(failure)
            self._close_unopened()

    @property
    def _can_answer(self) -> bool:
        """Whether the server lets us answer with more than a 403."""
        return "websocket.http.response" in (self._scope.get("extensions") or {})

    def _close_unopened(self) -> None:
        """Close before the handshake is over, which a client sees as a 403."""
        self._over = True
        self._tell_client(Close(CloseCode.POLICY_VIOLATION, ""))

    def _give_up(self, failure: Failure) -> None:
        self._abort(failure)
        self.refuse(failure, said=() if self._exchange is None else self._exchange.said(failure))

    def _abort(self, failure: Failure | None = Failure.CLIENT_GONE) -> None:
        if self._exchange is not None:
            self._exchange.abort(failure)
