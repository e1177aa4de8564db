"""One request between a client side and upstream connections: bytes both ways, deadlines, accounts.

Both lanes drive this one class; what differs between them is the ``Downstream`` they put in front. Nothing here is
awaited: callbacks come from the client's side and from the connection, and each call does what it must and returns.
"""

from typing import Protocol

from typing_extensions import override

from sidecar.contract.config import Timeouts
from worker.access import COMPLETE
from worker.attempts import Attempts
from worker.bodies import encode_chunks
from worker.failure import Failure
from worker.headers import is_event_stream, upgrade_of
from worker.http1 import CHUNKED, UNKNOWN_LENGTH, ResponseHead
from worker.lane import Observer, Tap
from worker.outlier import is_bad, pause_s
from worker.retry import GATEWAY_ERRORS
from worker.sockets import probe
from worker.sse import EventTracker

_ENDLESS = frozenset({CHUNKED, UNKNOWN_LENGTH})
"""How the bodies are framed whose length was not promised."""
NEVER = float("inf")
"""The deadline of what may take its time."""


class Talk(Protocol):
    """What an exchange has become that was switched to another protocol."""

    @property
    def messages(self) -> int:
        """How many have passed, either way."""

    @property
    def has_parted(self) -> bool:
        """Whether its two ends have said goodbye, each in its own words."""


class Exchange(Attempts):
    """A request, from its head to the last byte of its response."""

    observer: Observer | None = None
    """Who is to be told how it went, while there is no tap."""
    tap: Tap | None = None
    tunnel: "Talk | None" = None
    _response_held = False
    _events: EventTracker | None = None
    _counted = 0
    has_parted = False

    def upload(self, data: bytes | memoryview, trailers: bytes, *, done: bool) -> None:
        """More of the request's body, without framing; ``done`` with the last of it."""
        self._upload_size += len(data)
        if 0 < self._service.listen.max_body_bytes < self._upload_size:
            self.abort(Failure.BODY_TOO_LARGE)
            self._give_up(Failure.BODY_TOO_LARGE)
            return
        if self._head.length == CHUNKED:
            data = encode_chunks(bytes(data), trailers, done=done)
        self._request_done = done
        self._awaits_continue = False
        if self._pieces is not None:
            self._pieces.append(data)
        connection = self.connection
        if connection is None:
            return
        connection.request_sent = done
        connection.transport.write(data)
        self.deadline = self._service.clock() + (self._pace.idle_s if self.responded else self._pace.try_s)
        if self._pieces is not None:
            self._forget_pieces()

    @override
    def response(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        now = self._service.clock()
        if done:
            self.connection = None
        if head.status < 500:
            self._pool.writer.answer(self._row, head.status, now - self._began, now, done)
            if self._is_canary:
                self._canary_succeeded(head.status, now)
        elif not self._accepts_error(head, now, done=done):
            return
        self.responded = True
        head = head if self._wish is None else self._bound(head)
        if done:
            self._finish()
        else:
            self._begin_body(head, body, now)
        self._downstream.respond(head, body, done=done)
        if self.observer is not None:
            self._note_answer(self.observer, head.status, len(body), now)
        elif self.drains:
            self._drain_events()

    def _begin_body(self, head: ResponseHead, body: bytes, now: float) -> None:
        """A response comes in parts: it cannot be asked for again, and may go on for ever."""
        self._tap_in()
        self._pieces = None
        self._ends_later = head.status not in GATEWAY_ERRORS
        self.deadline = now + self._pace.idle_s
        if head.length in _ENDLESS and is_event_stream(head):
            self._watch_events(body)

    def _tap_in(self) -> None:
        """There is more to it than an answer in one piece: from here on a tap notes what passes, if anybody asks."""
        if self.observer is not None:
            began = self._since or self._began or self._service.clock()  # a body may be refused before the start
            tap = self.observer.tap(self._head, self._peer, self._downstream, began)
            self._downstream = self.tap = tap
            tap.exchange, self.observer = self, None

    @override
    def _give_up(self, failure: Failure) -> None:
        self._tap_in()
        super()._give_up(failure)

    def _note_answer(self, observer: Observer, status: int, size: int, now: float) -> None:
        """Tell of an answer that came in one piece, as most do: for those a tap would cost twice as much."""
        self.observer = None
        head, peer, backend = self._head, self._peer, self.backend
        client = observer.client(head, peer) if peer.trusted else peer.address
        took_s = now - (self._since or self._began)
        uploaded, pool, name = self._upload_size, self._pool.name, "" if backend is None else backend.id
        observer.note(
            (now, head, client, status, uploaded, size, took_s, took_s, pool, name, self.story, "", COMPLETE, None)
        )

    def _bound(self, head: ResponseHead) -> ResponseHead:
        """The head that has the visitor come back to the backend that answered."""
        if self._wish is None or self._pool.affinity is None:
            return head
        lines = self._pool.affinity.binding(self._wish, self._row, head)
        return head.with_lines(lines) if lines else head

    def _accepts_error(self, head: ResponseHead, now: float, *, done: bool) -> bool:
        """Whether a server error is to be passed on, and no other attempt made."""
        status, writer, elapsed_s = head.status, self._pool.writer, now - self._began
        if not is_bad(status):
            writer.answer(self._row, status, elapsed_s, now, done)
            if self._is_canary:
                self._canary_succeeded(status, now)
            return True
        if status not in GATEWAY_ERRORS:
            writer.error(self._row, status, elapsed_s, now, done)
        self._was_bad = True
        self._blame(Failure.GATEWAY_ERROR, f"status {status}", now, pause_s=pause_s(status, head.fields))
        if status not in GATEWAY_ERRORS:
            return True
        if status in self._pool.rules.gateway_errors and self._retries(Failure.GATEWAY_ERROR, now):
            return False
        writer.status(self._row, status)
        writer.fail(self._row, elapsed_s, now)
        return True

    def _watch_events(self, body: bytes) -> None:
        """Keep an eye on where events end, and have TCP keep one on a backend that may be silent for long."""
        self._events = EventTracker()
        self._events.feed(body)
        if self.connection is not None:
            probe(self.connection.transport, self._pool.timeouts.tcp_keepalive_s)

    @override
    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        if self._events is not None:
            self._events.feed(data)
            if self.drains and self._events.last_boundary is not None and not done:
                self._end_stream(data[: self._events.last_boundary])
                return
        if done:
            self.connection = None
            self._finish()
        else:
            self.deadline = self._service.clock() + self._pace.idle_s
        self._downstream.body(data, trailers, done=done)

    @override
    def drain(self, now: float) -> None:
        """See ``Ongoing``; what is not answered yet will be, and ends then if it is endless."""
        self.drains = True
        if self._is_tunnel:
            self._downstream.drain()
        else:
            self._drain_events()

    def _drain_events(self) -> None:
        """End an event stream, if it is one, at once or after the event under way."""
        if self._events is not None:
            self._downstream.drain()
            if self._events.after_event:
                self._end_stream(b"")

    def _end_stream(self, data: bytes) -> None:
        """End a response that goes on, by our own wish; ``data`` is the last of it."""
        self._drop_connection()
        self._finish()
        self._downstream.body(data, b"", done=True)

    @property
    def upload_size(self) -> int:
        """Bytes that came of the request's body."""
        return self._upload_size

    @property
    def messages(self) -> int | None:
        """How many have passed through the tunnel that it was, None if it was none."""
        return self._counted if self._is_tunnel else None

    @property
    def is_event_stream(self) -> bool:
        """Whether the response is one that can be ended after any event."""
        return self._events is not None

    @property
    def timeouts(self) -> Timeouts:
        """Those of its pool."""
        return self._pool.timeouts

    @override
    def informational(self, head: ResponseHead) -> None:
        """See ``Receiver``."""
        if head.status == 100:
            self._awaits_continue = False
        self._downstream.informational(head)

    @override
    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Receiver``; a switch that nobody asked for is no response."""
        if not upgrade_of(self._head):
            self._drop_connection()
            self.failed(Failure.BAD_RESPONSE)
            return
        now = self._service.clock()
        self._pool.writer.answer(self._row, head.status, now - self._began, now, whole=False)
        if self._is_canary:
            self._canary_succeeded(head.status, now)
        if self._wish is not None:
            head = self._bound(head)
        self._tap_in()
        self.responded = self._is_tunnel = self._ends_later = True
        self.deadline = NEVER
        self._pool.writer.tunnel(self._row)
        self._downstream.switched(head, data)
        if self.drains:
            self._downstream.drain()

    def count_messages(self) -> None:
        """Put on the board how many have passed through the tunnel since the last time."""
        if self.tunnel is not None and (count := self.tunnel.messages - self._counted):
            self._counted += count
            self._pool.writer.messages(self._row, count)

    @override
    def _finish(self) -> None:
        if self._is_tunnel and self._row >= 0:
            self.count_messages()
            self.has_parted = self.tunnel is not None and self.tunnel.has_parted
            self._pool.writer.tunnel_ended(self._row)
            self.tunnel = None  # they know each other: a circle, and work for the collector
        super()._finish()

    @override
    def raw(self, data: bytes) -> None:
        """See ``Receiver``."""
        self._downstream.raw(data)

    @override
    def raw_eof(self) -> None:
        """See ``Receiver``."""
        self._downstream.raw_eof()

    @override
    def upstream_full(self, *, full: bool) -> None:
        """See ``Receiver``; a client that has sent all of its request has no reason to wait, and may leave."""
        if full and self._request_done and not self._is_tunnel:
            return
        self._upload_held = full
        self._downstream.hold_upload(hold=full)

    def drain_tunnel(self) -> None:
        """Both sides have ended; what is still to be sent to the backend has the time of a body that pauses."""
        self.deadline = self._service.clock() + self._pace.idle_s

    def hold_response(self, *, hold: bool) -> None:
        """Stop or go on reading from the backend: the client takes no more, or takes more again."""
        connection = self.connection
        if connection is None or connection.transport.is_closing():
            return
        self._response_held = hold
        if self.responded and not self._is_tunnel:
            self.deadline = self._service.clock() + self._pace.idle_s
        if hold:
            connection.transport.pause_reading()
        else:
            connection.transport.resume_reading()

    def abort(self, failure: Failure | None = Failure.CLIENT_GONE) -> None:
        """Give the attempt up at once, and hold nothing against the backend: mostly, the client is gone.

        ``failure``: what the client reads instead; None: it is another who answers, since this one was taken back.
        """
        if self._waits:
            self._waits = False
            self._pool.stop_waiting(self)
        elif self._connecting:
            self._pool.upstreams[self._row].stop_connecting(self)
        self._tap_in()
        self._drop_connection()
        self._finish()
        if self.tap is not None:
            self.tap.aborted(failure)

    @override
    def check_deadline(self, now: float) -> None:
        """Called by the worker's ticker."""
        overall_s = self._pool.timeouts.overall_s
        if overall_s and not self.responded and now >= (self._since or self._began) + overall_s:
            self._run_out_of_time(now)
            return
        if now < self.deadline or self._connecting or self._waits:
            return
        if not self._is_backends_turn and not self.responded:
            return  # it is the client that is slow, and its own deadline comes first
        self._drop_connection()
        if self.responded:
            self.failed(Failure.CLIENT_GONE if self._response_held else Failure.IDLE_TIMEOUT)
        else:
            self.failed(Failure.RESPONSE_TIMEOUT)

    @property
    def _is_backends_turn(self) -> bool:
        """Whether it is the backend that keeps us waiting for a head."""
        return self._request_done or self._upload_held or self._awaits_continue

    def _run_out_of_time(self, now: float) -> None:
        """No head within all the time there is. A backend that had the whole of it has failed, others were but slow."""
        if self.connection is not None and self._is_backends_turn:
            if self._since:
                self._pool.writer.outlasted(self._row, now - self._began, now)
            else:
                self._blame(Failure.RESPONSE_TIMEOUT, Failure.OVERALL_TIMEOUT.text, now)
                self._pool.writer.fail(self._row, now - self._began, now)
        self.abort(Failure.OVERALL_TIMEOUT)
        self._downstream.refuse(Failure.OVERALL_TIMEOUT)
