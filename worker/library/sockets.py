"""``proxy_pass_websocket``: the backend is asked first, and what it says, yes or no, is what the client hears."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from fastapi import WebSocketException
from starlette.websockets import WebSocket, WebSocketState
from typing_extensions import override

from worker.answer import Fields
from worker.dispatch import check_forwardable
from worker.failure import Failure, Refused
from worker.gateway.leg import Leg
from worker.gateway.scope import Message, Scope, handshake_of
from worker.gateway.websocket import WebSocketSide
from worker.headers import Peer
from worker.library.call import FOREVER, Call, Changes, Headers, Patience
from worker.library.client import client_of, engine_of
from worker.library.draft import authorized, way_to
from worker.library.engine import Engine
from worker.library.target import Target, request_target, target_of
from worker.pool import Pool
from worker.tunnel.websocket import REASONS, Code


class GatewaySocketError(WebSocketException):
    """A WebSocket that nobody answered: close code 1011. The client has not been told anything yet."""

    def __init__(self, failure: Failure) -> None:
        """``failure`` says why."""
        super().__init__(Code.INTERNAL, f"Bad Gateway: {failure.text}")
        self.failure = failure


async def proxy_pass_websocket(
    websocket: WebSocket,
    host: str,
    path: str | None = None,
    subprotocols: Sequence[str] | None = None,
    forward_query: bool = True,  # noqa: FBT001, FBT002 - fastapi-reverse-proxy's signature
    additional_headers: Headers | None = None,
    override_headers: Headers | None = None,
    timeout: float | None = 10.0,
    *,
    override_host: str | None = None,
) -> None:
    """Forward a WebSocket to ``host``, until both ends have closed.

    The client's subprotocols are offered to the backend, and the client is accepted with the backend's choice. Close
    codes and reasons go both ways; a backend that refuses the handshake is heard by the client with its own status.
    A client that the app has accepted already can only be closed, with 1008.

    Args:
        websocket: FastAPI's or Starlette's.
        host, path, forward_query, additional_headers, override_headers, override_host: as in ``proxy_pass``.
        subprotocols: offered in place of the client's.
        timeout: seconds for connecting, and as many for the handshake; None: for ever.

    Raises:
        GatewaySocketError: no backend answered; another one may still be tried.
        ValueError: ``host`` cannot be read.
    """
    changes = Changes(
        path=path,
        forward_query=forward_query,
        additional_headers=additional_headers,
        override_headers=override_headers,
        override_host=override_host,
    )
    target = target_of(host)
    engine = engine_of(client_of(websocket.scope))
    await forward_websocket(engine, engine.origin(target.origin), websocket, target, changes, subprotocols, timeout)


async def forward_websocket(
    engine: Engine,
    pool: Pool,
    websocket: WebSocket,
    target: Target,
    changes: Changes,
    subprotocols: Sequence[str] | None,
    timeout: float | None,
) -> None:
    """``proxy_pass_websocket`` to whomever the pool picks.

    Raises:
        GatewaySocketError: no backend answered.
    """
    each = FOREVER if timeout is None else timeout
    patience = Patience(connect_s=each, try_s=each, idle_s=FOREVER)
    side = _Side(engine, pool, websocket, target, changes, subprotocols, patience)
    try:
        await side.run()
    except asyncio.CancelledError:
        if websocket.application_state is WebSocketState.CONNECTED:
            with suppress(Exception):  # who cancels us has closed it, or never will
                await websocket.close(Code.RESTART, REASONS[Code.RESTART])
        raise
    if side.failure is not None:
        raise GatewaySocketError(side.failure)


class _Side(WebSocketSide):
    """The client's side. ``failure`` is why nobody answered; None: somebody did, or the client left."""

    failure: Failure | None = None
    _has_asked = False

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        websocket: WebSocket,
        target: Target,
        changes: Changes,
        subprotocols: Sequence[str] | None,
        patience: Patience,
    ) -> None:
        scope = websocket.scope
        known = engine.peers.of(scope)
        super().__init__(engine, engine.loop, changes.peer(known), scope, self._next, websocket.send)
        self._websocket = websocket
        self._ready = asyncio.Event()
        self._is_accepted = websocket.application_state is WebSocketState.CONNECTED
        self._engine, self._pool, self._patience = engine, pool, patience
        self._offer = list(subprotocols or scope.get("subprotocols") or ())
        self._asked = _scope_of(scope, target, changes, known)
        self._override_host = changes.override_host

    @override
    def _begin(self) -> None:
        self._leg = Leg(self._offer, self._service.listen.max_message_bytes)
        try:
            self._head = handshake_of(self._asked, self._service.listen, self._leg.request_fields)
            check_forwardable(self._service, self._head)
            destination, host = way_to(self._override_host)
        except Refused as refused:
            self._refuse(refused.failure, b"")
            return
        exchange = Call(self._engine, self._pool, destination, self._head, self._peer, self, self._patience, host)
        self._exchange = exchange
        exchange.start()

    async def _next(self) -> Message:
        """``receive`` from the client's wish to connect on, which somebody before us may have had, and granted."""
        if not self._has_asked:
            self._has_asked = True
            if self._websocket.client_state is not WebSocketState.CONNECTING:
                return {"type": "websocket.connect"}
        elif self._is_accepted:
            await self._ready.wait()  # a backend that is not there yet would not hear what it says
        return await self._websocket.receive()

    @override
    def _put(self, message: Message) -> None:
        """See ``Side``; a client is accepted once."""
        if self._is_accepted and message["type"] == "websocket.accept":
            self._ready.set()
        else:
            super()._put(message)

    @property
    @override
    def _can_answer(self) -> bool:
        """See ``WebSocketSide``; once it is accepted, a client can only be closed."""
        return not self._is_accepted and super()._can_answer

    @override
    def _refuse(self, failure: Failure, fields: bytes, retry_s: int = 1, said: Fields = ()) -> None:
        """Nobody is told: the caller may try elsewhere."""
        self.failure = failure
        self._over = True
        self._tell()


def _scope_of(scope: Scope, target: Target, changes: Changes, known: Peer) -> Scope:
    """The handshake as it is to be sent, but for what our leg has to say in it."""
    asked = request_target(scope, target.base, changes.path, forward_query=changes.forward_query)
    path, _, query = asked.partition(b"?")
    fields = authorized(changes.fields(scope, known, keep_framing=False), target)
    return {**scope, "raw_path": path, "query_string": query, "headers": fields}
