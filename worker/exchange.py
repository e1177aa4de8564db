"""One request between a client side and upstream connections: attempts, retries, deadlines, accounts.

Both lanes drive this one class; what differs between them is the ``Downstream`` they put in front. Nothing here is
awaited: callbacks come from the client's side and from the connection, and each call does what it must and returns.
"""

from sidecar.contract.model import Backend
from worker.bodies import encode_chunks
from worker.failure import Failure, Stage
from worker.headers import Peer, request_head, upgrade_of
from worker.http1 import CHUNKED, RequestHead, ResponseHead
from worker.lane import Downstream, Service
from worker.pool import Pool
from worker.retry import GATEWAY_ERRORS, IDEMPOTENT
from worker.route import Destination
from worker.upstream import UpstreamConnection

NEVER = float("inf")
"""The deadline of what may take its time."""


class Exchange:
    """A request, from its head to the last byte of its response."""

    # Defaults on the class, not slots: most exchanges leave most of these as they are.
    backend: Backend | None = None
    connection: UpstreamConnection | None = None
    responded = False
    deadline = 0.0
    _row = -1
    _tried: tuple[int, ...] = ()
    _began = 0.0
    _connecting = False
    _connect_failures = 0
    _other_failures = 0
    _pieces: list[bytes | memoryview] | None = None
    _upload_size = 0
    _upload_held = False
    _response_held = False
    _awaits_continue = False
    _is_tunnel = False

    def __init__(
        self,
        service: Service,
        pool: Pool,
        destination: Destination,
        head: RequestHead,
        target: bytes,
        authority: bytes | None,
        peer: Peer,
        downstream: Downstream,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            service: the worker.
            pool: where the request goes.
            destination: how its head changes on the way.
            head: as read.
            target: in origin form, prefix taken off.
            authority: what the target said where it came in absolute form; it replaces Host (RFC 9112 §3.2.2).
            peer: who sent it.
            downstream: who gets the answer.
        """
        self._service = service
        self._pool = pool
        self._destination = destination
        self._head = head
        self._target = target
        self._host = authority
        self._peer = peer
        self._downstream = downstream
        self._request_done = head.length == 0
        if head.length:
            self._pieces = []
            self._awaits_continue = b"expect" in head.special
        self._repeatable = head.method in IDEMPOTENT or b"idempotency-key" in head.special

    def start(self) -> None:
        """Pick a backend and send the request to it; also for each further attempt."""
        service = self._service
        now = service.clock()
        candidate = self._pool.pick(self._tried, now)
        if candidate is None:
            service.active.discard(self)
            self._downstream.refuse(Failure.NO_BACKEND)
            return
        service.active.add(self)
        self._row = row = candidate.row
        self.backend = candidate.backend
        self._began = now
        self._pool.writer.begin(row)
        connection = self._pool.upstreams[row].take()
        if connection is None:
            self._connect()
        else:
            self._send(connection)
            if self._tried:
                self._let_upload()

    def _connect(self) -> None:
        """Wait for a new connection, which has a deadline of its own; a body not yet read is not read before that."""
        self._connecting = True
        if not self._request_done:
            self._downstream.hold_upload(hold=True)
        self._pool.upstreams[self._row].connect(self)

    def connected(self, connection: UpstreamConnection) -> None:
        """See ``Connecting``."""
        self._connecting = False
        self._send(connection)
        self._let_upload()

    def _let_upload(self) -> None:
        """Let the client go on where an attempt that is over made it wait, unless this one has to do so, too."""
        if not self._upload_held:
            self._downstream.hold_upload(hold=False)

    def _send(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        head = self._head
        is_plain = self._destination.host_header == "preserve" and self._host is None and head.host
        host = None if is_plain else self._host_field()
        data = request_head(head, self._target, self._peer, self._service.via, host)
        if self._pieces:
            data = b"".join((data, *self._pieces))
        self.deadline = self._began + self._pool.timeouts.response_headers_s
        connection.send(self, data, self._service.outbox, to_head=head.method == b"HEAD", complete=self._request_done)
        if self._pieces is not None:
            self._forget_pieces()

    def _host_field(self) -> bytes | None:
        """What Host is to say, None where the client's stands."""
        wish = self._destination.host_header
        if wish == "preserve":
            return self._host if self._host is not None or self._head.host else self._authority()
        return self._authority() if wish == "upstream" else wish.encode()

    def _authority(self) -> bytes:
        assert self.backend is not None  # noqa: S101 - a request is sent to a backend
        return self.backend.address.authority.encode()

    def _forget_pieces(self) -> None:
        """Keep the body only while it may be sent again."""
        if not self._repeatable or self._upload_size > self._pool.replay_bytes:
            self._pieces = None
            self._repeatable = False

    def upload(self, data: bytes | memoryview, trailers: bytes, *, done: bool) -> None:
        """More of the request's body, without framing; ``done`` with the last of it."""
        self._upload_size += len(data)
        if 0 < self._service.listen.max_body_bytes < self._upload_size:
            self.abort()
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
        timeouts = self._pool.timeouts
        self.deadline = self._service.clock() + (timeouts.idle_s if self.responded else timeouts.response_headers_s)
        if self._pieces is not None:
            self._forget_pieces()

    def response(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        now = self._service.clock()
        if done:
            self.connection = None
        if head.status not in GATEWAY_ERRORS:
            self._pool.writer.answer(self._row, head.status, now - self._began, now)
        elif not self._accepts_error(head.status, now):
            return
        self.responded = True
        if done:
            self._finish()
        else:
            self._pieces = None
            self.deadline = now + self._pool.timeouts.idle_s
        self._downstream.respond(head, body, done=done)

    def _accepts_error(self, status: int, now: float) -> bool:
        """Whether an answer that says the backend could not do it is to be passed on, and no other attempt made."""
        if status in self._pool.rules.gateway_errors and self._retries(Failure.GATEWAY_ERROR, now):
            return False
        self._pool.writer.status(self._row, status)
        self._pool.writer.fail(self._row, now - self._began, now)
        return True

    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        if done:
            self.connection = None
            self._finish()
        else:
            self.deadline = self._service.clock() + self._pool.timeouts.idle_s
        self._downstream.body(data, trailers, done=done)

    def informational(self, head: ResponseHead) -> None:
        """See ``Receiver``."""
        if head.status == 100:
            self._awaits_continue = False
        self._downstream.informational(head)

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Receiver``; a switch that nobody asked for is no response."""
        if not upgrade_of(self._head):
            self._drop_connection()
            self.failed(Failure.BAD_RESPONSE)
            return
        now = self._service.clock()
        self._pool.writer.answer(self._row, head.status, now - self._began, now)
        self.responded = self._is_tunnel = True
        self.deadline = NEVER
        self._downstream.switched(head, data)

    def raw(self, data: bytes) -> None:
        """See ``Receiver``."""
        self._downstream.raw(data)

    def raw_eof(self) -> None:
        """See ``Receiver``."""
        self._downstream.raw_eof()

    def upstream_full(self, *, full: bool) -> None:
        """See ``Receiver``; a client that has sent all of its request has no reason to wait, and may leave."""
        if full and self._request_done and not self._is_tunnel:
            return
        self._upload_held = full
        self._downstream.hold_upload(hold=full)

    def drain_tunnel(self) -> None:
        """Both sides have ended; what is still to be sent to the backend has the time of a body that pauses."""
        self.deadline = self._service.clock() + self._pool.timeouts.idle_s

    def hold_response(self, *, hold: bool) -> None:
        """Stop or go on reading from the backend: the client takes no more, or takes more again."""
        connection = self.connection
        if connection is None or connection.transport.is_closing():
            return
        self._response_held = hold
        if self.responded and not self._is_tunnel:
            self.deadline = self._service.clock() + self._pool.timeouts.idle_s
        if hold:
            connection.transport.pause_reading()
        else:
            connection.transport.resume_reading()

    def failed(self, failure: Failure) -> None:
        """See ``Receiver`` and ``Connecting``."""
        self._connecting = False
        connection, self.connection = self.connection, None
        if self.responded:
            if failure.blames_backend and not self._is_tunnel:  # how a tunnel ends is for its two ends to judge
                self._pool.writer.fail(self._row, 0.0, self._service.clock())
            self._give_up(failure)
        elif failure is Failure.RESET and connection and connection.reused and connection.silent and self._can_repeat():
            # The backend closed an idle connection while our request was on its way: no fault of either (not counted).
            now = self._service.clock()
            self._upload_held = False
            self._pool.upstreams[self._row].close_idle(now)
            self._connect()
        elif not failure.blames_backend or not self._retries(failure, self._service.clock()):
            self._give_up(failure)

    def _give_up(self, failure: Failure) -> None:
        """End the exchange; the client reads an error of ours, or sees that the rest does not come."""
        self._finish()
        if self.responded:
            self._downstream.cut(failure)
        else:
            self._downstream.refuse(failure)

    def _can_repeat(self) -> bool:
        """Whether what was sent may be sent again, and is still at hand."""
        return self._repeatable and (self._head.length == 0 or self._pieces is not None)

    def _retries(self, failure: Failure, now: float) -> bool:
        """Make another attempt if the rules allow one, and say whether they did."""
        if failure.stage is Stage.CONNECT:
            self._connect_failures += 1
        else:
            self._other_failures += 1
        row = self._row
        tried = (*self._tried, row)
        allowed = self._pool.has_untried(tried) and self._pool.rules.allows(
            failure,
            repeatable=self._can_repeat(),
            connect_failures=self._connect_failures,
            other_failures=self._other_failures,
        )
        if failure is Failure.GATEWAY_ERROR and not allowed:
            return False
        self._pool.writer.fail(row, now - self._began, now)
        if not allowed:
            return False
        self._drop_connection()
        self._pool.writer.end(row)
        self._pool.writer.retry(row)
        self._row = -1
        self._upload_held = False
        self._tried = tried
        self.start()
        return True

    def abort(self) -> None:
        """The client is gone: give the attempt up at once, and hold nothing against the backend."""
        if self._connecting:
            self._pool.upstreams[self._row].stop_connecting(self)
        self._drop_connection()
        self._finish()

    def check_deadline(self, now: float) -> None:
        """Called by the worker's ticker."""
        if now < self.deadline or self._connecting:
            return
        is_backends_turn = self._request_done or self._upload_held or self._awaits_continue
        if not is_backends_turn and not self.responded:
            return  # it is the client that is slow, and its own deadline comes first
        self._drop_connection()
        if self.responded:
            self.failed(Failure.CLIENT_GONE if self._response_held else Failure.IDLE_TIMEOUT)
        else:
            self.failed(Failure.RESPONSE_TIMEOUT)

    def _drop_connection(self) -> None:
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def _finish(self) -> None:
        """The attempt is over, and with it the exchange."""
        if self._row >= 0:
            self._pool.writer.end(self._row)
            self._row = -1
        self._service.active.discard(self)
