"""A request as some ASGI server would hand it to an app, and what the app sends back: no server, no socket."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


class Asked:
    """One request; `parts` are what `receive` gives of its body, one after the other, and then it waits.

    `taken` counts how often `receive` was called, `sent` has all that was answered; `leave` ends the client.
    """

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        headers: Iterable[tuple[bytes, bytes]] = ((b"host", b"front.test"),),
        parts: Iterable[bytes] = (b"",),
        **scope: Any,
    ) -> None:
        parts = list(parts)
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "server": ("127.0.0.1", 80), "client": ("192.0.2.7", 5555), "scheme": "http", "method": method,
            "root_path": "", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": list(headers),
        } | scope  # fmt: skip
        self.taken = 0
        self.sent: list[Any] = []
        self._messages = deque(
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        )
        self._gone = asyncio.Event()
        self.request = Request(self.scope, self.receive)

    async def receive(self) -> Any:
        """See ASGI."""
        self.taken += 1
        await asyncio.sleep(0)  # as a server that has to look
        if self._messages:
            return self._messages.popleft()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """See ASGI."""
        self.sent.append(message)

    def leave(self) -> None:
        """The client closes."""
        self._gone.set()

    async def answered(self, response: Response) -> bytes:
        """The body of a response, once it is sent."""
        await response(self.scope, self.receive, self.send)
        return self.body

    @property
    def body(self) -> bytes:
        """What has been sent of one."""
        return b"".join(message.get("body", b"") for message in self.sent)
