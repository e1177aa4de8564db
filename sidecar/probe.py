"""One probe of one backend over HTTP: a fresh connection, one request, a result in words for people.

A sick backend is a value, never a raise. Connections are not reused, since accepting one is part of being well.
httpx is used below its client, at the transport: without a cookie jar, redirects, proxies from the environment or a
netrc by construction. Its timeouts are per operation, so one deadline of our own covers the whole probe.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from sidecar.contract.config import HealthCheck, UpstreamTLS
from sidecar.contract.model import Backend
from sidecar.verdict import Evidence

MAX_BODY_BYTES = 65_536
"""A probe reads no more than this; what is longer passes unread."""
MAX_REASON_CHARS = 200
LATE_MS = 250.0
"""A deadline noticed so much after its time was noticed by a process that was starved or stopped: the answer may have
been there for long. Held against the backends it would take down all of them, just when the machine is busiest."""
NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)
USER_AGENT = b"sidebeat-probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult(Evidence):
    """What a probe found, and what it took. None: it failed before that point.

    ``connect_ms`` ends with the connection (before a TLS handshake), ``ttfb_ms`` with the response head, ``total_ms``
    with the probe. Where ``is_void`` it says nothing of the backend, since we were late ourselves.
    """

    total_ms: float
    is_void: bool = False
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    status: int | None = None


class _Closable(Protocol):
    async def aclose(self) -> None: ...


@dataclass(slots=True)
class _Progress:
    """How far a probe got; times are milliseconds from its start."""

    started: float = field(default_factory=time.monotonic)
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    status: int | None = None
    connection: _Closable | None = None
    is_complete: bool = False
    error: Exception | None = None

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.started) * 1000

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore at each step."""
        if name in ("connection.connect_tcp.complete", "connection.connect_unix_socket.complete"):
            self.connect_ms, self.connection = self.elapsed_ms(), info["return_value"]

    def result(self, *, passed: bool, reason: str, refused: bool = False, is_void: bool = False) -> ProbeResult:
        return ProbeResult(
            passed=passed,
            reason=" ".join(reason.split())[:MAX_REASON_CHARS],
            refused=refused,
            is_void=is_void,
            total_ms=self.elapsed_ms(),
            connect_ms=self.connect_ms,
            ttfb_ms=self.ttfb_ms,
            status=self.status,
        )


class HttpProbe:
    """How one backend is probed; made once, called for each probe."""

    def __init__(
        self, backend: Backend, check: HealthCheck, tls: UpstreamTLS, transport: httpx.AsyncBaseTransport
    ) -> None:
        self._check = check
        self._ranges = check.status_ranges
        self._is_lenient = check.model_fields_set.isdisjoint({"path", "expected_statuses"})
        self._address = address = backend.address
        self._transport = transport
        self._url = httpx.URL(
            scheme="https" if address.tls else "http",
            host=address.host or "localhost",
            port=address.port or None,
        )
        self._headers = [
            (b"Host", address.authority.encode()),
            (b"User-Agent", USER_AGENT),
            (b"Accept", b"*/*"),
            (b"Connection", b"close"),
        ]
        # The path goes out as it was configured: httpx would tidy it. The deadline is ours; httpx' timeouts, per
        # operation, come later and are for an exchange that did not heed it.
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), check.timeout_s * 2)
        self._extensions = {"target": check.path.encode(), "sni_hostname": tls.server_name, "timeout": timeouts}

    async def __call__(self) -> ProbeResult:
        """Probe once. Takes no longer than the check's timeout; never raises but for cancellation."""
        progress = _Progress()
        try:
            async with asyncio.timeout(self._check.timeout_s), asyncio.TaskGroup() as tasks:
                # In a task of its own: below httpx, anyio keeps count of the cancellations of the task it runs in. A
                # miscount (its issue 1214 was one) must not end a backend's probing unseen, or keep it from ending.
                tasks.create_task(self._exchange(progress))
        except TimeoutError:
            return self._late(progress)
        if progress.error is not None:
            return self._failed(progress, progress.error)
        if not progress.is_complete:
            return progress.result(passed=False, reason="the probe was cancelled", is_void=True)
        return self._judged(progress)

    async def _exchange(self, progress: _Progress) -> None:
        request = httpx.Request(
            self._check.method,
            self._url,
            headers=self._headers,
            extensions={**self._extensions, "trace": progress.trace},
        )
        try:
            response = await self._transport.handle_async_request(request)
            progress.ttfb_ms, progress.status = progress.elapsed_ms(), response.status_code
            await _read(response)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this backend's result and not our end
            progress.error = error
        else:
            progress.is_complete = True
        finally:
            if progress.connection is not None and not progress.is_complete:
                # httpcore forgets a connection when its TLS handshake is cancelled.
                with suppress(OSError):
                    await progress.connection.aclose()

    def _judged(self, progress: _Progress) -> ProbeResult:
        """The answer came in time: its status decides."""
        status = progress.status or 0
        passed = any(low <= status <= high for low, high in self._ranges)
        if passed and self._is_lenient and status >= 400:
            reason = f"HTTP {status} (any answer below 500 passes: no path is configured)"
        elif passed or self._is_lenient:
            reason = f"HTTP {status}"
        else:
            reason = f"HTTP {status}, not {self._check.expected_statuses}"
        return progress.result(passed=passed, reason=reason)

    def _late(self, progress: _Progress) -> ProbeResult:
        timeout_s = self._check.timeout_s
        if progress.status is not None:
            reason = f"HTTP {progress.status}, but its body did not end within {timeout_s} s"
        elif progress.connect_ms is not None:
            reason = f"no answer within {timeout_s} s"
        else:
            reason = f"no connection within {timeout_s} s"
        late_ms = progress.elapsed_ms() - timeout_s * 1000
        if is_void := late_ms > LATE_MS:
            reason += f"; does not count, since the monitor was {late_ms / 1000:.1f} s late itself"
        return progress.result(passed=False, reason=reason, is_void=is_void)

    def _failed(self, progress: _Progress, error: Exception) -> ProbeResult:
        causes = list(_leaves(error))
        if all(isinstance(cause, FileNotFoundError) for cause in causes):
            return progress.result(passed=False, reason=f"no socket at {self._address.path}", refused=True)
        if all(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return progress.result(passed=False, reason="connection refused", refused=True)
        if progress.status is not None:
            return progress.result(passed=False, reason=f"HTTP {progress.status}, but its body broke off")
        return progress.result(passed=False, reason=self._reason(error, causes[0]))

    def _reason(self, error: Exception, cause: BaseException) -> str:
        if isinstance(error, httpx.RemoteProtocolError):
            is_silent = "disconnected" in str(error)
            return "connection closed without an answer" if is_silent else f"not an HTTP answer: {error}"
        match cause:
            case ssl.SSLError():
                told: str = getattr(cause, "verify_message", None) or cause.reason or str(cause)
                return f"TLS: {told.replace('_', ' ').lower()}"
            case socket.gaierror():
                return f"the name {self._address.host} is not known"
            case ConnectionResetError() | BrokenPipeError():
                return "connection reset"
            case OSError():
                return (cause.strerror or str(cause)).lower()
            case _:
                return f"{type(cause).__name__}: {cause}"


class Prober:
    """Makes probes, and owns what they share: a transport for each way to connect, an SSL context for each TLS table.

    Making a context costs 20 ms of CPU, so it may not happen per probe.
    """

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._transports: dict[tuple[str, str], httpx.AsyncHTTPTransport] = {}

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def http_probe(self, backend: Backend, check: HealthCheck, tls: UpstreamTLS) -> HttpProbe:
        """The probe of one backend.

        Raises:
            OSError: a file of the TLS table cannot be read or used (``ssl.SSLError`` is one).
        """
        told = tls.model_dump_json() if backend.address.tls else ""
        key = (told, backend.address.path)
        if key not in self._transports:
            self._transports[key] = transport = httpx.AsyncHTTPTransport(
                verify=tls_context(tls) if told else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=False,
                limits=NO_LIMITS,
                uds=backend.address.path or None,
            )
            self._stack.push_async_callback(transport.aclose)
        return HttpProbe(backend, check, tls, self._transports[key])


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


async def _read(response: httpx.Response) -> None:
    """The body, to our bound; closes the connection."""
    try:
        size = 0
        async for part in response.aiter_raw():
            if (size := size + len(part)) > MAX_BODY_BYTES:
                return
    finally:
        await response.aclose()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What really happened: the ends of the cause chains, since httpx always says "All connection attempts failed".

    A name with several addresses fails with a group of errors.
    """
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    elif (cause := error.__cause__ or error.__context__) is not None:
        yield from _leaves(cause)
    else:
        yield error
