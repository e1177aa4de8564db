"""Probes by a WebSocket: well is who completes the opening handshake (RFC 6455 §4)."""

import asyncio

import httpcore
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response
from websockets.uri import WebSocketURI

from sidecar.contract.config import HealthCheck
from sidecar.contract.model import Backend
from sidecar.probe.advertised import STATE_FIELD, WEIGHT_FIELD, heed
from sidecar.probe.dial import Dial
from sidecar.probe.http import USER_AGENT, own_headers
from sidecar.probe.result import Progress
from sidecar.verdict import Evidence

CLOSING_S = 0.25
"""How long a backend may take over the closing handshake: it is for its logs, and no part of the finding."""
READ_BYTES = 65_536


class WebSocketExchange:
    """Opens a WebSocket and closes it with 1000."""

    def __init__(self, dial: Dial, backend: Backend, check: HealthCheck) -> None:
        self._dial = dial
        self._uri = WebSocketURI(backend.address.tls, backend.address.host, backend.address.port, check.path, "")
        self._headers = own_headers(backend, check, {"User-Agent": USER_AGENT})

    async def __call__(self, progress: Progress) -> None:
        """Shake hands, twice."""
        stream = await self._dial(progress)
        protocol = ClientProtocol(self._uri)
        protocol.send_request(self._request(protocol))
        await _flush(protocol, stream)
        response = await _response(protocol, stream)
        progress.answered(response.status_code, "the handshake did not end")
        finding = _judged(response, protocol.handshake_exc)
        state, weight = (_joined(response, name) for name in (STATE_FIELD, WEIGHT_FIELD))
        progress.found(heed(finding, state, weight))
        if protocol.handshake_exc is None:
            await _close(protocol, stream)

    def _request(self, protocol: ClientProtocol) -> Request:
        request = protocol.connect()
        del request.headers["Host"]
        for name, value in self._headers:
            request.headers[name] = value
        return request


async def _response(protocol: ClientProtocol, stream: httpcore.AsyncNetworkStream) -> Response:
    """The answer to the handshake, of which the protocol has its opinion.

    Raises:
        InvalidHandshake: there is none, or it is not HTTP.
    """
    while True:
        for event in protocol.events_received():
            if isinstance(event, Response):
                return event
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        if data := await stream.read(READ_BYTES):
            protocol.receive_data(data)
        else:
            protocol.receive_eof()


def _judged(response: Response, trouble: Exception | None) -> Evidence:
    match trouble:
        case None:
            return Evidence(passed=True, answered=True, reason="WebSocket opened")
        case InvalidStatus():
            return Evidence(passed=False, answered=True, reason=f"HTTP {response.status_code}, not 101")
        case _:
            return Evidence(passed=False, answered=True, reason=f"HTTP {response.status_code}, but {trouble}")


def _joined(response: Response, name: str) -> str | None:
    return ", ".join(response.headers.get_all(name)) or None


async def _close(protocol: ClientProtocol, stream: httpcore.AsyncNetworkStream) -> None:
    """Say goodbye, and wait a moment for the answer."""
    async with asyncio.timeout(CLOSING_S):
        protocol.send_close(1000)
        await _flush(protocol, stream)
        while not protocol.close_expected() and (data := await stream.read(READ_BYTES)):
            protocol.receive_data(data)


async def _flush(protocol: ClientProtocol, stream: httpcore.AsyncNetworkStream) -> None:
    """Send what the protocol wants to say; an empty piece is its wish for an end, which the end of the probe is."""
    for data in protocol.data_to_send():
        if data:
            await stream.write(data)
