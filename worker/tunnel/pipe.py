"""Bytes both ways once a backend has switched protocols: any Upgrade (RFC 9110 §7.8) that nobody here can read.

Nothing is decoded or encoded again. Each direction ends on its own; the tunnel ends with both. ``WebSocketTunnel``
knows more of what passes.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from typing_extensions import override

from sidecar.contract.config import Timeouts
from worker.failure import Failure
from worker.lane import Home

NEVER = float("inf")


class Passage(Protocol):
    """The exchange that has become a tunnel, and keeps its accounts."""

    @property
    def timeouts(self) -> Timeouts:
        """Those of its pool."""

    def hold_response(self, *, hold: bool) -> None:
        """Stop or go on reading from the backend."""

    def drain_tunnel(self) -> None:
        """Both sides have ended; what is still to be sent to the backend is sent."""

    def abort(self) -> None:
        """Give the backend's connection up, and end."""

    def count_messages(self) -> None:
        """Put on the board what has passed since the last time."""


class Tunnel(asyncio.Protocol):
    """Two transports that have become one pipe; takes the client's over from the protocol that served it."""

    __slots__ = (
        "_backend", "_backend_done", "_client_done", "_gone", "_passage", "_service", "client", "deadline",
    )  # fmt: skip

    def __init__(
        self,
        service: Home,
        passage: Passage,
        client: asyncio.Transport,
        backend: asyncio.Transport,
        gone: Callable[[Exception | None], None],
    ) -> None:
        """Join them.

        Args:
            service: the worker.
            passage: what the backend's bytes come through; it calls ``cut`` when the backend's connection is gone.
            client, backend: where bytes go.
            gone: told when the client's connection is gone.
        """
        self._service = service
        self._passage: Passage | None = passage
        self.client = client
        self._backend = backend
        self._gone = gone
        self._client_done = self._backend_done = False
        self.deadline = NEVER
        service.clients.add(self)
        client.set_protocol(self)
        FarEnd(self, backend)

    @property
    def messages(self) -> int:
        """How many have passed; none that we know of."""
        return 0

    @property
    def has_parted(self) -> bool:
        """Whether either end has said that it sends no more, before its connection was gone."""
        return self._client_done or self._backend_done

    @override
    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._backend.write(data)

    def begin(self, early: bytes, first: bytes) -> None:
        """Pass on what came with the two heads, from the client and from the backend."""
        if first:
            self.from_backend(first)
        if early:
            self.data_received(early)

    def from_backend(self, data: bytes) -> None:
        """Bytes for the client."""
        self.client.write(data)

    @override
    def eof_received(self) -> bool:
        """The client sends no more."""
        self._client_done = True
        if self._backend_done or not self._backend.can_write_eof():
            self._close()
        elif not self._backend.is_closing():
            self._backend.write_eof()
        return not self.client.is_closing()

    def backend_eof(self) -> None:
        """The backend sends no more."""
        self._backend_done = True
        if self._client_done:
            self._close()
        elif not self.client.is_closing():
            self.client.write_eof()

    def _close(self) -> None:
        """End both, each after what it still has to send."""
        self._backend.close()
        if self._backend_done:
            self.client.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and with it the backend's connection, once that has sent what it had to."""
        self._service.clients.discard(self)
        self._gone(exc)
        passage, self._passage = self._passage, None
        if passage is None:
            return
        if self._client_done and self._backend_done and exc is None:
            passage.drain_tunnel()
        else:
            passage.abort()

    def cut(self, failure: Failure) -> None:  # noqa: ARG002 - who cannot read what passes has no words for it
        """The backend's connection is gone: close the client's once it has taken what is written."""
        self._passage = None
        self._close_client()

    def _close_client(self) -> None:
        self.deadline = self._service.coarse.now + self._service.listen.body_idle_s
        self.client.close()

    def drain(self) -> None:
        """The worker or the backend wants it to end: only the two ends know when it may."""

    @override
    def pause_writing(self) -> None:
        """The client takes no more: the backend has to wait."""
        if self._passage is not None:
            self._passage.hold_response(hold=True)

    @override
    def resume_writing(self) -> None:
        """The client takes more again."""
        if self._passage is not None:
            self._passage.hold_response(hold=False)

    @property
    def is_flushing(self) -> bool:
        """See ``Client``."""
        return self._passage is None and self.client.get_write_buffer_size() > 0

    def check_deadline(self, now: float) -> None:
        """See ``Client``."""
        if now >= self.deadline:
            self.client.abort()

    def end(self) -> None:
        """See ``Client``."""
        self.client.abort()


class FarEnd(asyncio.Protocol):
    """The backend's protocol from then on: bytes go straight to the tunnel, all else to whoever owns the connection."""

    __slots__ = ("_owner", "_tunnel")

    def __init__(self, tunnel: Tunnel, backend: asyncio.Transport) -> None:
        """Take the backend's transport over from the protocol that owns it."""
        owner = backend.get_protocol()
        assert isinstance(owner, asyncio.Protocol)  # noqa: S101 - it is a connection of ours
        self._tunnel = tunnel
        self._owner = owner
        backend.set_protocol(self)

    @override
    def data_received(self, data: bytes) -> None:
        """Bytes for the client."""
        self._tunnel.from_backend(data)

    @override
    def eof_received(self) -> bool | None:
        """See ``UpstreamConnection``; so are the others."""
        return self._owner.eof_received()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self._owner.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._owner.resume_writing()
