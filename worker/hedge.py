"""A GET that takes long is asked of a second backend as well; the first response head wins.

Dean and Barroso, *The Tail at Scale* (2013). Only where the route says so, once for each request, after a time within
which most requests of the pool are answered, and within a budget. The loser is dropped without blame; but that it was
slow counts, since else a backend would be known by those of its answers alone that somebody waited for.

While both are under way ``Hedged`` is the receiver of the first attempt and ``Hedge`` of the second; whichever fails
leaves the field to the other. A hedge that has won passes on what comes.
"""

import asyncio

from typing_extensions import override

from sidecar.contract.model import Backend
from worker.access import Tried
from worker.allowance import NEVER_S
from worker.exchange import Exchange
from worker.failure import Failure
from worker.headers import request_head, upgrade_of
from worker.http1 import RequestHead, ResponseHead
from worker.lane import Service
from worker.outlier import is_hard, pause_s
from worker.pool import Pool
from worker.upstream import UpstreamConnection
from worker.upstream.connection import Receiver
from worker.upstream.queue import Connecting
from worker.view import Candidate

OUTLASTED = "outlasted"
"""Why an attempt came to nothing that another one beat."""


def may_hedge(head: RequestHead) -> bool:
    """Whether a request is one that may be asked twice at the same time."""
    return head.method == b"GET" and head.length == 0 and not upgrade_of(head)


class Hedged(Exchange):
    """An exchange that makes a second attempt beside the first if that is slow."""

    _hedge: "Hedge | None" = None
    _timer: asyncio.TimerHandle | None = None
    _was_hedged = False

    @override
    def start(self) -> None:
        """See ``Attempts``."""
        super().start()
        self._stop_watching()
        if self._row < 0 or self._was_hedged or self._is_canary or self._belongs:
            return
        after_s = self._pool.allowance.hedge_after_s(self._began)
        if after_s < NEVER_S:
            self._timer = self._pool.loop.call_later(after_s, self._overdue)

    @property
    def _belongs(self) -> bool:
        """Whether it is at the backend that its visitor is to stay with, whom a faster answer would take away."""
        return self._wish is not None and self._wish.row == self._row

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        """Most others would have been answered by now: ask a second backend, if there is one and we can afford it."""
        self._timer = None
        pool, now = self._pool, self._service.clock()
        has_begun = self.connection is not None and not self.connection.silent
        avoiding = (*self._tried, self._row)
        if has_begun or not pool.has_untried(avoiding, now) or not pool.allowance.may_hedge(now):
            return
        candidate = pool.take(avoiding, now, safe=False, wish=self._wish)
        if candidate is None:
            return
        if candidate.row in avoiding:
            pool.leave(candidate.row)  # the others have no place, and asking the same one again helps nobody
            return
        pool.writer.hedge(candidate.row)
        host = self._host_field(candidate.backend)
        message = request_head(self._head, self._target, self._peer, self._service.via, host)
        self._was_hedged = True
        self._hedge = Hedge(self, self._service, pool, candidate, message, now)
        self._hedge.start()

    @override
    def response(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        super().response(head, body, done=done)
        if self.responded:
            self._decided()

    @override
    def informational(self, head: ResponseHead) -> None:
        """See ``Receiver``; whose interim response is passed on has won."""
        self._decided()
        super().informational(head)

    @override
    def failed(self, failure: Failure) -> None:
        """See ``Receiver`` and ``Connecting``; who waited in vain for a connection leaves the field, too."""
        if self._hedge is not None and not failure.blames_backend:
            self._connecting = False
            self._tried = (*self._tried, self._row)
            self._hand_over(self._hedge, failure.text)
        else:
            super().failed(failure)

    @override
    def _met_closed(self, now: float) -> None:
        if self._hedge is None:
            super()._met_closed(now)
            return
        self._pool.upstreams[self._row].close_idle(now)
        self._hand_over(self._hedge, Failure.RESET.text)

    @override
    def _retries(self, failure: Failure, now: float) -> bool:
        """See ``Attempts``; a hedge under way is the next attempt, and costs no retry."""
        if self._hedge is None:
            return super()._retries(failure, now)
        self._pool.writer.fail(self._row, now - self._began, now)
        self._drop_connection()
        self._tried = (*self._tried, self._row)
        self._hand_over(self._hedge, failure.text)
        return True

    def hedge_answered(self, hedge: "Hedge", now: float) -> None:
        """The second attempt has won: it is the only one from now on."""
        if self._connecting:
            self._pool.upstreams[self._row].stop_connecting(self)
            self._connecting = False
        self._drop_connection()
        self._pool.writer.outlasted(self._row, now - self._began, now)
        self._hand_over(hedge, OUTLASTED)

    def hedge_failed(self, hedge: "Hedge", why: str) -> None:
        """The second attempt is over, and left nothing behind: the first goes on alone."""
        self._hedge = None
        self._tried = (*self._tried, hedge.row)
        self.story = (*self.story, Tried(hedge.backend.id, why, self._service.clock()))

    def _hand_over(self, hedge: "Hedge", why: str) -> None:
        """Leave the first attempt, which is over for this reason, and go on with the second."""
        self._hedge = None
        self._stop_watching()
        self._leave()
        self._note(why, self._service.clock())
        self._since = self._since or self._began
        self._row, self.backend, self._began = hedge.row, hedge.backend, hedge.began
        self._upload_held = self._was_bad = False
        if hedge.stop_connecting():
            self._connect()
        else:
            hedge.has_won = True
            self.connection = hedge.connection
            self.deadline = hedge.deadline

    def _decided(self) -> None:
        """Nobody waits for the second attempt any more."""
        self._stop_watching()
        hedge, self._hedge = self._hedge, None
        if hedge is not None:
            now = self._service.clock()
            self.story = (*self.story, Tried(hedge.backend.id, OUTLASTED, now))
            hedge.drop(now)

    @override
    def check_deadline(self, now: float) -> None:
        """See ``Exchange``."""
        if self._hedge is not None:
            self._hedge.check_deadline(now)
        super().check_deadline(now)

    @override
    def _finish(self) -> None:
        self._decided()
        super()._finish()


class Hedge(Receiver, Connecting):
    """The second attempt of a ``Hedged`` exchange.

    ``connection`` is None while it connects, and where a response has ended; ``deadline`` is monotonic.
    """

    __slots__ = ("_exchange", "_is_connecting", "_message", "_pool", "_service", "backend", "began", "connection",
                 "deadline", "has_won", "row")  # fmt: skip

    def __init__(
        self, exchange: Hedged, service: Service, pool: Pool, candidate: Candidate, message: bytes, now: float
    ) -> None:
        """Prepare; ``start`` begins. The attempt has begun on the board, and ``message`` is all of the request."""
        self._exchange = exchange
        self._service = service
        self._pool = pool
        self._message = message
        self._is_connecting = False
        self.row = candidate.row
        self.backend: Backend = candidate.backend
        self.began = now
        self.deadline = now + pool.try_s
        self.connection: UpstreamConnection | None = None
        self.has_won = False

    def start(self) -> None:
        """Send the request, over a new connection where none rests."""
        connection = self._pool.upstreams[self.row].take()
        if connection is None:
            self._connect()
        else:
            self._send(connection)

    def _connect(self) -> None:
        self._is_connecting = True
        self._pool.upstreams[self.row].connect(self)

    @override
    def connected(self, connection: UpstreamConnection) -> None:
        """See ``Connecting``."""
        self._is_connecting = False
        self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        connection.send(self, self._message, self._service.outbox, to_head=False, complete=True)

    @override
    def response(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        if not self.has_won:
            if done:
                self.connection = None
            if head.status in self._pool.rules.gateway_errors:
                asked_s = pause_s(head.status, head.fields)
                self._lose(Failure.GATEWAY_ERROR, f"status {head.status}", asked_pause_s=asked_s)
                return
            self._exchange.hedge_answered(self, self._service.clock())
        self._exchange.response(head, body, done=done)

    @override
    def informational(self, head: ResponseHead) -> None:
        """See ``Receiver``."""
        if not self.has_won:
            self._exchange.hedge_answered(self, self._service.clock())
        self._exchange.informational(head)

    @override
    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        """See ``Receiver``."""
        self._exchange.body(data, trailers, done=done)

    @override
    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Receiver``; nobody asked for that."""
        if self.has_won:
            self._exchange.switched(head, data)
        else:
            self._lose(Failure.BAD_RESPONSE, Failure.BAD_RESPONSE.text)

    @override
    def raw(self, data: bytes) -> None:
        """See ``Receiver``; what was not switched has none."""

    @override
    def raw_eof(self) -> None:
        """See ``Receiver``; the same."""

    @override
    def upstream_full(self, *, full: bool) -> None:
        """See ``Receiver``; the request is short, and all of it is sent."""

    @override
    def failed(self, failure: Failure) -> None:
        """See ``Receiver`` and ``Connecting``."""
        self._is_connecting = False
        if self.has_won:
            self._exchange.failed(failure)
            return
        connection = self.connection
        if failure is Failure.RESET and connection and connection.reused and connection.silent:
            self._pool.upstreams[self.row].close_idle(self._service.clock())
            self.connection = None
            self._connect()  # the backend closed a connection at rest, which is no fault (see ``Attempts``)
        else:
            self._lose(failure, failure.text, hard=is_hard(failure, fresh=not (connection and connection.reused)))

    def _lose(self, failure: Failure, words: str, *, hard: bool = False, asked_pause_s: float = 0.0) -> None:
        """Leave the request to the first attempt; what is held against the backend is what always is."""
        now = self._service.clock()
        self._exchange.hedge_failed(self, failure.text)
        self._leave()
        if failure.blames_backend:
            self._pool.passive.blame(self.row, failure, now, words, is_hard=hard, pause_s=asked_pause_s)
            self._pool.writer.fail(self.row, now - self.began, now)

    def drop(self, now: float) -> None:
        """The other one has won, or nobody is there to answer: end, without blame."""
        self.stop_connecting()
        self._leave()
        self._pool.writer.outlasted(self.row, now - self.began, now)

    def _leave(self) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            self._pool.leave(self.row)
        else:
            connection.abort()
            self._pool.part(self.row, connection)

    def stop_connecting(self) -> bool:
        """Wait for a connection no longer; whether it did."""
        was_connecting, self._is_connecting = self._is_connecting, False
        if was_connecting:
            self._pool.upstreams[self.row].stop_connecting(self)
        return was_connecting

    def check_deadline(self, now: float) -> None:
        """Called by the worker's ticker, while nobody has won."""
        if now >= self.deadline and not self._is_connecting:
            self._lose(Failure.RESPONSE_TIMEOUT, Failure.RESPONSE_TIMEOUT.text)
