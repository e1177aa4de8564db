"""A client's connection where the user's own app stands in front: the direct lane's, with the app for an exchange.

So the rules and limits for what a client sends are the same in both lanes, head deadline and sizes among them. A
WebSocket's request is handed over to uvicorn, with the connection.
"""

import asyncio
from typing import Any, Protocol, cast
from urllib.parse import unquote

from typing_extensions import override

from worker.bodies import body_reader
from worker.dispatch import exchange_for
from worker.exchange import NEVER, Exchange
from worker.failure import Failure, Refused
from worker.gateway import App, Scope
from worker.headers import pairs_of, upgrade_of
from worker.http1 import UNKNOWN_LENGTH, RequestHead
from worker.lane import Home
from worker.protocol import ClientConnection
from worker.route import split_target
from worker.server.reply import Reply
from worker.server.turn import Turn


class Front(Protocol):
    """Whose connections these are; ``worker.server.front`` has the real one."""

    app: App
    turns: set[Turn]
    state: dict[str, Any]
    loop: asyncio.AbstractEventLoop

    def websocket(self) -> asyncio.Protocol:
        """For a connection whose request asks for a WebSocket."""


class AppConnection(ClientConnection):
    """One client's connection, and its turn-taking with the app."""

    __slots__ = ("_client", "_front", "_server", "_turn")

    def __init__(self, service: Home, front: Front) -> None:
        super().__init__(service)
        self._front = front
        self._turn: Turn | None = None
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int | None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self._server = (str(own[0]), int(own[1])) if isinstance(own, tuple) else (str(own), None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_turn()

    @override
    def _begin(self, head: RequestHead, data: bytes) -> None:
        if b"upgrade" in head.special and upgrade_of(head).lower() == b"websocket":
            self._hand_over(data)
            return
        self._head = head
        self._chunked_out = self._ends_with_connection = False
        self._close_after = not head.keep_alive
        self.deadline = NEVER
        self._buffer = data[head.size :]
        if head.length:
            self._body = body_reader(head.length)
        front = self._front
        turn = Turn(self, head, front.app, front.loop, front.turns)
        scope = self._scope(head, turn)
        self._turn = turn
        self._exchange = exchange = cast("Exchange", turn)
        if self._body is not None and self._buffer:
            early, self._buffer = self._buffer, b""
            self._read_body(exchange, self._body, early)
        if self._exchange is exchange:
            turn.start(scope)

    def _scope(self, head: RequestHead, turn: Turn) -> Scope:
        """The request as ASGI has it.

        Raises:
            Refused: its target is none, or it is CONNECT, which no app can answer.
        """
        if head.method == b"CONNECT":
            raise Refused(Failure.METHOD_REFUSED, "CONNECT is not forwarded")
        authority, raw_path, query = split_target(head.target, head.method)
        headers = pairs_of(head.fields)
        if authority is not None:  # it replaces Host (RFC 9112 §3.2.2)
            headers = [(b"host", authority), *[pair for pair in headers if pair[0] != b"host"]]
        path = raw_path.decode()
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if head.version else "1.0",
            "server": self._server,
            "client": self._client,
            "scheme": "http",
            "method": head.method.decode(),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query[1:],
            "headers": headers,
            "state": self._front.state.copy(),
            "extensions": {"sidebeat": turn},
        }

    @property
    def _is_the_apps(self) -> bool:
        """Whether it is the app that answers the request under way, and no exchange."""
        return self._turn is not None and cast("object", self._exchange) is self._turn

    def _hand_over(self, data: bytes) -> None:
        """Let uvicorn have the connection: it speaks WebSocket with the app."""
        self._service.clients.discard(self)
        protocol = self._front.websocket()
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(data)

    def answer(self, reply: Reply, body: bytes, *, done: bool) -> None:
        """See ``Client``."""
        fields = reply.fields
        if reply.length == UNKNOWN_LENGTH and reply.has_body:
            fields += self._reframe(UNKNOWN_LENGTH) or b""
        if not reply.has_date:
            fields += b"\r\ndate: " + self._service.date
        self._close_after = self._close_after or reply.close
        self._answer(b"HTTP/1.1 %d %b%b" % (reply.status, reply.reason, fields), body, done=done)

    def await_body(self) -> None:
        """See ``Client``."""
        self.deadline = self._service.clock() + self._service.listen.body_idle_s

    def rest(self) -> None:
        """See ``Client``."""
        self.deadline = NEVER

    @override
    def pause_writing(self) -> None:
        """The client takes no more; for how long, an exchange knows for itself."""
        super().pause_writing()
        if self._is_the_apps:
            self.await_body()

    @override
    def resume_writing(self) -> None:
        if self._is_the_apps:
            self.rest()
        super().resume_writing()

    def proceed(self) -> None:
        """See ``Client``; an HTTP/1.0 client does not know 1xx (RFC 9110 §15.2)."""
        if self._head.version and self._body is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def forward(self, body: bytes, trailers: bytes, *, done: bool) -> None:
        """See ``Client``: from here on it is the direct lane."""
        try:
            exchange = exchange_for(self._service, self._head, peer=self._peer, downstream=self)
        except Refused as refused:
            self._turn_away(refused.failure, refused.said)
            return
        self._exchange = exchange
        if self._body is not None and b"expect" not in self._head.special:
            self.await_body()
        if body or (done and self._head.length):
            exchange.upload(body, trailers, done=done)
        if self._exchange is exchange:
            if self._held:
                self.hold_upload(hold=False)
            exchange.start()

    def take_back(self, turn: Turn) -> bool:
        """See ``Client``."""
        exchange = self._exchange
        if exchange is None:
            return True
        exchange.abort(None)
        self._exchange = cast("Exchange", turn)
        return exchange.responded

    def fail(self) -> None:
        """See ``Client``."""
        exchange = self._exchange
        if exchange is None:
            return
        exchange.abort(Failure.INTERNAL)  # the turn itself, unless it is being forwarded
        if exchange.responded:
            self.cut(Failure.INTERNAL)
        else:
            self.refuse(Failure.INTERNAL)

    @override
    def cut(self, failure: Failure) -> None:
        super().cut(failure)
        self._end_turn()

    @override
    def _over(self) -> None:
        self._end_turn()
        super()._over()

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.end()
