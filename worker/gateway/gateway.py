"""The ASGI lane: the same exchange as an ASGI callable, for users' own apps and for other servers.

A request that is answered at once costs no task; only one that takes longer than ``PATIENCE_S`` gets a watcher for its
client's leaving. Under our own server all of that is spared where the app has changed nothing: see ``Shortcut``.
"""

import asyncio

from worker.gateway.request import RequestSide
from worker.gateway.scope import Receive, Scope, Send, shortcut_of
from worker.gateway.websocket import WebSocketSide
from worker.headers import Peer, is_trusted
from worker.lane import Home

PATIENCE_S = 0.02
"""How long a request runs before its client's leaving is watched for: a task for each would cost more than it does."""
MAX_PEERS = 1_024
HTTP_SCHEMES = {"ws": "http", "wss": "https"}
"""What X-Forwarded-Proto says of a WebSocket, which is asked for by HTTP; the direct lane says it too."""


class Gateway:
    """An ASGI 3 application that forwards every HTTP request and every WebSocket."""

    def __init__(self, service: Home) -> None:
        self._service = service
        self._waiting: set[RequestSide] = set()
        self._listen = service.listen
        self._peers: dict[tuple[str, int, str], Peer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request.

        Raises:
            ValueError: it is no request at all.
        """
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            raise ValueError(f"the gateway forwards http and websocket, not {kind}")
        shortcut = shortcut_of(scope)
        if shortcut is not None and shortcut.can_forward(scope, receive, send):
            await shortcut.forward()
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # asks for the process id each time, which is a syscall
        if kind == "websocket":
            await WebSocketSide(self._service, self._loop, self._peer(scope), scope, receive, send).run()
            return
        side = RequestSide(self._service, self._loop, self._peer(scope), scope, receive, send)
        self._watch_later(side)
        try:
            await side.run()
        finally:
            self._waiting.discard(side)

    def _peer(self, scope: Scope) -> Peer:
        """Who sent it. Kept, since the same few clients and proxies send most requests."""
        client, server = scope.get("client"), scope.get("server")
        scheme: str = scope.get("scheme", "http")
        port = (server[1] or 0) if server else 0
        who = (client[0] if client else "", port, HTTP_SCHEMES.get(scheme, scheme))
        if self._listen is not self._service.listen:  # a reload may have changed whom we trust
            self._listen = self._service.listen
            self._peers.clear()
        peer = self._peers.get(who)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self._peers.clear()
            address, port, scheme = who
            trusted = is_trusted(address, self._service.listen.trusted_proxies)
            peer = self._peers[who] = Peer(address=address, port=port, scheme=scheme, trusted=trusted)
        return peer

    def _watch_later(self, side: "RequestSide") -> None:
        """Have a request watched if it is still under way in a moment; one timer serves all of them."""
        self._waiting.add(side)
        if self._timer is None:
            self._timer = side.loop.call_later(PATIENCE_S, self._start_watching)

    def _start_watching(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, set()
        for side in waiting:
            side.watch()
