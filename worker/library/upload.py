"""A request's body as the library reads it: kept while it is short, so that a second call can send it again.

Who tries one backend after the other does so with one request; its body comes from the server only once.
"""

from starlette.requests import Request

from worker.gateway.scope import Message, Receive

KEPT_BYTES = 65_536
"""As ``retry.replay_buffer_bytes`` of a pool."""
KEY = "sidebeat.upload"
"""Where a request's scope has it."""


class Upload:
    """What has been read of a request's body."""

    __slots__ = ("_kept", "_receive", "_size")

    def __init__(self, request: Request) -> None:
        """An app may have read it before, with ``await request.body()``."""
        self._receive = request.receive
        self._kept: list[Message] | None = []
        self._size = 0
        body: bytes | None = getattr(request, "_body", None)
        if body is not None:
            self._kept = [{"type": "http.request", "body": body, "more_body": False}]
        elif getattr(request, "_stream_consumed", False):
            self._kept = None

    def again(self) -> Receive:
        """``receive`` from the beginning.

        Raises:
            RuntimeError: it is gone: ``await request.body()`` before the first call keeps one of any size.
        """
        if self._kept is None:
            raise RuntimeError("the request's body was streamed and is not kept: read it with `await request.body()`")
        kept = iter(list(self._kept))

        async def receive() -> Message:
            message = next(kept, None)
            return await self._next() if message is None else message

        return receive

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and self._kept is not None:
            self._size += len(message.get("body", b""))
            if self._size > KEPT_BYTES:
                self._kept = None
            else:
                self._kept.append(message)
        return message


def upload_of(request: Request) -> Upload:
    """The one of a request."""
    upload = request.scope.get(KEY)
    if not isinstance(upload, Upload):
        upload = request.scope[KEY] = Upload(request)
        request._stream_consumed = True
    return upload
