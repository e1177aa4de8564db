"""Probes by an HTTP request: the status decides, and a part of the body where one is expected.

httpx is used below its client, at the transport: without a cookie jar, redirects, proxies from the environment or a
netrc by construction. Its timeouts are per operation, so the probe's one deadline is not among them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

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


class Question:
    """One request, as it was configured."""

    def __init__(
        self,
        backend: Backend,
        check: HealthCheck,
        transport: httpx.AsyncBaseTransport,
        *,
        server_name: str | None,
        accept: str,
    ) -> None:
        address = backend.address
        self._method = check.method
        self._transport = transport
        self._url = httpx.URL(
            scheme="https" if address.tls else "http",
            host=address.host or "localhost",
            port=address.port or None,
        )
        defaults = {"User-Agent": USER_AGENT, "Accept": accept}
        self._headers = [*own_headers(backend, check, defaults), ("Connection", "close")]
        # The path goes out as it was configured: httpx would tidy it. The deadline is ours; httpx' timeouts, per
        # operation, come later and are for an exchange that did not heed it.
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), check.timeout_s * 2)
        self._extensions = {"target": check.path.encode(), "sni_hostname": server_name, "timeout": timeouts}

    @asynccontextmanager
    async def answer(self, progress: Progress) -> AsyncIterator[httpx.Response]:
        """The head of the answer; what follows it can be read until the end of the block."""
        extensions = {**self._extensions, "trace": progress.trace}
        request = httpx.Request(self._method, self._url, headers=self._headers, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        try:
            progress.answered(response.status_code, "its body did not end")
            if (stream := response.extensions.get("network_stream")) is not None:
                progress.expires_days = expires_days(stream)
            yield response
        finally:
            await response.aclose()


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
        finding = self._judged(response.status_code, body)
        progress.found(heed(finding, response.headers.get(STATE_FIELD), response.headers.get(WEIGHT_FIELD)))

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


async def _read(response: httpx.Response) -> bytes:
    """The body, to our bound."""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MAX_BODY_BYTES:
            break
    return bytes(body[:MAX_BODY_BYTES])
