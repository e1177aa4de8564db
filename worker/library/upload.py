"""A request's body as the library reads it: kept while it is short, so that another call can send it, too.

Who tries one backend after the other, or several at a time, does so with one request; its body comes from the server
only once.
"""

import asyncio

from starlette.requests import Request

from worker.gateway.scope import Message, Receive

KEPT_BYTES = 65_536
"""As ``retry.replay_buffer_bytes`` of a pool."""
KEY = "sidebeat.upload"
"""Where a request's scope has it."""


class Upload:
    """What has been read of a request's body: messages, of which the first may have been let go of."""

    __slots__ = ("_first", "_kept", "_receive", "_size", "_turn")

    def __init__(self, request: Request) -> None:
        """An app may have read it before, with ``await request.body()``."""
        self._receive = request.receive
        self._kept: list[Message] = []
        self._first = self._size = 0
        self._turn = asyncio.Lock()
        body: bytes | None = getattr(request, "_body", None)
        if body is not None:
            self._kept = [{"type": "http.request", "body": body, "more_body": False}]
        elif getattr(request, "_stream_consumed", False):
            self._first = 1

    def again(self) -> Receive:
        """``receive`` from the beginning; it raises RuntimeError where others have read on too far meanwhile.

        Raises:
            RuntimeError: it is gone: ``await request.body()`` before the first call keeps one of any size.
        """
        position = 0
        self._check(position)

        async def receive() -> Message:
            nonlocal position
            if position == self._end:
                async with self._turn:
                    if position == self._end:
                        await self._read()
            self._check(position)
            position += 1
            return self._kept[position - 1 - self._first]

        return receive

    async def has_body(self) -> bool:
        """Whether there is anything of it; it has begun to come, then."""
        first = await self.again()()
        return bool(first.get("body") or first.get("more_body"))

    @property
    def _end(self) -> int:
        return self._first + len(self._kept)

    def _check(self, position: int) -> None:
        if position < self._first:
            raise RuntimeError("the request's body was streamed and is not kept: read it with `await request.body()`")

    async def _read(self) -> None:
        """Have one more message; what is kept is let go of where that is too much."""
        message = await self._receive()
        if self._size > KEPT_BYTES:
            self._first += len(self._kept)
            self._kept = []
        self._size += len(message.get("body", b""))
        self._kept.append(message)


def upload_of(request: Request) -> Upload:
    """The one of a request."""
    upload = request.scope.get(KEY)
    if not isinstance(upload, Upload):
        upload = request.scope[KEY] = Upload(request)
        request._stream_consumed = True
    return upload
