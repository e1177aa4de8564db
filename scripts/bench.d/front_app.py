"""The smallest app that a user may put in front: everything goes to the pools, through the ASGI lane."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """See ``worker.server.front``."""
    if scope["type"] == "http":
        await scope["state"]["gateway"](scope, receive, send)
