"""``LoadBalancer``: which backend gets the next request, and the request to it."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from sidecar.contract.config.pools import Policy
from worker.failure import Failure
from worker.library.balancer.backing import Backing
from worker.library.balancer.plain import Fastest, InTurn, Limits
from worker.library.balancer.pooled import Pooled
from worker.library.call import Changes, Headers, Timeout
from worker.library.checker import HealthChecker
from worker.library.checker.targets import origin_of
from worker.library.client import client_of, engine_of, hooks_of, is_foreign
from worker.library.engine import Engine
from worker.library.hooked import Hooks, OnError, OnRequest, OnResponse
from worker.library.problems import NOBODY, GatewayError, error_of
from worker.library.proxying import changes_of, forward, proxy_pass
from worker.library.sockets import GatewaySocketError, forward_websocket, proxy_pass_websocket
from worker.tunnel.websocket import Code


class LoadBalancer:
    """Gives one of several backends, and forwards to it.

    A list of servers is taken in turn. With a ``HealthChecker`` it is whoever answered its latest probe fastest, and
    ``maxrequests`` hold per interval: in this process; over all workers under ``worker.hooks``; over the fleet where
    the checker follows a view. A ``policy`` of the config file's ``balancing`` spreads requests by load instead, tries
    another backend where one fails, and puts out whom traffic finds failing.
    """

    def __init__(self, servers: list[str] | HealthChecker, *, policy: Policy = "fastest") -> None:
        """``policy``: "fastest" is the original's rule, and "p2c_ewma" the better choice (see README).

        Raises:
            ValueError: no such policy, or one for servers with a path.
        """
        self.servers = servers
        self._is_personalized = isinstance(servers, HealthChecker) and servers.is_personalized
        self._plain = Fastest(servers) if isinstance(servers, HealthChecker) else InTurn(servers)
        self._max_requests: int | None = None
        self._limits = self._limits_now()
        self._backing = Backing(servers, policy, self._limits)
        if isinstance(servers, HealthChecker):
            servers.listen(self)

    @property
    def max_requests(self) -> int | None:
        """What each backend may be sent per interval; None: no limit. A list in turn knows none.

        Raises:
            RuntimeError: targets are dictionaries, which have their own.
        """
        self._refuse_personalized()
        return self._max_requests

    @max_requests.setter
    def max_requests(self, value: int | None) -> None:
        self._refuse_personalized()
        self._max_requests = value
        self._limits = self._limits_now()
        self._backing.use(self._limits)

    def peek(self) -> str | None:
        """Whom ``get`` would give; None: nobody. By a policy of ours, one of those whom it may give."""
        if not self._backing.is_needed:
            return self._plain.peek(self._limits)
        pooled = self._backing.pooled
        return None if pooled is None else pooled.first()

    def get(self) -> str | None:
        """Whom to send one request, which counts; None: all are down, or have had what they may.

        Of a fleet's limits it gives what is leased, and never waits for more: for a moment after the start that is
        nothing yet, where ``proxy_pass`` has requests wait.
        """
        if not self._backing.is_needed:
            return self._plain.get(self._limits)
        pooled = self._backing.pooled
        return None if pooled is None else pooled.take()

    def get_all(self) -> list[str]:
        """All of them, whatever their state."""
        return self.servers.targets if isinstance(self.servers, HealthChecker) else self.servers

    def set_index(self, index: int) -> None:
        """Whose turn it is in a list.

        Raises:
            RuntimeError: there is a checker.
            IndexError: there is no such server.
        """
        if isinstance(self._plain, InTurn):
            self._plain.set_index(index)
        else:
            raise RuntimeError("set_index() is not supported in health mode")  # noqa: TRY004 - the original's

    async def proxy_pass(
        self,
        req: Request,
        path: str | None = None,
        timeout: Timeout = 60.0,
        forward_query: bool = True,  # noqa: FBT001, FBT002 - fastapi-reverse-proxy's signature
        additional_headers: Headers | None = None,
        override_headers: Headers | None = None,
        override_body: bytes | str | dict[str, object] | list[object] | None = None,
        method: str | None = None,
        override_host: str | None = None,
        *,
        on_request: OnRequest | None = None,
        on_response: OnResponse | None = None,
        on_error: OnError | None = None,
    ) -> Response:
        """Forward a request to the next backend, as ``proxy_pass`` does; 503 where there is none.

        Raises:
            GatewayError: it, or whoever else was tried, did not answer.
        """
        client = client_of(req.scope)
        if self._backing.is_needed and not is_foreign(client):
            changes = changes_of(
                path=path, forward_query=forward_query, additional_headers=additional_headers, method=method,
                override_headers=override_headers, override_body=override_body, override_host=override_host,
            )  # fmt: skip
            hooks = Hooks.of(on_request, on_response, on_error) or hooks_of(client)
            return await self._forward(self._backing.pooled, engine_of(client), req, changes, timeout, hooks)
        host = self.get()
        if host is None:
            return _unavailable(error_of(Failure.NO_BACKEND))
        return await proxy_pass(
            req, host, path, timeout, forward_query, additional_headers, override_headers, override_body, method,
            override_host, on_request=on_request, on_response=on_response, on_error=on_error,
        )  # fmt: skip

    async def proxy_pass_websocket(
        self,
        websocket: WebSocket,
        path: str | None = None,
        subprotocols: Sequence[str] | None = None,
        forward_query: bool = True,  # noqa: FBT001, FBT002 - fastapi-reverse-proxy's signature
        additional_headers: Headers | None = None,
        override_headers: Headers | None = None,
        timeout: float | None = 10.0,
        *,
        override_host: str | None = None,
    ) -> None:
        """Forward a WebSocket to the next backend, as ``proxy_pass_websocket`` does; else 1011 closes it.

        Raises:
            GatewaySocketError: it, or whoever else was tried, did not answer.
        """
        if self._backing.is_needed:
            changes = Changes(
                path=path, forward_query=forward_query, additional_headers=additional_headers,
                override_headers=override_headers, override_host=override_host,
            )  # fmt: skip
            await self._forward_websocket(self._backing.pooled, websocket, changes, subprotocols, timeout)
        elif (host := self.get()) is None:
            await websocket.close(Code.INTERNAL)
        else:
            await proxy_pass_websocket(
                websocket, origin_of(host), path, subprotocols, forward_query, additional_headers, override_headers,
                timeout, override_host=override_host,
            )  # fmt: skip

    def heard(self) -> None:
        """The checker has news."""
        self._backing.heard()

    async def _forward(
        self,
        pooled: Pooled | None,
        engine: Engine,
        request: Request,
        changes: Changes,
        timeout: Timeout,
        hooks: Hooks | None,
    ) -> Response:
        if pooled is None:
            return _unavailable(error_of(Failure.NO_BACKEND))
        try:
            return await forward(engine, pooled.on(engine), request, pooled.target, changes, timeout, hooks)
        except GatewayError as error:
            if error.failure not in NOBODY:
                raise
            return _unavailable(error)

    async def _forward_websocket(
        self,
        pooled: Pooled | None,
        websocket: WebSocket,
        changes: Changes,
        subprotocols: Sequence[str] | None,
        timeout: float | None,
    ) -> None:
        if pooled is None:
            await websocket.close(Code.INTERNAL)
            return
        engine = engine_of(client_of(websocket.scope))
        pool = pooled.on(engine)
        try:
            await forward_websocket(engine, pool, websocket, pooled.target, changes, subprotocols, timeout)
        except GatewaySocketError as error:
            if error.failure not in NOBODY:
                raise
            await websocket.close(Code.INTERNAL)

    def _limits_now(self) -> Limits:
        if not isinstance(self.servers, HealthChecker):
            return dict.fromkeys(self.servers, self._max_requests)
        if self._is_personalized:
            return {host: one.max_requests for host, one in self.servers.watched.items()}
        return dict.fromkeys(self.servers.targets, self._max_requests)

    def _refuse_personalized(self) -> None:
        if self._is_personalized:
            raise RuntimeError("Global max_requests is not supported when using personalized hosts")


def _unavailable(error: GatewayError) -> Response:
    """As the original answers; ours says why, and when to come again."""
    return Response(error.detail, error.status_code, error.headers)
