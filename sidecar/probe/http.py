"""Probes by an HTTP request: the status decides, and a part of the body where one is expected.

httpcore is what lies below httpx: without a cookie jar, redirects, proxies from the environment or a netrc by
construction, and without the 50 ms (measured) that httpx takes to be imported. Its timeouts are per operation, so the
probe's one deadline is not among them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import httpcore

from sidecar.contract.config import HealthCheck
from sidecar.contract.model import Backend
from sidecar.probe.advertised import STATE_FIELD, WEIGHT_FIELD, heed
from sidecar.probe.dial import expires_days
from sidecar.probe.result import Progress
from sidecar.verdict import Evidence

MAX_BODY_BYTES = 65_536
"""A probe reads no more than this; what is longer passes unread."""
USER_AGENT = "sidebeat-probe"
_SHOWN_CHARS = 40


_HAVE_A_BODY = ("POST", "PUT", "PATCH")
"""Of these some servers want to be told that there is none (RFC 9110 §8.6)."""


class Transport(Protocol):
    """What brings a request to a backend."""

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """The head of the answer, with its body to be read as a stream.

        Raises:
            httpcore.RemoteProtocolError: what came is no answer.
        """


class Question:
    """One request, as it was configured."""

    def __init__(
        self,
        backend: Backend,
        check: HealthCheck,
        transport: Transport,
        *,
        server_name: str | None,
        accept: str,
    ) -> None:
        self._address = backend.address
        self._method, self._path = check.method, check.path
        self._transport = transport
        defaults = {"User-Agent": USER_AGENT, "Accept": accept}
        if check.method in _HAVE_A_BODY:
            defaults["Content-Length"] = "0"
        self._headers = [*own_headers(backend, check, defaults), ("Connection", "close")]
        # The deadline is ours; httpcore's timeouts, per operation, come later and are for an exchange that did not
        # heed it.
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), check.timeout_s * 2)
        self._extensions = {"sni_hostname": server_name, "timeout": timeouts}

    @asynccontextmanager
    async def answer(self, progress: Progress) -> AsyncIterator[httpcore.Response]:
        """The head of the answer; what follows it can be read until the end of the block."""
        extensions = {**self._extensions, "trace": progress.trace}
        request = httpcore.Request(self._method, self._url(), headers=self._headers, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        try:
            progress.answered(response.status, "its body did not end")
            if (stream := response.extensions.get("network_stream")) is not None:
                progress.expires_days = expires_days(stream)
            yield response
        finally:
            await response.aclose()

    def _url(self) -> httpcore.URL:
        """The path goes out as it was configured."""
        address = self._address
        scheme, host = "https" if address.tls else "http", address.host or "localhost"
        return httpcore.URL(scheme=scheme, host=host, port=address.port or None, target=self._path)


class HttpExchange:
    """Well is who answers with an expected status, and an expected body where there is one."""

    def __init__(self, question: Question, check: HealthCheck) -> None:
        self._question = question
        self._expected_statuses = check.expected_statuses
        self._ranges = check.status_ranges
        self._is_lenient = check.is_lenient
        self._expected_body = check.expected_body

    async def __call__(self, progress: Progress) -> None:
        """Ask, and read the whole answer."""
        async with self._question.answer(progress) as response:
            body = await _read(response)
        finding = self._judged(response.status, body)
        progress.found(heed(finding, value_of(response, STATE_FIELD), value_of(response, WEIGHT_FIELD)))

    def _judged(self, status: int, body: bytes) -> Evidence:
        passed = any(low <= status <= high for low, high in self._ranges)
        if passed and self._is_lenient and status >= 400:
            reason = f"HTTP {status} (any answer below 500 passes: no path is configured)"
        elif passed and self._expected_body is not None and self._expected_body.encode() not in body:
            passed, reason = False, f"HTTP {status}, but {self._expected_body[:_SHOWN_CHARS]!r} is not in its body"
        elif passed or self._is_lenient:
            reason = f"HTTP {status}"
        else:
            reason = f"HTTP {status}, not {self._expected_statuses}"
        return Evidence(passed=passed, answered=True, reason=reason)


def own_headers(backend: Backend, check: HealthCheck, defaults: dict[str, str]) -> list[tuple[str, str]]:
    """Host, the defaults that the config does not replace, and the config's own."""
    replaced = {name.lower() for name in check.headers}
    kept = [(name, value) for name, value in defaults.items() if name.lower() not in replaced]
    return [("Host", check.host or backend.address.authority), *kept, *check.headers.items()]


def value_of(response: httpcore.Response, field: str) -> str | None:
    """What a field says, all of its lines joined; None where it did not come. ``field`` is in lower case."""
    lines = [value for name, value in response.headers if name.lower() == field.encode()]
    return b", ".join(lines).decode("latin-1") if lines else None


async def _read(response: httpcore.Response) -> bytes:
    """The body, to our bound."""
    body = bytearray()
    async for part in response.aiter_stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            break
    return bytes(body[:MAX_BODY_BYTES])
