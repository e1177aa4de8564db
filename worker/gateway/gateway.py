"""The ASGI lane: the same exchange as an ASGI callable, for users' own apps and for other servers.

An ``Exchange`` calls back; an ASGI app awaits. ``AsgiSide`` stands between: what the backend sends is queued until
``send`` takes it, what ``receive`` gives is fed to the exchange. A request that is answered at once costs no task; only
one that takes longer than ``PATIENCE_S`` gets a watcher for its client's leaving. Under our own server all of that is
spared where the app has changed nothing: see ``Shortcut``.
"""

import asyncio
from collections import deque

from worker.answer import error_fields
from worker.dispatch import exchange_for
from worker.exchange import Exchange
from worker.failure import STATUS, Failure, Refused
from worker.gateway.scope import Message, Receive, Scope, Send, head_of, is_framed, shortcut_of
from worker.headers import Peer, is_trusted, pairs_of, response_fields
from worker.http1 import BODILESS, RequestHead, ResponseHead
from worker.lane import Service

PATIENCE_S = 0.02
"""How long a request runs before its client's leaving is watched for: a task for each would cost more than it does."""
MAX_PEERS = 1_024
HIGH_WATER = 65_536
"""Bytes queued for a client before its backend has to wait; uvicorn's own mark."""


class Gateway:
    """An ASGI 3 application that forwards every HTTP request."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waiting: set[AsgiSide] = set()
        self._peers: dict[tuple[str, int, str], Peer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        if scope["type"] != "http":
            raise ValueError(f"the gateway forwards http, not {scope['type']}")
        shortcut = shortcut_of(scope)
        if shortcut is not None and shortcut.can_forward(scope, receive, send):
            await shortcut.forward()
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # asks for the process id each time, which is a syscall
        side = AsgiSide(self._service, self._loop, self._peer(scope), scope, receive, send)
        self._watch_later(side)
        try:
            await side.run()
        finally:
            self._waiting.discard(side)

    def _peer(self, scope: Scope) -> Peer:
        """Who sent it. Kept, since the same few clients and proxies send most requests."""
        client, server = scope.get("client"), scope.get("server")
        who = (client[0] if client else "", (server[1] or 0) if server else 0, scope.get("scheme", "http"))
        peer = self._peers.get(who)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self._peers.clear()
            address, port, scheme = who
            trusted = is_trusted(address, self._service.listen.trusted_proxies)
            peer = self._peers[who] = Peer(address=address, port=port, scheme=scheme, trusted=trusted)
        return peer

    def _watch_later(self, side: "AsgiSide") -> None:
        """Have a request watched if it is still under way in a moment; one timer serves all of them."""
        self._waiting.add(side)
        if self._timer is None:
            self._timer = side.loop.call_later(PATIENCE_S, self._start_watching)

    def _start_watching(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, set()
        for side in waiting:
            side.watch()


class AsgiSide:
    """The client's side of one exchange, behind ``receive`` and ``send``."""

    # Defaults on the class, not slots: most requests leave most of these as they are.
    _queued = 0
    _over = False
    _takes_trailers = False
    _news: asyncio.Future[None] | None = None
    _upload_gate: asyncio.Event | None = None
    _exchange: Exchange | None = None
    _reader: asyncio.Task[None] | None = None
    _head: RequestHead

    def __init__(
        self,
        service: Service,
        loop: asyncio.AbstractEventLoop,
        peer: Peer,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.loop = loop
        self._service = service
        self._peer = peer
        self._scope = scope
        self._receive = receive
        self._send = send
        self._events: deque[Message] = deque()

    async def run(self) -> None:
        """Forward the request, and send what comes back."""
        try:
            try:
                self._head, first = await self._read_head()
                self._exchange = exchange_for(self._service, self._head, peer=self._peer, downstream=self)
            except Refused as refused:
                self._refuse(refused.failure, b"")
            else:
                self._exchange.start()
                if first is not None:
                    self._feed(first)
                if self._head.length:
                    self.watch()  # the body is read beside, since the answer need not wait for it
            await self._send_all()
        finally:
            if self._reader is not None:
                self._reader.cancel()
            exchange, self._exchange = (
                self._exchange,
                None,
            )  # each knows the other: a circle, and work for the collector
            if exchange is not None and not self._over:
                exchange.abort()

    async def _read_head(self) -> tuple[RequestHead, Message | None]:
        """The head as the other lane would read it, and the first part of a body, if there is one.

        Raises:
            Refused: a server that let through what we do not forward.
        """
        shortcut = shortcut_of(self._scope)
        head = shortcut.head(self._scope) if shortcut is not None else None
        if head is not None:
            return head, None
        first = None
        framed = True
        if self._scope["http_version"] not in ("1.0", "1.1") and not is_framed(self._scope):
            first = await self._receive()  # HTTP/2 and later need not say whether a body follows
            framed = not first.get("body") and not first.get("more_body")
        head = head_of(self._scope, self._service.listen, framed=framed)
        return head, first if head.length else None

    def _feed(self, message: Message) -> None:
        """Give one part of the body to the exchange; the rest is read by a task of its own."""
        exchange = self._exchange
        if exchange is None or self._over:
            return
        if message["type"] == "http.disconnect":
            self._leave()
            return
        exchange.upload(message.get("body", b""), b"", done=not message.get("more_body", False))

    def watch(self) -> None:
        """Look out for the client's leaving from now on, unless the body is being read anyway."""
        if self._reader is None and not self._over:
            self._reader = self.loop.create_task(self._read())

    async def _read(self) -> None:
        """Read the body, then wait for the end."""
        is_whole = False
        while not self._over:
            if self._upload_gate is not None:
                await self._upload_gate.wait()
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                return
            if is_whole:
                return  # an app's own ``receive``, which does not wait: asking on would never end
            is_whole = not message.get("more_body", False)
            self._feed(message)

    def _leave(self) -> None:
        """The client is gone: so is the exchange, and there is nobody to send to."""
        self._over = True
        if self._exchange is not None:
            self._exchange.abort()
        self._tell()

    async def _send_all(self) -> None:
        """Send events as they come until the exchange is over."""
        events, send = self._events, self._send
        while True:
            while events:
                message = events.popleft()
                await send(message)
                if self._queued:
                    self._sent(len(message.get("body", b"")))
            if self._over:
                return
            self._news = self.loop.create_future()
            await self._news

    def _sent(self, size: int) -> None:
        """The client has taken something; let the backend go on if it had to wait for that."""
        self._queued -= size
        if self._queued < HIGH_WATER <= self._queued + size and self._exchange is not None:
            self._exchange.hold_response(hold=False)

    def _put(self, *messages: Message) -> None:
        self._events.extend(messages)
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Downstream``; the server does the framing."""
        service = self._service
        # uvicorn takes a Content-Length beside a 304 for a promise of that many bytes, and fails.
        unframed = head.length < 0 or head.status in BODILESS
        framing = b"" if unframed else None
        fields = response_fields(head, service.via, service.date, framing=framing, streams=not done)
        start = {"type": "http.response.start", "status": head.status, "headers": pairs_of(fields)}
        if "http.response.trailers" in (self._scope.get("extensions") or {}):
            self._takes_trailers = start["trailers"] = True
        self._events.append(start)
        self.body(body, b"", done=done)

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """See ``Downstream``."""
        self._queued += len(data)
        if not done and self._queued >= HIGH_WATER and self._exchange is not None:
            self._exchange.hold_response(hold=True)
        self._over = done
        self._put({"type": "http.response.body", "body": data, "more_body": not done})
        if done and self._takes_trailers:
            self._put({"type": "http.response.trailers", "headers": pairs_of(trailers)})

    def informational(self, head: ResponseHead) -> None:
        """See ``Downstream``; passed on where the server has a way to (gunicorn's own ASGI worker has)."""
        if "http.response.informational" in (self._scope.get("extensions") or {}):
            fields = response_fields(head, self._service.via, b"")
            self._put({"type": "http.response.informational", "status": head.status, "headers": pairs_of(fields)})

    def refuse(self, failure: Failure, retry_s: int = 1) -> None:
        """See ``Downstream``."""
        self._refuse(failure, self._head.fields, retry_s)

    def _refuse(self, failure: Failure, fields: bytes, retry_s: int = 1) -> None:
        headers, body = error_fields(failure, fields, retry_s)
        headers.append((b"date", self._service.date))
        self._over = True
        start = {"type": "http.response.start", "status": STATUS[failure]}
        self._put(
            start | {"headers": [(name.lower(), value) for name, value in headers]},
            {"type": "http.response.body", "body": b"" if self._scope["method"] == "HEAD" else body},
        )

    def cut(self, failure: Failure) -> None:  # noqa: ARG002 - the client sees only that the message is incomplete
        """See ``Downstream``: an app that returns in the middle of a response has its connection closed."""
        self._over = True
        self._tell()

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """Never called: a request in this lane asks for no upgrade."""
        raise NotImplementedError

    def raw(self, data: bytes) -> None:
        """Never called either."""
        raise NotImplementedError

    def raw_eof(self) -> None:
        """Never called either."""
        raise NotImplementedError

    def hold_upload(self, *, hold: bool) -> None:
        """See ``Downstream``."""
        if hold:
            self._upload_gate = self._upload_gate or asyncio.Event()
        elif self._upload_gate is not None:
            self._upload_gate.set()
            self._upload_gate = None
