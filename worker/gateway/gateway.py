"""The ASGI lane: the same exchange as an ASGI callable, for users' own apps and for other servers.

A request that is answered at once costs no task; only one that takes longer gets a watcher for its client's leaving.
Under our own server all of that is spared where the app has changed nothing: see ``Shortcut``.
"""

import asyncio

from worker.gateway.peers import Peers
from worker.gateway.request import RequestSide
from worker.gateway.scope import Receive, Scope, Send, shortcut_of
from worker.gateway.watch import Watch
from worker.gateway.websocket import WebSocketSide
from worker.lane import Home


class Gateway:
    """An ASGI 3 application that forwards every HTTP request and every WebSocket."""

    def __init__(self, service: Home) -> None:
        self._service = service
        self._peer = Peers(service).of
        self._watch = Watch()
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
        self._watch.later(side)
        try:
            await side.run()
        finally:
            self._watch.over(side)
