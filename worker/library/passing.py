"""The client's side of one call: the answer's head goes to the caller, its body to whoever sends the response."""

from collections.abc import AsyncIterator

from typing_extensions import override

from worker.answer import Fields
from worker.dispatch import check_forwardable
from worker.failure import Failure, Refused
from worker.gateway.request import RequestSide
from worker.gateway.scope import Message, Receive, Scope, Send
from worker.headers import Peer
from worker.http1 import RequestHead, ResponseHead
from worker.library.call import Call, Patience
from worker.library.engine import Engine
from worker.library.problems import NOBODY, CutShortError, error_of
from worker.pool import Pool
from worker.route import Destination


async def _nowhere(message: Message) -> None:
    """Before there is a response nobody sends."""


class Passing(RequestSide):
    """One request through an engine. ``status`` and ``fields`` are the response's, once ``begin`` has returned."""

    status = 0
    fields: list[tuple[bytes, bytes]]
    _failure: Failure | None = None
    _retry_s: int | None = None
    _has_answer = False
    _is_cut = False
    _is_read = False  # by the app itself, which hears of its client's leaving in other ways
    _is_whole = False  # and has been read to its end
    _has_own_body = False
    _trouble: Exception | None = None

    def __init__(self, engine: Engine, peer: Peer, scope: Scope, receive: Receive) -> None:
        super().__init__(engine, engine.loop, peer, scope, receive, _nowhere)
        self._engine = engine

    async def begin(
        self,
        pool: Pool,
        way: tuple[Destination, bytes | None],
        head: RequestHead,
        patience: Patience,
        body: bytes | None = None,
    ) -> bool:
        """Send the request, and wait for the head of its answer; False: the client left meanwhile.

        ``way`` is as ``way_to`` has it; ``body`` is all of it, None where it is still to be received.

        Raises:
            GatewayError: there is no answer.
        """
        self._head = head
        try:
            check_forwardable(self._engine, head)
        except Refused as refused:
            raise error_of(refused.failure) from None
        destination, host = way
        exchange = self._exchange = Call(self._engine, pool, destination, head, self._peer, self, patience, host)
        try:
            exchange.start()
            if body is None and head.length:
                self.watch()
            else:
                if body:
                    self._has_own_body = True
                    exchange.upload(body, b"", done=True)
                self._engine.watch.later(self)
            while not self._has_answer and not self._over:
                self._news = self.loop.create_future()
                await self._news
        except BaseException:
            self.close()
            raise
        if not self._has_answer:
            self.close()
            if self._failure is not None:
                raise error_of(self._failure, self._retry_s)
            self._check_whole()
        return self._has_answer

    async def deliver(self, start: Message, send: Send) -> None:
        """Send the response.

        Raises:
            CutShortError: it broke off; the client is to see that.
        """
        self._send = send
        try:
            if self._takes_trailers:
                start["trailers"] = True
            await send(start)
            await self._send_all()
        finally:
            self.close()
        self._check_whole()

    def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, for who does not ``deliver`` it; it raises ``CutShortError`` where that is not all."""
        self._is_read = True
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        while True:
            while self._events:
                message = self._events.popleft()
                data: bytes = message.get("body", b"")
                self._is_whole = self._is_whole or not message.get("more_body", True)
                if data:
                    self._sent(len(data))
                    yield data
            if self._over:
                break
            self._news = self.loop.create_future()
            await self._news
        self.close()
        self._check_whole()
        if not self._is_whole:
            raise CutShortError("the client has left, or nobody took the response for too long")

    @override
    def _feed(self, message: Message) -> None:
        """See ``RequestSide``; a body of the caller's stands in place of the client's."""
        if not self._has_own_body or message["type"] == "http.disconnect":
            super()._feed(message)

    @override
    def _leave(self) -> None:
        """See ``RequestSide``; an app that reads the response may go on, if the request is whole."""
        if not self._is_read or self._trouble is not None or not self._is_sent:
            super()._leave()

    @property
    def _is_sent(self) -> bool:
        """Whether all of the request has gone to the backend."""
        connection = self._exchange.connection if self._exchange is not None else None
        return connection is None or connection.request_sent

    @override
    async def _read(self) -> None:
        """See ``RequestSide``; here the body comes from an app, which may fail."""
        try:
            await super()._read()
        except Exception as error:  # noqa: BLE001 - a task's root: who waits for the answer raises it
            self._trouble = error
            self._leave()

    def _check_whole(self) -> None:
        if self._trouble is not None:
            raise self._trouble
        if self._is_cut:
            raise CutShortError("the backend broke off in the middle of its response")

    def close(self) -> None:
        """It is over, or nobody wants the rest: leave nothing behind. May be called again."""
        self._engine.watch.over(self)
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        exchange, self._exchange = self._exchange, None  # each knows the other: a circle, and work for the collector
        if exchange is not None and not self._over:
            self._over = True
            exchange.abort()

    def drop(self) -> None:
        """``close``, from wherever a collector runs: in any thread, also after the end of our loop."""
        if self._exchange is None and self._reader is None:
            return
        if self._engine.is_at_home:
            self.close()
        else:
            self._engine.soon(self.close)

    @override
    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Downstream``."""
        self._has_answer = True
        start = self._start_of(head, streams=not done)
        self.status, self.fields = start["status"], start["headers"]
        if b"date" not in head.special:  # what dates it is the server in front, and some clients refuse two dates
            self.fields = [pair for pair in self.fields if pair[0] != b"date"]
        self._takes_trailers = "http.response.trailers" in (self._scope.get("extensions") or {})
        self.body(body, b"", done=done)

    @override
    def _refuse(self, failure: Failure, fields: bytes, retry_s: int = 1, said: Fields = ()) -> None:
        self._failure = failure
        self._retry_s = retry_s if failure in NOBODY else None
        self._over = True
        self._tell()

    @override
    def informational(self, head: ResponseHead) -> None:
        """See ``Downstream``; the caller has no way to send one."""

    @override
    def cut(self, failure: Failure) -> None:
        """See ``Downstream``; a client that has left, or takes nothing, has no use for an error."""
        self._is_cut = failure is not Failure.CLIENT_GONE
        super().cut(failure)
