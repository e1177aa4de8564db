"""The way to a backend for the probes that are not made of requests, by the same steps and with the same errors."""

import ssl
from datetime import UTC, datetime

import httpcore

from sidecar.contract.model import Address
from sidecar.probe.certificate import days_left
from sidecar.probe.result import Progress


class Dial:
    """How one backend is reached: TCP or a unix socket, and TLS where there is a context for it."""

    def __init__(self, address: Address, context: ssl.SSLContext | None, server_name: str | None) -> None:
        self._address = address
        self._context = context
        self._server_name = server_name or address.host
        self._network = httpcore.AnyIOBackend()

    async def __call__(self, progress: Progress) -> httpcore.AsyncNetworkStream:
        """A connection, which belongs to the progress. Has no deadline of its own."""
        if self._address.path:
            stream = await self._network.connect_unix_socket(self._address.path)
        else:
            stream = await self._network.connect_tcp(self._address.host, self._address.port)
        progress.connected(stream)
        if self._context is None:
            return stream
        progress.missing = "no TLS handshake"
        stream = await stream.start_tls(self._context, self._server_name)
        progress.missing = "no answer"
        progress.expires_days = expires_days(stream)
        return stream


def expires_days(stream: httpcore.AsyncNetworkStream) -> int | None:
    """For how many days the backend's certificate is valid; None without TLS, or where it cannot be read."""
    tls: ssl.SSLObject | None = stream.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if certificate is None:
        return None
    try:
        return days_left(certificate, datetime.now(UTC))
    except ValueError:
        return None
