"""The httpx client of an app, over our own transport: httpx's habits without its cookies, redirects and environment."""

import gc
from collections.abc import AsyncIterator
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from threading import get_ident
from types import TracebackType
from typing import Any, Self, TypeGuard

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Scope
from typing_extensions import override

from sidecar.contract.config import UpstreamTLS
from worker.failure import Refused
from worker.gateway.scope import Message, Receive, head_from
from worker.headers import QUIET
from worker.library.call import Patience, patience_of
from worker.library.engine import Engine, engine_here
from worker.library.hooked import Hooks, OnError, OnRequest, OnResponse
from worker.library.passing import Passing
from worker.library.target import target_of
from worker.route import Destination

_DEFAULTS = (700, 2_000)
"""How many new objects CPython's collector waits for: up to 3.12, and since."""
YOUNG_OBJECTS = 10_000
"""How many it waits for here; 5,000 and 20,000 do about as well (measured 2026-11)."""
_AS_SAID = Destination(pool="", strip=b"", host_header="preserve")


class Transport(httpx.AsyncBaseTransport):
    """httpx over the engine of the running loop; it is made at the first use there. Each thread may have a loop."""

    def __init__(self, *, trusted_proxies: tuple[str, ...] | None = None, tls: UpstreamTLS | None = None) -> None:
        """As ``Engine`` takes them."""
        self._trusted_proxies = trusted_proxies
        self._tls = tls
        self._engines: dict[int, Engine] = {}

    @property
    def engine(self) -> Engine:
        """The one of this loop."""
        thread = get_ident()
        engine = self._engines.get(thread)
        if engine is None or not engine.is_here:
            self._engines = {each: kept for each, kept in self._engines.items() if not kept.loop.is_closed()}
            engine = self._engines[thread] = Engine(trusted_proxies=self._trusted_proxies, tls=self._tls)
        return engine

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx; errors are its own."""
        engine = self.engine
        url = request.url
        raw_path: bytes = request.extensions.get("target") or url.raw_path
        try:
            head = head_from(request.method.encode(), raw_path, b"1", request.headers.raw, engine.listen)
        except Refused as refused:
            raise httpx.LocalProtocolError(str(refused)) from None
        passing = Passing(engine, QUIET, {"extensions": {}}, _receive_of(request))
        pool = engine.origin(target_of(f"{url.scheme}://{url.netloc.decode()}"))
        await passing.begin(pool, (_AS_SAID, None), head, _patience(request.extensions.get("timeout")))
        return httpx.Response(passing.status, headers=passing.fields, stream=_Rest(passing))

    @override
    async def aclose(self) -> None:
        """Close all connections."""
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            await engine.aclose()


class _Rest(httpx.AsyncByteStream):
    """A response's body as it comes."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._passing.parts():
            yield part

    @override
    async def aclose(self) -> None:
        self._passing.close()

    def __del__(self) -> None:
        """The response was dropped."""
        self._passing.drop()


def _receive_of(request: httpx.Request) -> Receive:
    """A request's body as a server would give it."""
    assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101 - httpx makes no other for its async client
    parts = aiter(request.stream)

    async def receive() -> Message:
        part = await anext(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    return receive


def _patience(timeout: dict[str, float | None] | None) -> Patience:
    return patience_of(None if timeout is None else httpx.Timeout(**timeout))


class ProxyClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` that keeps no cookies, follows no redirects and reads no environment."""

    def __init__(
        self,
        *,
        trusted_proxies: tuple[str, ...] | None = None,
        tls: UpstreamTLS | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """``hooks`` are around each ``proxy_pass`` of the app; the rest is as ``Engine`` takes it.

        ``of_httpx`` are the headers that httpx says of itself.
        """
        self.own_transport = Transport(trusted_proxies=trusted_proxies, tls=tls)
        self.hooks = hooks
        nobody = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # one visitor's are never another's
        super().__init__(transport=self.own_transport, trust_env=False, cookies=nobody)
        self.of_httpx, self._first = list(self._headers.raw), list(self._headers._list)

    @property
    def is_customised(self) -> bool:
        """Whether the app has put anything of its own there: httpx's hooks, headers, cookies, authentication."""
        hooks = self._event_hooks
        has_cookies = self._cookies.jar._cookies  # type: ignore[attr-defined]  # to go through them takes a microsecond
        said = self._headers._list != self._first
        return bool(hooks["request"] or hooks["response"] or self._auth or self._params or has_cookies or said)


class Proxy:
    """An app's way to its backends, for as long as it runs: ``async with Proxy(app): yield`` in its lifespan.

    Args:
        app: whose ``state.http_proxy_client`` is set.
        trusted_proxies: as ``Engine`` takes it.
        tls: how https backends are trusted: the keys of ``[pools.NAME.tls]``.
        on_request, on_response, on_error: around each ``proxy_pass``; see ``Hooks``.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        trusted_proxies: tuple[str, ...] | None = None,
        tls: dict[str, Any] | None = None,
        on_request: OnRequest | None = None,
        on_response: OnResponse | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self._app = app
        app.state.http_proxy_client = ProxyClient(
            trusted_proxies=trusted_proxies,
            tls=None if tls is None else UpstreamTLS.model_validate(tls),
            hooks=Hooks.of(on_request, on_response, on_error),
        )

    async def close(self) -> None:
        """Close the client, and all connections."""
        await close_httpx_client(self._app)

    async def __aenter__(self) -> Self:
        _settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@cache
def _settle() -> None:
    """Have the collector leave alone what is there once the app has started, once in a process.

    Requests that wait for backends live long enough to have it look at everything again and again: without this a third
    of the CPU time of a small request went there (measured 2026-11). It looks less often, too, unless the app has said
    how often it is to: 64 requests under way are more objects than it waits for by default, which took a sixth.
    """
    gc.collect()
    gc.freeze()
    young, *older = gc.get_threshold()
    if young in _DEFAULTS:
        gc.set_threshold(YOUNG_OBJECTS, *older)


async def create_httpx_client(app: Starlette) -> None:
    """Give an app its client, in ``app.state.http_proxy_client``; one of ours that it had is closed."""
    before = getattr(app.state, "http_proxy_client", None)
    app.state.http_proxy_client = ProxyClient()
    if isinstance(before, ProxyClient):
        await before.aclose()


async def close_httpx_client(app: Starlette) -> None:
    """Close an app's client, if it has one."""
    client: httpx.AsyncClient | None = getattr(app.state, "http_proxy_client", None)
    if client is not None:
        await client.aclose()


async def get_httpx_client(req: Request) -> httpx.AsyncClient:
    """The client of the app that serves this request.

    Raises:
        AttributeError: it has none.
    """
    client: httpx.AsyncClient = req.app.state.http_proxy_client
    return client


def client_of(scope: Scope) -> httpx.AsyncClient | None:
    """The client of the app that a request came to; None where it was given none."""
    state = getattr(scope.get("app"), "state", None)
    client: httpx.AsyncClient | None = getattr(state, "http_proxy_client", None)
    return client


def is_foreign(client: httpx.AsyncClient | None) -> TypeGuard[httpx.AsyncClient]:
    """Whether it has to be asked itself: not ours, or with something of the app's that belongs to each request."""
    if isinstance(client, ProxyClient):
        return client.is_customised
    return client is not None


def engine_of(client: httpx.AsyncClient | None) -> Engine:
    """The engine behind an app's client; that of the running loop where there is none, or it was closed."""
    if isinstance(client, ProxyClient) and not client.is_closed:
        return client.own_transport.engine
    return engine_here()


def hooks_of(client: httpx.AsyncClient | None) -> Hooks | None:
    """Those that ``Proxy`` was given."""
    return client.hooks if isinstance(client, ProxyClient) else None
