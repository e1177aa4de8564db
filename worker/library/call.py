"""One call of the library's as an exchange, and what the caller may change of a request on its way."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx
from typing_extensions import override

from worker.exchange import Exchange
from worker.failure import Failure
from worker.gateway.scope import Scope
from worker.headers import QUIET, Peer, named_by
from worker.http1 import RequestHead
from worker.lane import Downstream, Service
from worker.pool import Pool
from worker.route import Destination

FOREVER = float("inf")
HELD_S = 300.0
"""How long a client, or the app, may take nothing of a response, whatever the call's own patience: that is for the
backend. The ``idle_s`` of a pool: a slow client's socket may be full for a minute or two."""
Stage = float | None
Timeout = float | tuple[Stage, Stage, Stage, Stage] | httpx.Timeout | None
"""Seconds for each stage, or httpx's record of one each, or its tuple of them; None: for ever."""
Pair = tuple[bytes, bytes]
Headers = Mapping[Any, Any] | Sequence[tuple[Any, Any]]
"""What callers give as headers: names and values, as text or bytes."""
_OURS = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"upgrade"})
"""What callers do not set: the connection is ours, and its framing; Host has a parameter of its own."""
_FORWARDING = frozenset(
    {
        b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip",
    }
)  # fmt: skip
"""What is said of those before us."""
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
"""With one of these in place of the request's own method, its body stays behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one call waits: for a connection, for the head (``try_s``), and for more of the body (``idle_s``)."""

    connect_s: float
    try_s: float
    idle_s: float


def patience_of(timeout: Timeout) -> Patience:
    """What a caller's ``timeout`` means.

    Raises:
        TypeError: it is none.
    """
    if timeout is None or isinstance(timeout, int | float):
        return _patience(timeout)
    if isinstance(timeout, tuple):
        timeout = httpx.Timeout(timeout)
    elif not isinstance(timeout, httpx.Timeout):
        raise TypeError(f"a timeout is seconds or httpx.Timeout, not {timeout!r}")
    read = FOREVER if timeout.read is None else timeout.read
    return Patience(connect_s=FOREVER if timeout.connect is None else timeout.connect, try_s=read, idle_s=read)


@lru_cache(maxsize=256)
def _patience(timeout: float | None) -> Patience:
    each = FOREVER if timeout is None else timeout
    return Patience(connect_s=each, try_s=each, idle_s=each)


class Call(Exchange):
    """An exchange with deadlines of its own."""

    def __init__(
        self,
        service: Service,
        pool: Pool,
        destination: Destination,
        head: RequestHead,
        peer: Peer,
        downstream: Downstream,
        patience: Patience,
        host: bytes | None = None,
    ) -> None:
        """``host`` is what Host is to say, None: what the destination does. The rest is as ``Exchange`` takes it."""
        super().__init__(service, pool, destination, head, head.target, host, peer, downstream)
        self._patience = self._pace = patience

    @override
    def check_deadline(self, now: float) -> None:
        """See ``Exchange``; connecting has its deadline here, since that of the pool is for all calls."""
        if self._connecting and now >= self._began + self._patience.connect_s:
            self._pool.upstreams[self._row].stop_connecting(self)
            self.failed(Failure.CONNECT_TIMEOUT)
        elif not self._response_held or now >= self.deadline + max(0.0, HELD_S - self._patience.idle_s):
            super().check_deadline(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a caller changes; None leaves the request's own. See ``proxy_pass``."""

    path: str | None = None
    forward_query: bool = True
    additional_headers: Headers | None = None
    override_headers: Headers | None = None
    override_body: bytes | None = None
    content_type: bytes | None = None
    method: str | None = None
    override_host: str | None = None

    @property
    def drops_body(self) -> bool:
        """Whether the request's body is not for the method it is sent with."""
        return self.override_body is None and self.method is not None and self.method.upper() in _BODILESS

    def peer(self, known: Peer) -> Peer:
        """Who sent it, as backends are to hear it: nobody, where headers are final; else this one.

        What the caller says of the client stands as it is, also where the client itself is not believed.
        """
        if self.override_headers is not None:
            return QUIET
        if self.additional_headers is None or not (names := self._forwarding):
            return known
        peer = copy(known)
        peer.trusted, peer.is_told = True, known.is_told or b"x-forwarded-for" in names
        return peer

    @property
    def _forwarding(self) -> set[bytes]:
        """What the caller says of the client."""
        given = self.additional_headers
        return {name.lower() for name, value in _pairs(given or ()) if value is not None} & _FORWARDING

    def fields(self, scope: Scope, known: Peer, *, keep_framing: bool) -> list[Pair]:
        """The fields to send, but for what the engine adds.

        Args:
            scope: the request.
            known: who sent it; of one that is not believed nothing stays beside what the caller says of it.
            keep_framing: the client's own; else it is this record's to say how long the body is.
        """
        if self is UNCHANGED:
            return [pair for pair in scope["headers"] if pair[0] != b"upgrade"]
        override, additional = self.override_headers, self.additional_headers
        fields = _kept(scope["headers"], keep_framing=keep_framing)
        if override is not None:
            fields = [pair for pair in fields if pair[0].lower() in _OURS]
        if override or additional:
            fields = without_named(fields)
            if not known.trusted and self._forwarding:
                fields = [pair for pair in fields if pair[0].lower() not in _FORWARDING]
            fields = _with(_with(fields, override or ()), additional or ())
        if self.override_body is not None:
            fields.append((b"content-length", b"%d" % len(self.override_body)))
            if self.content_type and not any(name.lower() == b"content-type" for name, _ in fields):
                fields.append((b"content-type", self.content_type))
        return fields


UNCHANGED = Changes()
"""Nothing: what most calls ask for."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def _kept(fields: list[Pair], *, keep_framing: bool) -> list[Pair]:
    """The client's fields without what was for the connection to us."""
    if keep_framing:
        return [pair for pair in fields if pair[0] != b"upgrade"]
    return [pair for pair in fields if pair[0] != b"upgrade" and pair[0].lower() not in _FRAMING]


def _with(fields: list[Pair], given: Headers) -> list[Pair]:
    """These fields with the caller's in place of those of the same names."""
    pairs = [pair for pair in _pairs(given) if pair[0].lower() not in _OURS]
    names = {name.lower() for name, _ in pairs}
    kept = [pair for pair in fields if pair[0].lower() not in names]
    return kept + [(name, value) for name, value in pairs if value is not None]


def without_named(fields: list[Pair]) -> list[Pair]:
    """The client's fields without Connection, and without those that it takes along.

    What is added to them afterwards is not the client's to take away (RFC 9110 §7.6.1).
    """
    names = {b"connection"}
    for name, value in fields:
        if name.lower() == b"connection":
            names |= named_by(value)
    return [pair for pair in fields if pair[0].lower() not in names]


def _pairs(headers: Headers) -> list[tuple[bytes, bytes | None]]:
    """As bytes; a value that is None takes the field away."""
    if isinstance(headers, httpx.Headers):
        headers = headers.multi_items()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(_bytes(name), None if value is None else _bytes(value)) for name, value in pairs]


def _bytes(text: object) -> bytes:
    """Text as it stands in a head: latin-1 where it can be (RFC 9110 §5.5), else UTF-8."""
    if isinstance(text, bytes):
        return text
    text = str(text)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
