"""A tunnel that knows where WebSocket frames begin and end: frames pass as they came, and it can end with a word.

Who asks for its end, and what is said then (RFC 6455 §7.4, IANA):

    the worker or the backend drains    1012 to both
    the backend is lost                 1014 to the client
    nothing has passed for too long     1001 to both
    something broke in here             1011 to whoever is left

A close frame of ours stands between two messages of theirs: what belongs to the one under way is passed on first, and
what follows it is dropped. Where the rest of a message will never come it stands between two frames; where the rest of
a frame will not, the connection is reset. The two ends have a moment to say goodbye before TCP ends (§7.1.1); a
goodbye of their own is left to them.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum
from secrets import token_bytes

from typing_extensions import override

from worker.failure import Failure
from worker.frames import FrameTracker, close_frame
from worker.lane import Home
from worker.sockets import reset
from worker.tunnel.pipe import NEVER, Passage, Tunnel

GOODBYE_S = 2.0
"""How long the two ends have to answer a close frame of ours."""
CLOSING_S = 10.0
"""How long TCP may outlive the end of one side; the close_timeout of the websockets library."""


class Code(IntEnum):
    """Why we end it."""

    OPEN = 0
    GOING_AWAY = 1001
    INTERNAL = 1011
    RESTART = 1012
    BAD_GATEWAY = 1014


REASONS = {
    Code.GOING_AWAY: "idle for too long",
    Code.INTERNAL: "the proxy failed",
    Code.RESTART: "draining, come again",
    Code.BAD_GATEWAY: "the backend is lost",
}


class Way:
    """One direction. ``told``: its receiver has got a last frame, or is not there any more."""

    __slots__ = ("_is_masked", "receiver", "told", "tracker")

    def __init__(self, receiver: asyncio.Transport, *, is_masked: bool) -> None:
        """``is_masked``: to a server, as a client has to send (§5.3)."""
        self.receiver = receiver
        self.tracker = FrameTracker()
        self.told = False
        self._is_masked = is_masked

    def tell(self, code: Code, *, within_message: bool) -> None:
        """Send our close frame, if it may stand here and none has passed.

        ``within_message``: between two of its fragments, too. There it may stand (§5.4), but half a message is lost,
        and the websockets library takes it for a mistake.
        """
        if self.told or self.receiver.is_closing():
            return
        if self.tracker.may_insert and (within_message or not self.tracker.in_message):
            self.receiver.write(close_frame(code, REASONS[code], mask=token_bytes(4) if self._is_masked else None))
            self.told = True
        self.told = self.told or self.tracker.closed

    def wind_up(self, data: bytes, code: Code) -> None:
        """Pass on what belongs to the message under way, and our close frame after it; drop the rest."""
        if self.told:
            self.tracker.feed(data)
        elif self.tracker.broken:
            self.receiver.write(data)  # nobody knows where a word of ours might stand
        else:
            size = self.tracker.feed_to_boundary(data, of_message=True)
            self.receiver.write(data[:size])
            self.tell(code, within_message=False)
            self.tracker.feed(data[size:])

    def settle(self, back: "Way", *, is_over: bool, is_alone: bool) -> None:
        """See to the two ends once we have begun to close.

        Args:
            back: the other direction.
            is_over: the sender sends no more.
            is_alone: the receiver does not, either, or is gone.
        """
        self.told = self.told or is_alone
        receiver, sender = self.receiver, back.receiver
        if receiver.is_closing():
            pass
        elif is_over and not self.told:
            reset(receiver)  # the rest of this frame will never come
        elif self.told and (is_alone or back.tracker.closed):
            receiver.close()
        if self.told and not sender.is_closing() and not sender.is_reading():
            sender.resume_reading()  # nobody has to take what it says, which is to be heard to its end


class WebSocketTunnel(Tunnel):
    """Frames both ways, and the closing of them."""

    __slots__ = ("_code", "_down", "_feed_down", "_feed_up", "_idle_s", "_is_still", "_still_since", "_up")

    def __init__(
        self,
        service: Home,
        passage: Passage,
        client: asyncio.Transport,
        backend: asyncio.Transport,
        gone: Callable[[Exception | None], None],
        *,
        idle_s: float,
    ) -> None:
        """``idle_s``: how long nothing may pass, 0 for as long as the two like."""
        super().__init__(service, passage, client, backend, gone)
        self._up = Way(backend, is_masked=True)
        self._down = Way(client, is_masked=False)
        self._feed_up, self._feed_down = self._up.tracker.feed, self._down.tracker.feed
        self._code = Code.OPEN
        self._idle_s = idle_s
        self._is_still = False
        self._still_since = 0.0

    @property
    @override
    def messages(self) -> int:
        """How many have passed, both ways."""
        return self._up.tracker.messages + self._down.tracker.messages

    @property
    @override
    def has_parted(self) -> bool:
        """Whether a goodbye has passed: one of theirs, or ours where nothing was wrong."""
        said = self._up.tracker.closed or self._down.tracker.closed
        return self._code in (Code.RESTART, Code.GOING_AWAY) or (said and not self._code)

    @override
    def data_received(self, data: bytes) -> None:
        if self._code:
            self._up.wind_up(data, self._code)
            self._settle()
        else:
            self._is_still = False
            self._feed_up(data)
            self._backend.write(data)

    @override
    def from_backend(self, data: bytes) -> None:
        if self._code:
            self._down.wind_up(data, self._code)
            self._settle()
        else:
            self._is_still = False
            self._feed_down(data)
            self.client.write(data)

    @override
    def eof_received(self) -> bool:
        """The client has said goodbye, or is gone without one: the backend is to see the same."""
        if not self._code:
            self._limit(CLOSING_S)
            return super().eof_received()
        self._client_done = True
        self._settle()
        return not self.client.is_closing()

    @override
    def backend_eof(self) -> None:
        """The backend has said goodbye, or is lost."""
        if not self._code and self._down.tracker.closed:
            self._limit(CLOSING_S)
            super().backend_eof()
            return
        self._backend_done = True
        self._finish(Code.BAD_GATEWAY)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        is_our_fault = exc is not None and not isinstance(exc, OSError)
        if self._passage is None or not (self._code or is_our_fault):
            super().connection_lost(exc)
            return
        self._gone(exc)
        self._client_done = True
        self._finish(Code.INTERNAL)

    @override
    def cut(self, failure: Failure) -> None:
        self._passage = None
        self._backend_done = True
        if self._client_done and self._code:
            self._service.clients.discard(self)
        if self._code or not (self._client_done or self._down.tracker.closed):
            self._finish(Code.INTERNAL if failure is Failure.INTERNAL else Code.BAD_GATEWAY)
        elif not self._client_done and self.client.can_write_eof():
            self.client.write_eof()  # it may be about to answer the backend's goodbye
            self._limit(GOODBYE_S)
        else:
            self._close_client()

    @override
    def drain(self) -> None:
        """See ``Tunnel``; where one of them has said goodbye already the other is to answer it."""
        if not (self._up.tracker.closed or self._down.tracker.closed):
            self._finish(Code.RESTART)

    def _finish(self, code: Code) -> None:
        """End both ways, each as soon as the frame under way has passed; the first reason counts."""
        if not self._code:
            self._code = code
            self._up.told, self._down.told = self._backend_done, self._client_done  # for whom there is nobody to tell
            self._up.tell(code, within_message=False)
            self._down.tell(code, within_message=False)
        self._settle()

    def _settle(self) -> None:
        """Close whoever has nothing left to say or to hear."""
        up, down = self._up, self._down
        for way, is_over in ((up, self._client_done), (down, self._backend_done)):
            if is_over:
                way.tell(self._code, within_message=True)
        up.settle(down, is_over=self._client_done, is_alone=self._backend_done)
        down.settle(up, is_over=self._backend_done, is_alone=self._client_done)
        if up.told and down.told:
            self._limit(GOODBYE_S)

    def _limit(self, limit_s: float) -> None:
        """End TCP after so long, or after what a body may pause where there is still something to be sent."""
        if self.deadline == NEVER:
            unsent = self.client.get_write_buffer_size() + self._backend.get_write_buffer_size()
            listen = self._service.listen
            self.deadline = self._service.coarse.now + (max(limit_s, listen.body_idle_s) if unsent else limit_s)

    @override
    def check_deadline(self, now: float) -> None:
        if self._passage is not None:
            self._passage.count_messages()
        if now >= self.deadline:
            self._let_go()
            self.client.abort()
        elif not self._is_still:
            self._is_still = True
            self._still_since = now
        elif self._idle_s and not self._code and now - self._still_since >= self._idle_s:
            self._finish(Code.GOING_AWAY)

    @override
    def end(self) -> None:
        """Say a last word to a client that is between two frames; reset it within one."""
        self._finish(Code.RESTART)
        self._down.tell(self._code, within_message=True)
        self._let_go()
        if self._down.told:
            self.client.close()
        elif not self.client.is_closing():
            reset(self.client)

    def _let_go(self) -> None:
        """The backend's connection is of no more use."""
        self._service.clients.discard(self)
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.abort()
