"""Who looks on while requests pass: for the access log, and for traces.

An exchange that has its answer in one piece tells of it itself. For any other a ``Tap`` stands between it and its
client's side, in either lane, and what that notes on the way becomes one entry at the end; a request that is traced has
one from the start. Where nobody wants to know, a request pays for one look at ``Service.observer``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from sidecar.contract.config import ConfigError, Log
from sidecar.contract.tracing import shut_down, tracer_of
from worker.access import COMPLETE, AccessLog, Ended, Entry, Noted
from worker.between import Between
from worker.failure import CLIENT_CLOSED_REQUEST, STATUS, Failure
from worker.headers import Peer, client_of, trust_in
from worker.http1 import RequestHead, ResponseHead
from worker.lane import Downstream, Tapped

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

MAX_CLIENT_BYTES = 64
"""Of an address: what a proxy says may be anything."""


class Span(Protocol):
    """A request that is recorded; ``head`` is the one to send. ``worker.trace`` has the real one."""

    head: RequestHead

    def end(self, entry: Entry) -> None:
        """It is over, and this is what became of it."""


class Tracer(Protocol):
    """Begins spans."""

    def begin(self, head: RequestHead, peer: Peer, client: bytes) -> Span | None:
        """A request has come from this client; None where it is not recorded."""


class Observer:
    """See ``lane.Observer``."""

    def __init__(self, provider: "TracerProvider | None") -> None:
        """``provider``: of spans, where there are to be any. It belongs to this one from now on."""
        self._provider = provider
        self._tracer = _tracer_of(provider)
        self.is_tracing = self._tracer is not None
        self.tap: Callable[[RequestHead, Peer, Downstream, float], Tap] = partial(Tap, self)  # see ``lane.Observer``
        if self.is_tracing:
            self.tap = self._recorded
        self._access: AccessLog | None = None
        self._log = Log()
        self.note: Callable[[Noted], None] = _nobody  # what a request was, at its end
        self._trusts: Callable[[str], bool] = trust_in(())

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to be written down."""
        return self._access is not None or self._tracer is not None

    def use(self, log: Log, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        """Go on like this, also with what is under way; ``trusted`` are the proxies that we believe.

        Raises:
            ConfigError: a file cannot be opened; nothing has changed then.
        """
        if log != self._log:
            try:
                access = AccessLog.of(log)
            except OSError as error:
                raise ConfigError([f"log.file: {log.file}: {error.strerror or error}"]) from error
            self._close_access()
            self._access, self._log = access, log
            self.note = _nobody if access is None else access.add
        self._trusts = trust_in(trusted)

    def _recorded(self, head: RequestHead, peer: Peer, downstream: Downstream, began: float) -> "Tap":
        """A tap with a span, where the tracer wants one."""
        assert self._tracer is not None  # noqa: S101 - or nobody calls
        span = self._tracer.begin(head, peer, self.client(head, peer))
        return Tap(self, head if span is None else span.head, peer, downstream, began, span)

    def turned_away(self, head: RequestHead, peer: Peer, failure: Failure) -> None:
        """See ``lane.Observer``; no span: nothing was forwarded."""
        client, status = self.client(head, peer), STATUS[failure]
        self.note((monotonic(), head, client, status, 0, 0, 0.0, None, "", "", (), failure.text, COMPLETE, None))

    def client(self, head: RequestHead, peer: Peer) -> bytes:
        """Whose request it is, through the proxies that we trust."""
        return client_of(self._trusts, head, peer)[:MAX_CLIENT_BYTES] if peer.trusted else peer.address

    def reopen(self) -> None:
        """Log files were moved away."""
        if self._access is not None:
            self._access.reopen()

    def _close_access(self) -> None:
        """Write what is left of the access log; whatever comes later is not in it."""
        if self._access is not None:
            self._access.close()
            self._access, self.note = None, _nobody

    def close(self) -> None:
        """Write what is left, and look on no more."""
        self._close_access()
        if self._provider is not None:
            shut_down(self._provider)
            self._provider = None


class Tap(Between):
    """See ``lane.Tap``; calls are passed on first, and noted then."""

    __slots__ = ("_began", "_down", "_observer", "_peer", "_span", "_status", "_ttfb_s", "exchange", "head")

    def __init__(
        self,
        observer: Observer,
        head: RequestHead,
        peer: Peer,
        downstream: Downstream,
        began: float,
        span: Span | None = None,
    ) -> None:
        super().__init__(downstream)
        self._began = began
        self._observer = observer
        self.head = head
        self._peer = peer
        self._span = span
        self.exchange: Tapped | None = None
        self._status = self._down = 0
        self._ttfb_s: float | None = None

    @override
    def respond(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        self._ttfb_s = took_s = monotonic() - self._began
        self._status = head.status
        self._down = len(body)
        self._downstream.respond(head, body, done=done)
        if done:
            self._end(COMPLETE, "", took_s)

    @override
    def body(self, data: bytes, trailers: bytes, *, done: bool) -> None:
        self._down += len(data)
        self._downstream.body(data, trailers, done=done)
        if done:
            self._end(COMPLETE)

    @override
    def refuse(self, failure: Failure, retry_s: int = 1) -> None:
        self._downstream.refuse(failure, retry_s)
        self._refused(failure)

    @override
    def cut(self, failure: Failure) -> None:
        self._downstream.cut(failure)
        self._broke_off(failure)

    @override
    def switched(self, head: ResponseHead, data: bytes) -> None:
        self._ttfb_s = monotonic() - self._began
        self._status = head.status
        self._downstream.switched(head, data)

    def aborted(self, failure: Failure | None) -> None:
        """See ``lane.Tap``."""
        if failure is None:
            self._end(Ended.WITHDRAWN)
        elif self._status or failure is Failure.CLIENT_GONE:
            self._broke_off(failure)
        else:
            self._refused(failure)

    def _refused(self, failure: Failure) -> None:
        self._status = STATUS[failure]
        self._end(COMPLETE, failure.text)

    def _broke_off(self, failure: Failure) -> None:
        """For a tunnel it is the usual end, when the two have said goodbye."""
        if self.exchange is not None and self.exchange.has_parted:
            self._end(COMPLETE)
        elif failure is Failure.CLIENT_GONE:
            self._status = self._status or CLIENT_CLOSED_REQUEST
            self._end(Ended.CLIENT_GONE)
        else:
            self._end(Ended.CUT, failure.text)

    def _end(self, ended: Ended, failure: str = "", duration_s: float | None = None) -> None:
        """It is over; nothing that follows is noted any more."""
        exchange = self.exchange
        if exchange is None:
            return
        self.exchange = exchange.tap = None  # they know each other: a circle, and work for the collector
        head, peer, backend, began, observer = self.head, self._peer, exchange.backend, self._began, self._observer
        duration_s = monotonic() - began if duration_s is None else duration_s
        said: Noted = (
            began + duration_s,
            head,
            observer.client(head, peer) if peer.trusted else peer.address,
            self._status,
            exchange.upload_size if head.length else 0,
            self._down,
            duration_s,
            self._ttfb_s,
            exchange.pool.name,
            "" if backend is None else backend.id,
            exchange.story,
            failure,
            ended,
            exchange.messages if self._status == 101 else None,
        )
        if self._span is not None:
            self._span.end(Entry._make(said))
        observer.note(said)


def _nobody(noted: Noted) -> None:
    """Where there is no access log."""


def _tracer_of(provider: "TracerProvider | None") -> Tracer | None:
    """What makes spans, which is imported only then."""
    if provider is None:
        return None
    from worker.trace import Tracer as SdkTracer

    return SdkTracer(tracer_of(provider))
