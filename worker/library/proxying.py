"""``proxy_pass``: one request of an app's, forwarded."""

import json

import httpx
from starlette.requests import Request
from starlette.responses import Response

from worker.failure import CLIENT_CLOSED_REQUEST, Refused
from worker.gateway.scope import Receive
from worker.headers import Peer
from worker.library.call import UNCHANGED, Changes, Headers, Timeout, patience_of
from worker.library.client import client_of, engine_of, hooks_of, is_foreign
from worker.library.draft import Draft, draft_of, is_unannounced, way_to
from worker.library.engine import Engine
from worker.library.foreign import pass_through
from worker.library.hooked import Hooks, OnError, OnRequest, OnResponse
from worker.library.passing import Passing
from worker.library.problems import GatewayError, error_of
from worker.library.response import ProxyResponse, unbuffered
from worker.library.target import Target, target_of
from worker.library.upload import upload_of
from worker.pool import Pool

_NO_WISHES = (None,) * 6


async def proxy_pass(
    request: Request,
    host: str,
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
    """Forward a request to ``host``; the response as it comes, to be returned from the route.

    What is not changed here goes as it came, byte for byte: path, query, fields, body, and so does the answer.

    Args:
        request: FastAPI's or Starlette's.
        host: the backend's URL, such as ``http://127.0.0.1:8080``; a path in it comes before ``path``.
        path: in place of the request's own; a query in it comes before the request's.
        timeout: seconds for each of: connecting, the answer's head, a pause in its body; ``httpx.Timeout`` gives each
            its own (``connect``, and ``read`` for the other two); None: for ever.
        forward_query: whether the request's query goes along.
        additional_headers: set in the forwarded request; a value of None takes the client's field away.
        override_headers: in place of the request's; then nothing is said of the client either.
        override_body: in place of the request's; a dict or list as JSON.
        method: in place of the request's own; GET, HEAD and OPTIONS leave its body behind.
        override_host: what the Host field says; else it is the backend's own.
        on_request, on_response, on_error: in place of those of ``Proxy``; see ``Hooks``.

    Raises:
        GatewayError: there is no answer: an ``HTTPException`` with 502, 503 or 504 that is httpx's own error, too.
        ValueError: ``host`` cannot be read, or that of a hook.
    """
    changes = changes_of(
        path=path,
        forward_query=forward_query,
        additional_headers=additional_headers,
        override_headers=override_headers,
        override_body=override_body,
        method=method,
        override_host=override_host,
    )
    target = target_of(host)
    client = client_of(request.scope)
    hooks = Hooks.of(on_request, on_response, on_error) or hooks_of(client)
    if is_foreign(client):
        return await pass_through(client, request, target, changes, timeout, hooks)
    engine = engine_of(client)
    return await forward(engine, engine.origin(target.origin), request, target, changes, timeout, hooks)


def changes_of(
    *,
    path: str | None,
    forward_query: bool,
    additional_headers: Headers | None,
    override_headers: Headers | None,
    override_body: bytes | str | dict[str, object] | list[object] | None,
    method: str | None,
    override_host: str | None,
) -> Changes:
    """What a caller asks for, as ``proxy_pass`` takes it."""
    wishes = (path, additional_headers, override_headers, override_body, method, override_host)
    if forward_query and wishes == _NO_WISHES:
        return UNCHANGED
    return Changes(
        path=path,
        forward_query=forward_query,
        additional_headers=additional_headers,
        override_headers=override_headers,
        override_body=None if override_body is None else _encoded(override_body),
        content_type=b"application/json" if isinstance(override_body, dict | list) else None,
        method=method,
        override_host=override_host,
    )


def _encoded(body: bytes | str | dict[str, object] | list[object]) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body).encode() if isinstance(body, dict | list) else bytes(body)


async def forward(
    engine: Engine,
    pool: Pool,
    request: Request,
    target: Target,
    changes: Changes,
    timeout: Timeout,
    hooks: Hooks | None = None,
) -> Response:
    """``proxy_pass`` to whomever the pool picks; ``target`` is what hooks are told, and the base of all paths.

    Raises:
        GatewayError: there is no answer.
    """
    known = engine.peers.of(request.scope)
    announce = await is_unannounced(request, changes)
    draft, peer = draft_of(request, changes, target, known, announce=announce), changes.peer(known)
    if hooks is None:
        passing = await _answered(engine, pool, request, draft, peer, timeout)
        return _gone() if passing is None else _response(passing)
    seen = await hooks.before(draft, target.url, target.address.authority)
    try:
        there = _elsewhere(seen, target)
        passing = await _answered(engine, engine.origin(there) if there else pool, request, draft, peer, timeout)
    except GatewayError as error:
        return await hooks.instead(seen, error)
    return _gone() if passing is None else await hooks.after(seen, passing)


def _elsewhere(seen: httpx.Request, target: Target) -> Target | None:
    """Where a hook has sent the request in place of the target; None: nowhere."""
    url = seen.url
    origin = f"{url.scheme}://{url.netloc.decode()}"
    before = httpx.URL(target.url)
    return None if origin == f"{before.scheme}://{before.netloc.decode()}" else target_of(origin)


async def _answered(
    engine: Engine, pool: Pool, request: Request, draft: Draft, peer: Peer, timeout: Timeout
) -> Passing | None:
    """Send it, and wait for the answer's head; None: the client left meanwhile."""
    try:
        head, way = draft.head(engine.listen), way_to(draft.host)
    except Refused as refused:
        raise error_of(refused.failure) from None
    receive: Receive = request.receive if draft.body is not None or not head.length else upload_of(request).again()
    passing = Passing(engine, peer, request.scope, receive)
    is_answered = await passing.begin(pool, way, head, patience_of(timeout), draft.body)
    return passing if is_answered else None


def _response(passing: Passing) -> ProxyResponse:
    return ProxyResponse(passing, passing.status, unbuffered(passing.fields))


def _gone() -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)
