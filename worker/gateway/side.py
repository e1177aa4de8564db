"""The client's side of one exchange, behind ``receive`` and ``send``.

An ``Exchange`` calls back; an ASGI app awaits. ``Side`` stands between: what the backend sends is queued until ``send``
takes it, what ``receive`` gives is fed to the exchange by the sides made of this one.
"""

import asyncio
from collections import deque

from worker.answer import Fields, error_fields
from worker.dispatch import note_refusal
from worker.exchange import Exchange
from worker.failure import STATUS, Failure
from worker.gateway.scope import Message, Receive, Scope, Send, make_way
from worker.headers import Peer, pairs_of, response_fields
from worker.http1 import BODILESS, NO_HEAD, RequestHead, ResponseHead
from worker.lane import Home

HIGH_WATER = 65_536
"""Bytes queued for a client before its backend has to wait; uvicorn's own mark."""


class Side:
    """A queue for the client, and what both a request and a WebSocket may be answered with: a response."""

    START = "http.response.start"
    BODY = "http.response.body"

    # Defaults on the class, not slots: most requests leave most of these as they are.
    _queued = 0
    _over = False
    _news: asyncio.Future[None] | None = None
    _upload_gate: asyncio.Event | None = None
    _exchange: Exchange | None = None
    _head: RequestHead = NO_HEAD

    def __init__(
        self,
        service: Home,
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

    async def _send_all(self) -> None:
        """Send events as they come until the exchange is over."""
        events, send = self._events, self._send
        while True:
            while events:
                message = events.popleft()
                await send(message)
                if self._queued:
                    self._sent(_size_of(message))
            if self._over:
                return
            self._news = self.loop.create_future()
            await self._news

    def _sent(self, size: int) -> None:
        """The client has taken something; let the backend go on if it had to wait for that."""
        self._queued -= size
        if self._queued < HIGH_WATER <= self._queued + size and self._exchange is not None:
            self._exchange.hold_response(hold=False)

    def _put(self, message: Message) -> None:
        """Have it sent; a backend that is too far ahead has to wait."""
        size = _size_of(message)
        self._queued += size
        if not self._over and self._queued >= HIGH_WATER > self._queued - size and self._exchange is not None:
            self._exchange.hold_response(hold=True)
        self._events.append(message)
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _start_of(self, head: ResponseHead, *, streams: bool) -> Message:
        """The first message of a response; the server does the framing."""
        service = self._service
        # uvicorn takes a Content-Length beside a 304 for a promise of that many bytes, and fails.
        unframed = head.length < 0 or head.status in BODILESS
        framing = b"" if unframed else None
        fields = response_fields(head, service.via, service.date, framing=framing, streams=streams)
        return {"type": self.START, "status": head.status, "headers": pairs_of(fields)}

    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Downstream``."""
        self._events.append(self._start_of(head, streams=not done))
        self.body(body, b"", done=done)

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:  # noqa: ARG002 - not every side takes those
        """See ``Downstream``."""
        self._over = done
        self._put({"type": self.BODY, "body": data, "more_body": not done})

    def refuse(self, failure: Failure, retry_s: int = 1, said: Fields = ()) -> None:
        """See ``Lane``."""
        self._refuse(failure, self._head.fields, retry_s, said)

    def _refuse(self, failure: Failure, fields: bytes, retry_s: int = 1, said: Fields = ()) -> None:
        """Answer with an error of ours; ``fields`` are the request's, as far as they are known."""
        self._service.refused(failure)
        headers, body = error_fields(failure, fields, retry_s, said)
        headers.append((b"date", self._service.date))
        lowered = [(name.lower(), value) for name, value in headers]
        self._over = True
        make_way(self._receive, lowered)
        self._events.append({"type": self.START, "status": STATUS[failure], "headers": lowered})
        self._put({"type": self.BODY, "body": b"" if self._scope.get("method") == "HEAD" else body})

    def _reject(self, failure: Failure, said: Fields = ()) -> None:
        """Refuse what never became an exchange."""
        note_refusal(self._service, self._head, self._peer, failure)
        self._refuse(failure, b"", said=said)

    def hold_upload(self, *, hold: bool) -> None:
        """See ``Downstream``."""
        if hold:
            self._upload_gate = self._upload_gate or asyncio.Event()
        elif self._upload_gate is not None:
            self._upload_gate.set()
            self._upload_gate = None


def _size_of(message: Message) -> int:
    """How much of the client's patience it takes: a body's bytes, or those of a message (its characters, as text)."""
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")
