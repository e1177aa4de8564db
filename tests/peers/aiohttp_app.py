"""The peer for aiohttp: what tests ask of every server.

python aiohttp_app.py PORT
"""

import asyncio
import gzip
import sys

from aiohttp import WSMsgType, web

BIG = bytes(range(256)) * 4096
PART = 65536
PLAIN = {"Content-Type": "text/plain", "X-Peer": "aiohttp"}


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers=PLAIN)


async def big(request: web.Request) -> web.StreamResponse:
    return await stream(request, with_length=request.path.endswith("/big"))


async def stall(request: web.Request) -> web.StreamResponse:
    return await stream(request, with_length=request.path.endswith("/big"), stop_at=len(BIG) // 2)


async def stream(request: web.Request, *, with_length: bool, stop_at: int | None = None) -> web.StreamResponse:
    """In parts, and no further than `stop_at`."""
    response = web.StreamResponse(headers=PLAIN)
    if with_length:
        response.content_length = len(BIG)
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method == "HEAD":
        return response  # what is written now would be sent
    for start in range(0, len(BIG) if stop_at is None else stop_at, PART):
        await response.write(BIG[start : start + PART])
    if stop_at is not None:
        await asyncio.Event().wait()
    await response.write_eof()
    return response


async def port(request: web.Request) -> web.Response:
    assert request.transport is not None
    return web.Response(text=str(request.transport.get_extra_info("peername")[1]), headers={"X-Peer": "aiohttp"})


ended: list[str] = []


async def talk(request: web.Request) -> web.WebSocketResponse:
    """Every message back; `bye` and `close CODE REASON` end it. `/closed` tells how the last one was ended."""
    socket = web.WebSocketResponse(protocols=["echo"], max_msg_size=0)
    await socket.prepare(request)
    while (message := await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
        if message.data == "bye":
            await socket.close(code=4000, message=b"bye")
        elif message.type is WSMsgType.TEXT and message.data.startswith("close "):
            _, code, reason = message.data.split(" ", 2)
            await socket.close(code=int(code), message=reason.encode())
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    if message.type is WSMsgType.CLOSE:
        ended.append(f"{message.data} {message.extra}")
    return socket


async def deny(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]), body=b"not you", headers=PLAIN)


async def closed(_request: web.Request) -> web.Response:
    return web.Response(text=ended.pop() if ended else "")


async def small(_request: web.Request) -> web.Response:
    return web.Response(body=b"hello", headers=PLAIN)


async def refuse(_request: web.Request) -> web.Response:
    return web.Response(status=413, body=b"hello", headers=PLAIN)


async def close(_request: web.Request) -> web.Response:
    response = web.Response(body=b"hello", headers=PLAIN)
    response.force_close()
    return response


async def none(_request: web.Request) -> web.Response:
    return web.Response(status=204, headers={"X-Peer": "aiohttp"})


async def same(_request: web.Request) -> web.Response:
    return web.Response(status=304, headers={"ETag": '"1"'})


async def cookies(_request: web.Request) -> web.Response:
    response = web.Response(body=b"hello", headers=PLAIN)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def compressed(_request: web.Request) -> web.Response:
    return web.Response(body=gzip.compress(BIG, mtime=0), headers={**PLAIN, "Content-Encoding": "gzip"})


def main() -> None:
    app = web.Application(client_max_size=0)
    app.router.add_post("/echo", echo)
    app.router.add_post("/refuse", refuse)
    for path, handler in {
        "/small": small, "/big": big, "/chunked": big, "/stall/big": stall, "/stall/chunked": stall, "/none": none,
        "/same": same, "/cookies": cookies, "/gzip": compressed, "/port": port,
        "/close": close, "/ws": talk, "/ws/{status}": deny, "/closed": closed,
    }.items():  # fmt: skip
        app.router.add_get(path, handler)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
