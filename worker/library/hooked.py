"""Callables of the app's around a forwarded request: they see what httpx's own hooks see."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
from starlette.responses import Response
from typing_extensions import override

from worker.library.call import without_named
from worker.library.draft import Draft
from worker.library.passing import Passing
from worker.library.problems import GatewayError
from worker.library.response import ProxyResponse, unbuffered

T = TypeVar("T")

OnRequest = Callable[[httpx.Request], Awaitable[None] | None]
"""May change method, URL and headers of what is about to be sent."""
OnResponse = Callable[[httpx.Response], Awaitable[None] | None]
"""May change status and headers of what came, and may read the body: it is passed on all the same."""
OnError = Callable[[httpx.Request, GatewayError], Awaitable[Response | None] | Response | None]
"""May answer in the backend's place; None lets the error be raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Each may be a function or a coroutine function; None: there is none."""

    on_request: OnRequest | None = None
    on_response: OnResponse | None = None
    on_error: OnError | None = None

    @classmethod
    def of(
        cls, on_request: OnRequest | None, on_response: OnResponse | None, on_error: OnError | None
    ) -> "Hooks | None":
        """Those that there are; None without any."""
        if on_request is None and on_response is None and on_error is None:
            return None
        return cls(on_request=on_request, on_response=on_response, on_error=on_error)

    async def ask(self, request: httpx.Request) -> None:
        """Have a request looked at that is about to be sent."""
        if self.on_request is not None:
            await _awaited(self.on_request(request))

    async def tell(self, response: httpx.Response) -> None:
        """Have a response looked at that has come."""
        if self.on_response is not None:
            await _awaited(self.on_response(response))

    async def before(self, draft: Draft, url: str, authority: str) -> httpx.Request:
        """Have the request looked at, and the draft changed with it; ``url`` and ``authority`` are the backend's."""
        fields = without_named(draft.fields)
        clients = [pair for pair in fields if pair[0] == b"host"]  # as X-Forwarded-Host will say it
        shown = [(b"host", (draft.host or authority).encode()), *(pair for pair in fields if pair[0] != b"host")]
        request = httpx.Request(draft.method.decode(), url + draft.target.decode("latin-1"), headers=shown)
        before = request.url
        await self.ask(request)
        draft.method = request.method.encode()
        draft.host = request.headers.get("host", authority)
        draft.fields = clients + [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        if request.url != before:
            draft.target = request.url.raw_path
        return request

    async def after(self, request: httpx.Request, passing: Passing) -> ProxyResponse:
        """Have the response looked at, and passed on as it was left."""
        body = Body(passing)
        response = httpx.Response(passing.status, headers=unbuffered(passing.fields), stream=body, request=request)
        try:
            await self.tell(response)
        except BaseException:
            passing.close()
            raise
        changed = ProxyResponse(passing, response.status_code, [(k.lower(), v) for k, v in response.headers.raw])
        if body.parts:
            changed.body_iterator = body.whole()
        return changed

    async def instead(self, request: httpx.Request, error: GatewayError) -> Response:
        """The app's own answer to an error.

        Raises:
            GatewayError: it has none.
        """
        error.of(request)
        answer = None if self.on_error is None else await _awaited(self.on_error(request, error))
        if answer is None:
            raise error
        return answer


async def _awaited(result: Awaitable[T] | T) -> T:
    """What a function gave, or a coroutine function will."""
    return await result if inspect.isawaitable(result) else result


class Body(httpx.AsyncByteStream):
    """The rest of a response; ``parts`` keeps what was read of it, for whoever is to get it after that."""

    def __init__(self, passing: Passing) -> None:
        self._passing = passing
        self.parts: list[bytes] = []

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._passing.parts():
            self.parts.append(part)
            yield part

    async def whole(self) -> AsyncIterator[bytes]:
        """What was read, and then the rest."""
        for part in self.parts:
            yield part
        async for part in self._passing.parts():
            yield part
