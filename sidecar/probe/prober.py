"""Makes the probes of a pool, by the type that its health check names."""

import ssl
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import httpcore

from sidecar.contract.config import HealthCheck, UpstreamTLS
from sidecar.contract.model import Backend
from sidecar.probe.connect import TcpExchange, TlsExchange
from sidecar.probe.dial import Dial
from sidecar.probe.http import HttpExchange, Question
from sidecar.probe.sse import MEDIA_TYPE, SseExchange
from sidecar.probe.timed import Exchange, TimedProbe
from sidecar.probe.websocket import WebSocketExchange

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class Prober:
    """Makes probes, and owns what they share: a transport for each backend, an SSL context for each TLS table.

    Making a context costs 20 ms of CPU, so it may not happen per probe. A transport looks through all of its requests
    under way at each begin and end of one: with 200 backends on one, a crowded loop spent a fifth of its time on that.
    """

    def __init__(self, tracer: "Tracer | None" = None) -> None:
        """``tracer``: for a span of each probe, where there are to be any."""
        self._tracer = tracer
        self._stack = AsyncExitStack()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._transports: dict[tuple[str, str, str], httpcore.AsyncConnectionPool] = {}
        self._plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def probe(self, backend: Backend, check: HealthCheck, tls: UpstreamTLS) -> TimedProbe:
        """The probe of one backend.

        Raises:
            OSError: a file of the TLS table cannot be read or used (``ssl.SSLError`` is one).
        """
        exchange = self._exchange(backend, check, tls)
        if self._tracer is None:
            return TimedProbe(exchange, backend.address, check.timeout_s)
        from sidecar.probe.traced import TracedProbe

        return TracedProbe(exchange, backend, check, self._tracer)

    def _exchange(self, backend: Backend, check: HealthCheck, tls: UpstreamTLS) -> Exchange:
        match check.type:
            case "http":
                return HttpExchange(self._question(backend, check, tls, accept="*/*"), check)
            case "sse":
                return SseExchange(self._question(backend, check, tls, accept=MEDIA_TYPE))
            case "websocket":
                return WebSocketExchange(self._dial(backend, tls), backend, check)
            case "tls":
                return TlsExchange(self._dial(backend, tls))
            case "tcp":
                return TcpExchange(Dial(backend.address, None, None))

    def _dial(self, backend: Backend, tls: UpstreamTLS) -> Dial:
        return Dial(backend.address, self._context(tls) if backend.address.tls else None, tls.server_name)

    def _question(self, backend: Backend, check: HealthCheck, tls: UpstreamTLS, *, accept: str) -> Question:
        transport = self._transport(backend, tls)
        return Question(backend, check, transport, server_name=tls.server_name, accept=accept)

    def _transport(self, backend: Backend, tls: UpstreamTLS) -> httpcore.AsyncConnectionPool:
        told = tls.model_dump_json() if backend.address.tls else ""
        key = (told, backend.address.path, backend.id)
        if key not in self._transports:
            self._transports[key] = transport = httpcore.AsyncConnectionPool(
                ssl_context=self._context(tls) if told else self._plain,
                max_connections=None,
                max_keepalive_connections=0,
                uds=backend.address.path or None,
            )
            self._stack.push_async_callback(transport.aclose)
        return self._transports[key]

    def _context(self, tls: UpstreamTLS) -> ssl.SSLContext:
        told = tls.model_dump_json()
        if told not in self._contexts:
            self._contexts[told] = tls_context(tls)
        return self._contexts[told]


def tls_context(tls: UpstreamTLS) -> ssl.SSLContext:
    """How https backends are trusted: the system's authorities where the table names none.

    Raises:
        OSError: a file cannot be read or used.
    """
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
