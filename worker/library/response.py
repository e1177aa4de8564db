"""The response that ``proxy_pass`` returns: one of Starlette's, whose body is the backend's as it comes."""

from collections.abc import AsyncIterable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from worker.gateway.scope import make_way
from worker.library.passing import Passing

_UNBUFFERED = (b"x-accel-buffering", b"no")
Parts = AsyncIterable[str | bytes | memoryview]
"""What Starlette sends as a body."""


class ProxyResponse(StreamingResponse):
    """A backend's answer on its way; status and headers may be looked at and changed before it is returned.

    Whoever drops it drops the request with it: nothing is left open.
    """

    def __init__(self, passing: Passing, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """``headers`` are kept, not copied. Starlette's own ``__init__`` would make anew what is known."""
        self._passing = passing
        self._iterator: Parts | None = None
        self.status_code = status
        self.raw_headers = headers
        self.background = None

    @property  # type: ignore[explicit-override]  # an attribute of Starlette's
    def body_iterator(self) -> Parts:
        """The body, for who wants to read or to wrap it."""
        if self._iterator is None:
            self._iterator = self._passing.parts()
        return self._iterator

    @body_iterator.setter
    def body_iterator(self, iterator: Parts) -> None:
        self._iterator = iterator

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._iterator is not None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._passing.close()
            return
        make_way(receive, self.raw_headers)
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await self._passing.deliver(start, send)
        if self.background is not None:
            await self.background()

    def __del__(self) -> None:
        """Nobody has sent it, or nobody will send the rest."""
        self._passing.drop()


def unbuffered(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """These fields, and for nginx in front that it is not to hold back what streams.

    On every response where the backend says nothing of it, as fastapi-reverse-proxy promises.
    """
    for name, _ in fields:
        if name == b"x-accel-buffering":
            return fields
    fields.append(_UNBUFFERED)
    return fields
