"""The attempts at getting one request answered: whom to ask, what to send, and what a failure means.

One after the other, each at another backend while there is one, until the first response byte or the end of patience.
What passes through an attempt that has begun to succeed is the exchange's.
"""

from typing_extensions import override

from sidecar.contract.model import Backend
from worker.access import Tried
from worker.affinity import Wish
from worker.answer import Fields
from worker.failure import CROWDED, Failure, Stage
from worker.headers import Peer, request_head
from worker.http1 import RequestHead
from worker.lane import Downstream, Ongoing, Pace, Service
from worker.outlier import is_hard
from worker.pool import Pool
from worker.retry import IDEMPOTENT
from worker.route import Destination
from worker.upstream import UpstreamConnection
from worker.upstream.connection import Receiver


class Attempts(Receiver, Ongoing):
    """A request on its way to a response. ``Exchange`` is made of it, and is what connections talk to."""

    # Defaults on the class, not slots: most exchanges leave most of these as they are.
    backend: Backend | None = None
    connection: UpstreamConnection | None = None
    responded = drains = False
    deadline = 0.0
    story: tuple[Tried, ...] = ()
    _row = -1
    _wish: Wish | None = None
    _tried: tuple[int, ...] = ()
    _began = 0.0
    _since = 0.0  # when the first of several attempts began
    _waits = False
    _connecting = False
    _parting: UpstreamConnection | None = None  # what the attempt was given up with, until it is left
    _connect_failures = 0
    _other_failures = 0
    _is_canary = False
    _met_stale = False
    _was_bad = False
    _pieces: list[bytes | memoryview] | None = None
    _upload_size = 0
    _upload_held = False
    _awaits_continue = False
    _is_tunnel = False
    _ends_later = False

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
        self._pace: Pace = pool
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
        if pool.affinity is not None:
            self._wish = pool.affinity.wish(head, target, peer)

    @property
    @override
    def pool(self) -> Pool:
        """See ``Ongoing``."""
        return self._pool

    @property
    @override
    def is_tunnel(self) -> bool:
        """See ``Ongoing``."""
        return self._is_tunnel

    def start(self) -> None:
        """Pick a backend and send the request to it; also for each further attempt."""
        service = self._service
        self._began = now = service.clock()
        candidate = self._pool.take(self._tried, now, self._repeatable and self._pieces is None, self._wish)
        if candidate is None:
            self._wait()
            return
        if self._waits:
            self._waits = False
            self._let_upload()
        service.active.add(self)
        self._row = row = candidate.row
        self.backend = candidate.backend
        if candidate.is_canary:
            self._is_canary = True
        connection = self._pool.upstreams[row].take()
        if connection is None:
            self._connect()
        else:
            self._send(connection)
            if self._tried:
                self._let_upload()

    def _wait(self) -> None:
        """Wait for a place at a backend, where there is any that may have one; ``start`` is called again then."""
        self._since = self._since or self._began
        refusal = self._pool.refusal(self)
        if refusal is not None:
            self._give_up(refusal)
        elif not self._waits:
            self._waits = True
            self._service.active.add(self)
            if not self._request_done:
                self._downstream.hold_upload(hold=True)

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
        data = self.message(self.backend)
        if self._pieces:
            data = b"".join((data, *self._pieces))
        self.deadline = self._began + self._pace.try_s
        to_head = self._head.method == b"HEAD"
        connection.send(self, data, self._service.outbox, to_head=to_head, complete=self._request_done)
        if self._pieces is not None:
            self._forget_pieces()

    def message(self, backend: Backend | None) -> bytes:
        """The head of the request as this backend is to see it."""
        head = self._head
        is_plain = self._destination.host_header == "preserve" and self._host is None and head.host
        host = None if is_plain else self._host_field(backend)
        return request_head(head, self._target, self._peer, self._service.via, host)

    def _host_field(self, backend: Backend | None) -> bytes | None:
        """What Host is to say to that backend, None where the client's stands."""
        wish = self._destination.host_header
        if wish == "preserve":
            return self._host if self._host is not None or self._head.host else _authority(backend)
        return _authority(backend) if wish == "upstream" else wish.encode()

    def _forget_pieces(self) -> None:
        """Keep the body only while it may be sent again."""
        if not self._repeatable or self._upload_size > self._pool.replay_bytes:
            self._pieces = None
            self._repeatable = False

    @override
    def failed(self, failure: Failure) -> None:
        """See ``Receiver`` and ``Connecting``."""
        self._connecting = self._waits = False
        connection, self.connection = self.connection, None
        self._parting = connection or self._parting  # which a deadline has dropped already
        if self.responded:
            if failure.blames_backend and not self._is_tunnel:  # how a tunnel ends is for its two ends to judge
                self._fail_late(failure, self._service.clock())
            self._give_up(failure)
        elif not failure.blames_backend:
            self._give_up(failure)
        elif failure is Failure.RESET and connection and connection.reused and connection.silent:
            self._met_closed(self._service.clock())
        else:
            now = self._service.clock()
            is_fresh = self._request_done and not (connection and connection.reused)
            self._blame(failure, failure.text, now, is_hard=is_hard(failure, fresh=is_fresh))
            if not self._retries(failure, now):
                self._give_up(failure)

    def _fail_late(self, failure: Failure, now: float) -> None:
        """The response broke off after it had been passed on, and counted for what its status said."""
        if not self._was_bad:  # else it has failed already
            self._pool.writer.fail(self._row, 0.0, now)
            self._pool.passive.blame(self._row, failure, now, failure.text, answered=True)

    def _met_closed(self, now: float) -> None:
        """The backend closed an idle connection while our request was on its way: no fault of either (not counted).

        Once it is another's turn, for if it was the backend that died, its other connections went at the same time, and
        all who waited on them would call there; then, or where there is no other, it is a fresh connection. It is so at
        once for one that belongs to this backend: an idle connection may close at any time, and must not part them.
        """
        if not self._can_repeat():
            if not self._retries(Failure.RESET, now):
                self._give_up(Failure.RESET)
            return
        row = self._row
        before, avoiding = self._tried, (*self._tried, row)
        self._upload_held = False
        self._pool.upstreams[row].close_idle(now)
        belongs = self._wish is not None
        if belongs or self._met_stale or self._is_canary or not self._pool.has_untried(avoiding, now):
            self._connect()
            return
        self._met_stale = True
        self._leave()
        self._since = self._since or self._began
        self._tried = avoiding
        self.start()
        self._tried = before  # it has not failed, and may yet be the one that answers

    def _blame(self, failure: Failure, words: str, now: float, *, is_hard: bool = False, pause_s: float = 0.0) -> None:
        """Hold a failure before the response against the backend."""
        passive = self._pool.passive
        if self._is_canary:
            self._is_canary = False
            passive.canary_failed(self._row, now, words, pause_s)
        passive.blame(self._row, failure, now, words, is_hard=is_hard, pause_s=pause_s)

    def _canary_succeeded(self, status: int, now: float) -> None:
        self._is_canary = False
        self._pool.passive.canary_succeeded(self._row, now, f"status {status}")

    def said(self, failure: Failure) -> Fields:  # noqa: ARG002 - for those who say more
        """What an answer of ours says beside that failure, where its reader may know more."""
        return ()

    def _give_up(self, failure: Failure) -> None:
        """End the exchange; the client reads an error of ours, or sees that the rest does not come."""
        self._waits = False
        self._finish()
        if self.responded:
            self._downstream.cut(failure)
        elif failure in CROWDED:
            self._downstream.refuse(failure, self._pool.retry_after_s(self._service.clock()))
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
        pool = self._pool
        allowed = (
            pool.has_untried(tried, now)
            and pool.rules.allows(
                failure,
                repeatable=self._can_repeat(),
                connect_failures=self._connect_failures,
                other_failures=self._other_failures,
            )
            and pool.allowance.may_retry(now)
        )
        if failure is Failure.GATEWAY_ERROR and not allowed:
            return False
        pool.writer.fail(row, now - self._began, now)
        if not allowed:
            return False
        self._drop_connection()
        self._leave()
        self._note(failure.text, now)
        self.backend = None
        pool.writer.retry(row, failure)
        self._since = self._since or self._began
        self._upload_held = self._was_bad = False
        self._tried = tried
        self.start()
        return True

    def _note(self, why: str, now: float) -> None:
        """For the story: the attempt has come to nothing, and it is another's turn."""
        if self.backend is not None:
            self.story = (*self.story, Tried(self.backend.id, why, now))

    def _drop_connection(self) -> None:
        if self.connection is not None:
            self._parting = self.connection
            self.connection.abort()
            self.connection = None

    def _leave(self) -> None:
        """The attempt is over; what it had of the backend is free once a connection that was given up is closed."""
        row, self._row = self._row, -1
        if self._parting is None:
            self._pool.leave(row)
        else:
            parting, self._parting = self._parting, None
            self._pool.part(row, parting)

    def _finish(self) -> None:
        """The attempt is over, and with it the exchange."""
        if self._row >= 0:
            if self._is_canary:
                self._is_canary = False
                self._pool.passive.canary_left(self._row)
            if self._ends_later:
                self._pool.writer.finish(self._row, self._service.clock() - self._began)
            self._leave()
        self._service.active.discard(self)


def _authority(backend: Backend | None) -> bytes:
    assert backend is not None  # noqa: S101 - a request is sent to a backend
    return backend.address.authority.encode()
