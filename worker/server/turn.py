"""One request in the hands of the user's app: its ``scope``, ``receive`` and ``send`` (ASGI 3).

For the client's connection it stands where an exchange stands for a request that is only forwarded. An app that calls
the gateway with what it was given, and nothing changed, is out of the way from then on: connection and exchange call
each other as in the direct lane, and the app awaits the end. Names keep their case then, and whatever the other lane
does (trailers, 1xx, reason phrases) is done. What an app changes or has begun to read takes the general way.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Protocol

from typing_extensions import override

from sidecar.contract.events import Event, line
from worker.answer import Fields
from worker.failure import Failure
from worker.gateway import App, Message, Receive, Scope, Send, Shortcut
from worker.http1 import UNKNOWN_LENGTH, RequestHead
from worker.server.reply import Reply

logger = logging.getLogger(__name__)

HIGH_WATER = 65_536
"""Bytes of a body that wait for the app before its client has to; uvicorn's own mark."""
_KEYS: Callable[[Scope], tuple[Any, ...]] = itemgetter(
    "method", "path", "raw_path", "query_string", "client", "scheme", "http_version"
)


class Client(Protocol):
    """What a turn needs of the connection it belongs to."""

    def answer(self, reply: Reply, body: bytes, *, done: bool) -> None:
        """The head of the app's response, with what came of its body so far."""

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """More of the body, without framing."""

    def await_body(self) -> None:
        """The app waits for the body: from now on the client owes it."""

    def rest(self) -> None:
        """The client owes nothing for the moment."""

    def proceed(self) -> None:
        """The app wants the body of a request that waits for a 100 (RFC 9110 §10.1.1)."""

    def hold_upload(self, *, hold: bool) -> None:
        """Whether to stop or go on reading the request's body."""

    def forward(self, body: bytes, trailers: bytes, *, done: bool) -> None:
        """Give the request to the pools, with what came of its body so far."""

    def take_back(self, turn: "Turn") -> bool:
        """Stop forwarding; says whether something of a response was sent already."""

    def fail(self) -> None:
        """The app broke, and nothing more will come of it."""


class Turn(Shortcut):
    """The app's turn, from a request's head until the app returns."""

    # Defaults on the class, not slots: most requests leave most of these as they are.
    _size = 0
    _trailers = b""
    _touched = _told = _sent = _over = False
    _left: int | None = None
    _reply: Reply | None = None
    _event: asyncio.Event | None = None
    _full: asyncio.Event | None = None
    _forwarded: asyncio.Future[None] | None = None
    _task: asyncio.Task[None]
    _said: tuple[Any, ...] | None
    _headers: list[tuple[bytes, bytes]]

    def __init__(
        self, client: Client, head: RequestHead, app: App, loop: asyncio.AbstractEventLoop, others: "set[Turn]"
    ) -> None:
        """By position: this runs for every request. ``others``: all turns under way, this one too once it starts."""
        self._client = client
        self._head = head
        self._app = app
        self._loop = loop
        self._others = others
        self._parts: list[bytes] = []
        self._done = head.length == 0
        self._waits_for_100 = b"expect" in head.special

    def start(self, scope: Scope) -> None:
        """Call the app."""
        self._said = _said(scope)
        self._headers = scope["headers"].copy()
        self._others.add(self)
        self._task = self._loop.create_task(self._run(scope))

    def cancel(self) -> None:
        """The worker stops now."""
        self._task.cancel()

    async def _run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self.receive, self.send)
            if not self._over:
                logger.error(line(Event.APP_FAILED, path=scope["path"], reason="it returned without a whole response"))
        except asyncio.CancelledError:
            if self._task.cancelling():
                raise
            logger.exception(line(Event.APP_FAILED, path=scope["path"], reason="it awaited what was cancelled"))
        except Exception:
            logger.exception(line(Event.APP_FAILED, path=scope["path"], reason="an exception"))
        finally:
            self._others.discard(self)
        if not self._over:
            self._client.fail()

    @override
    def head(self, scope: Scope) -> RequestHead | None:
        if b"upgrade" in self._head.special or not self._is_untouched(scope):
            return None
        return self._head

    def _is_untouched(self, scope: Scope) -> bool:
        return _said(scope) == self._said and scope.get("headers") == self._headers

    @override
    def can_forward(self, scope: Scope, receive: Receive, send: Send) -> bool:
        return not self._touched and receive == self.receive and send == self.send and self._is_untouched(scope)

    @override
    async def forward(self) -> None:
        """Have the connection forward the request, and wait for the end of it; cancelled, it is the app's again.

        Nothing is forwarded for a client that has left: there would be nobody to write to, which uvloop does not take.
        """
        self._touched = True
        body, self._parts = b"".join(self._parts), []
        if not self._over:
            self._client.forward(body, self._trailers, done=self._done)
        if self._over:
            return
        self._forwarded = self._loop.create_future()
        try:
            await self._forwarded
        except asyncio.CancelledError:
            if not self._over:
                self._sent = self._client.take_back(self)
            raise

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for news until the condition holds; any number of the app's tasks may do so at once."""
        while not condition():
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()

    def _tell(self) -> None:
        if self._event is not None:
            self._event.set()

    @property
    def responded(self) -> bool:
        """See ``Exchange``: whether something of a response was sent."""
        return self._sent

    def upload(self, data: bytes | memoryview, trailers: bytes, *, done: bool) -> None:
        """See ``Exchange``: more of the body, for the app to take."""
        self._parts.append(bytes(data))
        self._size += len(data)
        self._trailers = trailers
        self._done = done
        self._waits_for_100 = False
        self._client.rest()
        if self._size >= HIGH_WATER and not done:
            self._client.hold_upload(hold=True)
        self._tell()

    def abort(self, failure: Failure | None = None) -> None:  # noqa: ARG002 - who answers, answers for it
        """See ``Exchange``: the client is gone, or broke its side."""
        self.end()

    def said(self, failure: Failure) -> Fields:  # noqa: ARG002 - an app says for itself what it has to say
        """See ``Exchange``."""
        return ()

    def end(self) -> None:
        """The response is complete, or nobody is there to take more of it."""
        self._over = True
        if self._forwarded is not None and not self._forwarded.done():
            self._forwarded.set_result(None)
        self.hold_response(hold=False)
        self._tell()

    def hold_response(self, *, hold: bool) -> None:
        """See ``Exchange``: the client takes no more, or takes more again."""
        if hold:
            self._full = self._full or asyncio.Event()
        elif self._full is not None:
            self._full.set()
            self._full = None

    async def receive(self) -> Message:
        """The app's ``receive``."""
        self._touched = True
        if self._waits_for_100 and not self._over:
            self._waits_for_100 = False
            self._client.proceed()
        if not self._done and not self._parts and not self._over:
            self._client.await_body()
        await self._until(lambda: self._over or bool(self._parts) or (self._done and not self._told))
        if self._over:
            return {"type": "http.disconnect"}
        body, self._parts = b"".join(self._parts), []
        self._told = self._done
        if self._size >= HIGH_WATER:
            self._client.hold_upload(hold=False)
        self._size = 0
        return {"type": "http.request", "body": body, "more_body": not self._done}

    async def send(self, message: Mapping[str, Any]) -> None:
        """The app's ``send``; what comes after the client has left is dropped."""
        self._touched = True
        if self._full is not None:
            await self._full.wait()
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message)
        elif kind != "http.response.body" or not (self._sent or self._reply):
            raise RuntimeError(f"an app may not send {kind} here")
        elif not self._over:
            self._body(message.get("body", b""), done=not message.get("more_body", False))

    def _begin(self, message: Mapping[str, Any]) -> None:
        if self._sent or self._reply:
            raise RuntimeError("an app may answer once")
        self._reply = reply = Reply.of(message, to_head=self._head.method == b"HEAD")
        self._left = reply.length if reply.has_body and reply.length != UNKNOWN_LENGTH else None
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Let a head go that has waited for its body to the end of this round: a stream may take its time."""
        if self._reply is not None and not self._over and not self._sent:
            self._sent = True
            self._client.answer(self._reply, b"", done=False)

    def _body(self, data: bytes, *, done: bool) -> None:
        if self._reply is not None and not self._reply.has_body:
            data = b""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (done and self._left):
                raise RuntimeError("the body is not as long as its Content-Length says")
        if self._sent:
            self._client.body(data, b"", done=done)
        elif self._reply is not None:
            self._sent = True
            self._client.answer(self._reply, data, done=done)


def _said(scope: Scope) -> tuple[Any, ...] | None:
    """What a scope says of the request, but for its headers; None where something is missing."""
    try:
        return _KEYS(scope)
    except KeyError:
        return None
