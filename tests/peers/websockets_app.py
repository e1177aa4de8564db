"""The peer for the server of the websockets library: WebSockets alone.

python websockets_app.py PORT
"""

import asyncio
import sys
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

closed: list[str] = []


async def talk(socket: ServerConnection) -> None:
    """Every message back; `close CODE REASON` ends it. `/closed` tells how the last one was ended."""
    try:
        async for message in socket:
            if isinstance(message, str) and message.startswith("close "):
                _, code, reason = message.split(" ", 2)
                await socket.close(int(code), reason)
            else:
                await socket.send(message)
    except ConnectionClosed:
        pass
    closed.append(f"{socket.close_code} {socket.close_reason}")


def answer(socket: ServerConnection, request: Request) -> Response | None:
    """What is no WebSocket."""
    if request.path == "/closed":
        return socket.respond(HTTPStatus.OK, closed.pop() if closed else "")
    if request.path.startswith("/ws/"):
        return socket.respond(HTTPStatus(int(request.path[4:])), "not you")
    return None


async def main() -> None:
    async with serve(talk, "127.0.0.1", int(sys.argv[1]), process_request=answer, max_size=None, subprotocols=["echo"]):  # type: ignore[list-item]
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
