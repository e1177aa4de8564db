"""The answer that goes on: a listener's frames to one client, until either has enough."""

import asyncio
from typing import Final

from fastapi.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from sidecar.console.listener import Listener
from sidecar.console.stream import Stream

RETRY: Final = b"retry: 1000\n\n"
STUCK_S = 30.0
"""A client that takes nothing for so long is gone, or wishes us ill."""
LONGEST_S = 3_600.0
"""Then it asks again, and whether it still may is looked at anew."""


class Streaming(Response):
    """Every frame of a ``Stream``; 503 where it has no room."""

    media_type = EventSourceResponse.media_type

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        del self.headers["Content-Length"]
        self._stream = stream

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client goes, the stream ends or the time is over."""
        with self._stream.listening() as listener:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(_send_all(listener, send))
                leaving = tasks.create_task(_gone(receive))
                await asyncio.wait([sending, leaving], timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
                sending.cancel()
                leaving.cancel()
        if not sending.cancelled() and sending.result() is False:
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_all(listener: Listener, send: Send) -> bool:
    """Whether the client took all of it, to the end of the stream."""
    frame: bytes | None = RETRY
    while frame is not None:
        try:
            async with asyncio.timeout(STUCK_S):
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        except TimeoutError:
            return False
        frame = await listener.next()
    return True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
