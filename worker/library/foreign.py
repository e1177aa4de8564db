"""``proxy_pass`` through an httpx client that is not ours: an app's own, with its transport, certificates or hooks."""

from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from worker.failure import Failure, Refused
from worker.headers import pairs_of, request_head, response_fields
from worker.http1 import BODILESS, read_response
from worker.library.call import Changes, Timeout
from worker.library.client import ProxyClient
from worker.library.draft import draft_of, is_unannounced, way_to
from worker.library.engine import Engine, engine_here
from worker.library.hooked import Hooks
from worker.library.problems import GatewayError, error_of
from worker.library.response import unbuffered
from worker.library.target import Target
from worker.library.upload import upload_of
from worker.upstream.upstream import MAX_HEAD_BYTES

_FAILURES: tuple[tuple[type[httpx.TransportError], Failure], ...] = (
    (httpx.ConnectTimeout, Failure.CONNECT_TIMEOUT),
    (httpx.TimeoutException, Failure.RESPONSE_TIMEOUT),
    (httpx.ConnectError, Failure.UNREACHABLE),
    (httpx.TransportError, Failure.RESET),
)
"""The first that fits."""


_OF_BODY = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class _Response(StreamingResponse):
    """Closes httpx's response whatever becomes of its own."""

    def __init__(self, answer: httpx.Response, fields: list[tuple[bytes, bytes]]) -> None:
        super().__init__(_raw(answer), status_code=answer.status_code)
        self.raw_headers = fields
        self._answer = answer

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answer.aclose()


async def _raw(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it came; as bytes, where the transport is one of a test that has it whole."""
    if answer.is_stream_consumed:
        yield answer.content
        return
    async for part in answer.aiter_raw():
        yield part


async def pass_through(
    client: httpx.AsyncClient,
    request: Request,
    target: Target,
    changes: Changes,
    timeout: Timeout,
    hooks: Hooks | None = None,
) -> Response:
    """Forward a request through this client, by the same rules as through our own.

    Raises:
        GatewayError: there is no answer.
    """
    engine = engine_here()
    known = engine.peers.of(request.scope)
    announce = await is_unannounced(request, changes)
    draft, peer = draft_of(request, changes, target, known, announce=announce), changes.peer(known)
    try:
        head, (_, host) = draft.head(engine.listen), way_to(draft.host)
    except Refused as refused:
        raise error_of(refused.failure) from None
    host = host or target.address.authority.encode()
    fields = pairs_of(request_head(head, draft.target, peer, engine.via, host)[:-4])
    url = httpx.URL(target.url).copy_with(raw_path=draft.target)
    content = draft.body if draft.body is not None else _parts(upload_of(request).again()) if head.length else None
    sent = client.build_request(
        draft.method.decode(), url, headers=fields, content=content, timeout=timeout,
        extensions={"target": draft.target},
    )  # fmt: skip
    if isinstance(client, ProxyClient):
        said = [pair for pair in sent.headers.raw if pair in fields or pair not in client.of_httpx]
        sent.headers = httpx.Headers(said)  # without what httpx would say of itself; an app's own client may
    return await _answered(client, sent, engine, hooks or Hooks())


async def _answered(client: httpx.AsyncClient, sent: httpx.Request, engine: Engine, hooks: Hooks) -> Response:
    url = sent.url
    await hooks.ask(sent)
    if sent.url != url:
        del sent.extensions["target"]
    try:
        answer = await client.send(sent, stream=True)
    except GatewayError as error:
        return await hooks.instead(sent, error)
    except httpx.TransportError as error:
        failure = next(failure for kind, failure in _FAILURES if isinstance(error, kind))
        return await hooks.instead(sent, error_of(failure))
    try:
        await hooks.tell(answer)
        return _Response(answer, _fields(answer, engine, to_head=sent.method == "HEAD"))
    except BaseException:
        await answer.aclose()
        raise


def _fields(answer: httpx.Response, engine: Engine, *, to_head: bool) -> list[tuple[bytes, bytes]]:
    """What the client is told; by the same rules as of a response that we have read ourselves."""
    said = answer.headers.raw
    if answer.is_stream_consumed and not to_head:  # a hook has read it, and httpx unpacked it
        said = [(name, value) for name, value in said if name.lower() not in _OF_BODY]
        said.append((b"content-length", b"%d" % len(answer.content)))
    lines = b"".join([b"\r\n%b: %b" % pair for pair in said])
    try:
        head = read_response(b"HTTP/1.1 %d %b\r\n\r\n" % (answer.status_code, lines), MAX_HEAD_BYTES, to_head=to_head)
    except Refused:
        raise _bad_answer() from None
    if head is None:
        raise _bad_answer()
    framing = b"" if head.length < 0 or head.status in BODILESS else None
    return unbuffered(pairs_of(response_fields(head, engine.via, engine.date, framing=framing)))


def _bad_answer() -> GatewayError:
    return error_of(Failure.BAD_RESPONSE)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """A request's body as httpx takes it."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client left in the middle of its request")
        if data := message.get("body"):
            yield data
        if not message.get("more_body"):
            return
