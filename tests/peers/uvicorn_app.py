"""The peer for uvicorn: what tests ask of every server, as a bare ASGI app.

python -m uvicorn uvicorn_app:app
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

BIG = bytes(range(256)) * 4096
PART = 65536
PLAIN = [(b"content-type", b"text/plain"), (b"X-Peer", b"uvicorn")]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if scope["type"] == "websocket":
        await (talk(receive, send) if path == "/ws" else deny(send, int(path[4:])))
    elif path == "/closed":
        await respond(send, (closed.pop() if closed else "").encode())
    elif path == "/echo":
        await respond(send, await read(receive))
    elif path in {"/big", "/chunked"}:
        await stream(send, BIG, with_length=path == "/big")
    elif path.startswith("/stall/"):
        await stream(send, BIG, with_length=path == "/stall/big", stop_at=len(BIG) // 2)
    elif path == "/port":
        await respond(send, str(scope["client"][1]).encode())
    else:
        await respond(send, *FIXED[path])


FIXED: dict[str, tuple[bytes, int, list[tuple[bytes, bytes]]]] = {
    "/small": (b"hello", 200, []),
    "/refuse": (b"hello", 413, []),
    "/close": (b"hello", 200, [(b"connection", b"close")]),
    "/none": (b"", 204, []),
    "/same": (b"", 304, [(b"etag", b'"1"')]),
    "/cookies": (b"hello", 200, [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; Path=/")]),
    "/gzip": (gzip.compress(BIG, mtime=0), 200, [(b"content-encoding", b"gzip")]),
}


async def respond(send: Send, body: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    length = [] if status in {204, 304} else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*PLAIN, *(headers or []), *length]})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send, body: bytes, *, with_length: bool, stop_at: int | None = None) -> None:
    """In parts, and no further than `stop_at`."""
    length = [(b"content-length", str(len(body)).encode())] if with_length else []
    await send({"type": "http.response.start", "status": 200, "headers": [*PLAIN, *length]})
    for start in range(0, len(body) if stop_at is None else stop_at, PART):
        await send({"type": "http.response.body", "body": body[start : start + PART], "more_body": True})
    if stop_at is not None:
        await asyncio.Event().wait()
    await send({"type": "http.response.body"})


closed: list[str] = []


async def talk(receive: Receive, send: Send) -> None:
    """Every message back; `bye` and `close CODE REASON` end it. `/closed` tells how the last one was ended."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "echo"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text") or ""
        if text == "bye" or text.startswith("close "):
            _, code, reason = text.split(" ", 2) if text != "bye" else ("", "4000", "bye")
            await send({"type": "websocket.close", "code": int(code), "reason": reason})
            return
        await send({**message, "type": "websocket.send"})
    closed.append(f"{message['code']} {message.get('reason', '')}")


async def deny(send: Send, status: int) -> None:
    headers = [*PLAIN, (b"content-length", b"7")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"not you"})


async def read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)
