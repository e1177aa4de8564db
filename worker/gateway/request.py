"""A request's side: its body goes up as it comes, its response goes down as it comes."""

import asyncio

from typing_extensions import override

from worker.dispatch import exchange_for
from worker.exchange import Exchange
from worker.failure import Failure, Refused
from worker.gateway.scope import Message, head_of, is_framed, make_way, shortcut_of
from worker.gateway.side import Side
from worker.headers import pairs_of, response_fields
from worker.http1 import RequestHead, ResponseHead


class RequestSide(Side):
    """The client's side of one request."""

    _takes_trailers = False
    _reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Forward the request, and send what comes back."""
        try:
            try:
                self._head, first = await self._read_head()
                self._exchange = exchange_for(self._service, self._head, peer=self._peer, downstream=self)
            except Refused as refused:
                self._reject(refused.failure, refused.said)
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
            # Each knows the other: a circle, and work for the collector.
            exchange, self._exchange = self._exchange, None
            if exchange is not None and not self._over:
                exchange.abort(None)

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
        data, done = message.get("body", b""), not message.get("more_body", False)
        length, size = self._head.length, exchange.upload_size + len(data)
        if length > 0 and (size > length or (done and size < length)):
            self._stop(exchange)
        elif length:
            exchange.upload(data, b"", done=done)

    def _stop(self, exchange: Exchange) -> None:
        """The body is not as long as was said: someone between the server and us has changed it.

        What is too much would be another request to the backend, and to what is too little it would take the next.
        """
        exchange.abort(Failure.BAD_REQUEST)
        (self.cut if exchange.responded else self.refuse)(Failure.BAD_REQUEST)

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

    @override
    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        start = self._start_of(head, streams=not done)
        if "http.response.trailers" in (self._scope.get("extensions") or {}):
            self._takes_trailers = start["trailers"] = True
        make_way(self._receive, start["headers"])
        self._events.append(start)
        self.body(body, b"", done=done)

    @override
    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        super().body(data, trailers, done=done)
        if done and self._takes_trailers:
            self._put({"type": "http.response.trailers", "headers": pairs_of(trailers)})

    def informational(self, head: ResponseHead) -> None:
        """See ``Downstream``; passed on where the server has a way to (gunicorn's own ASGI worker has)."""
        if "http.response.informational" in (self._scope.get("extensions") or {}):
            fields = response_fields(head, self._service.via, b"")
            self._put({"type": "http.response.informational", "status": head.status, "headers": pairs_of(fields)})

    def cut(self, failure: Failure) -> None:  # noqa: ARG002 - the client sees only that the message is incomplete
        """See ``Downstream``: an app that returns in the middle of a response has its connection closed."""
        self._over = True
        self._tell()

    def drain(self) -> None:
        """See ``Downstream``; connections are the server's."""

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """Never called: a request in this lane asks for no upgrade."""
        raise NotImplementedError

    def raw(self, data: bytes) -> None:
        """Never called either."""
        raise NotImplementedError

    def raw_eof(self) -> None:
        """Never called either."""
        raise NotImplementedError
