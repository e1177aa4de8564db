"""A backend that does what a test wants, right or wrong: HTTP/1.1 over plain asyncio streams.

    async with Backend(answers(body=b"hello")) as backend:
        ...
        backend.handler = resets()
        backend.refuse()

A handler gets each request and its connection. What it raises fails the test when the backend closes, except that the
peer went away.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from http.client import responses
from pathlib import Path
from types import TracebackType
from typing import Self

from ends import abort, bound_tcp, bound_unix
from wire import (
    BODYLESS,
    Headers,
    TruncatedError,
    WireReader,
    encode_chunk,
    encode_head,
    encode_last_chunk,
    is_chunked,
    values,
)

Fields = Iterable[tuple[str | bytes, str | bytes]]


class Request:
    """What arrived: parsed, and as the bytes it came in."""

    def __init__(self, start: bytes, headers: Headers, reader: WireReader) -> None:
        self.method, self.target, self.version = start.split(b" ", 2)
        self.headers = headers
        self.trailers: Headers = []
        self.complete = False
        self._reader = reader
        self._raw = reader.raw
        self._body = bytearray()

    @property
    def raw(self) -> bytes:
        """Every byte of it so far."""
        return bytes(self._raw)

    @property
    def body(self) -> bytes:
        """The body so far, without its chunking; `complete` says whether that is all."""
        return bytes(self._body)

    def header(self, name: str) -> bytes | None:
        """The first value of a header; None when it did not come."""
        return next(iter(values(self.headers, name)), None)

    def all(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        return values(self.headers, name)

    async def read_body(self) -> bytes:
        """The whole body.

        Raises:
            TruncatedError: The peer closed before its end.
        """
        if not self.complete:
            if is_chunked(self.headers):
                self.trailers = await self._reader.chunked(self._body)
            else:
                await self._reader.exactly(int(self.header("content-length") or 0), self._body)
            self.complete = True
        return self.body

    @property
    def keeps_alive(self) -> bool:
        """Whether the peer wants to send another request."""
        return b"close" not in (self.header("connection") or b"").lower() and self.version == b"HTTP/1.1"


class Connection:
    """The backend's end of one connection."""

    def __init__(self, writer: asyncio.StreamWriter, reader: WireReader) -> None:
        self.reader = reader
        self.request: Request | None = None
        self.sent_bytes = 0
        self._writer = writer

    @property
    def is_closing(self) -> bool:
        """Whether we have closed it, or it broke."""
        return self._writer.is_closing()

    async def send(self, data: bytes) -> None:
        """Bytes as they are; waits while the peer does not read."""
        self._writer.write(data)
        await self._writer.drain()
        self.sent_bytes += len(data)

    async def respond(self, status: int = 200, headers: Fields = (), body: bytes = b"") -> None:
        """A whole response with its Content-Length, without the body where HTTP has none."""
        length = () if status < 200 or status in BODYLESS else (("content-length", str(len(body))),)
        is_head = self.request is not None and self.request.method == b"HEAD"
        head = encode_head(_status_line(status), [*headers, *length])
        await self.send(head if is_head or not length else head + body)

    async def start_chunked(self, status: int = 200, headers: Fields = ()) -> None:
        """The head of a chunked response; `chunk` and `end_chunked` go on."""
        await self.send(encode_head(_status_line(status), [*headers, ("transfer-encoding", "chunked")]))

    async def chunk(self, data: bytes) -> None:
        """One chunk."""
        await self.send(encode_chunk(data))

    async def end_chunked(self, trailers: Fields = ()) -> None:
        """The last chunk, with trailers if any."""
        await self.send(encode_last_chunk(trailers))

    async def send_cut(self, data: bytes, at: int) -> None:
        """The first `at` bytes, then an ordinary close."""
        await self.send(data[:at])
        self.close()

    async def gone(self) -> None:
        """Read on until the peer closes or resets."""
        with contextlib.suppress(ConnectionError):
            await self.reader.rest(bytearray())

    async def stall(self) -> None:
        """Neither read nor write, until the backend closes."""
        await asyncio.Event().wait()

    def close(self) -> None:
        """An ordinary close (FIN), after what was sent."""
        self._writer.close()

    def half_close(self) -> None:
        """Nothing more from us (FIN); what the peer sends is still read."""
        self._writer.write_eof()

    def reset(self) -> None:
        """RST at once: what was not yet sent is lost."""
        abort(self._writer)


Handler = Callable[[Request, Connection], Awaitable[None]]


class Backend:
    """A listening backend, on a loopback port of its own or on a unix socket.

    `requests` has every request from its head on. With `reads_bodies` (the default) a handler is called when the body
    is there, and `Expect: 100-continue` is answered; without, it calls `await request.read_body()`, or does not.
    """

    def __init__(self, handler: Handler | None = None, *, path: Path | None = None, reads_bodies: bool = True) -> None:
        self.handler = handler or answers()
        self.reads_bodies = reads_bodies
        self.path = path
        self.requests: list[Request] = []
        self.connections_total = 0
        self._open: dict[socket.socket, asyncio.Task[None]] = {}
        self._writers: dict[socket.socket, asyncio.StreamWriter] = {}
        self._errors: list[Exception] = []
        self._tasks = asyncio.TaskGroup()
        self._listener: socket.socket | None = None
        self._reserved: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        if self.path is None:
            # Bound for as long as we live and never listening: while we refuse, nobody else gets the port.
            self._reserved = bound_tcp(0)
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.refuse()
        self.drop_connections()
        for task in self._open.values():
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        if self._reserved is not None:
            self._reserved.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        if self._errors and error is None:
            raise ExceptionGroup("in a backend's handler", self._errors)

    @property
    def port(self) -> int:
        """The TCP port; the same before, during and after a refusal."""
        assert self._reserved is not None, "a backend on a unix socket has no port"
        return int(self._reserved.getsockname()[1])

    @property
    def url(self) -> str:
        """The address, as `backends` of a pool takes it."""
        return f"unix:{self.path}" if self.path else f"http://127.0.0.1:{self.port}"

    @property
    def connections_open(self) -> int:
        """How many connections have neither been closed by us nor seen to end."""
        return len(self._open)

    async def accept(self) -> None:
        """Listen, at first or again."""
        if self._listener is not None:
            return
        self._listener = bound_tcp(self.port) if self.path is None else bound_unix(self.path)
        self._listener.setblocking(False)
        self._listener.listen(100)  # as asyncio's own servers do
        asyncio.get_running_loop().add_reader(self._listener, self._take, self._listener)

    def refuse(self) -> None:
        """Stop listening and keep the address: new connections are refused, those that are open stay."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        if self.path is not None:
            bound_unix(self.path).close()

    def drop_connections(self) -> None:
        """Reset every open connection."""
        for accepted, task in self._open.items():
            if writer := self._writers.get(accepted):
                abort(writer)
            else:
                task.cancel()

    def _take(self, listener: socket.socket) -> None:
        """Whoever has come. One of asyncio's servers leaves those open that came just before it was closed."""
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                accepted, _ = listener.accept()
                self.connections_total += 1
                self._open[accepted] = task = self._tasks.create_task(self._serve(accepted))
                task.add_done_callback(partial(self._leave, accepted))

    def _leave(self, accepted: socket.socket, _task: asyncio.Task[None]) -> None:
        del self._open[accepted]
        self._writers.pop(accepted, None)
        accepted.close()

    async def _serve(self, accepted: socket.socket) -> None:
        stream, writer = await asyncio.open_connection(sock=accepted)
        self._writers[accepted] = writer
        reader = WireReader(stream)
        connection = Connection(writer, reader)
        try:
            while not connection.is_closing and await self._serve_one(connection):
                pass
        except (ConnectionError, TruncatedError):
            pass  # the peer went away, as peers in these tests do
        except Exception as error:  # noqa: BLE001  # raised again when the backend closes
            self._errors.append(error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_one(self, connection: Connection) -> bool:
        """One request; False when there will be no other."""
        connection.reader.raw = bytearray()
        head = await connection.reader.head()
        if head is None:
            return False
        request = connection.request = Request(*head, connection.reader)
        self.requests.append(request)
        if self.reads_bodies:
            if request.header("expect") is not None:
                await connection.send(encode_head("HTTP/1.1 100 Continue", []))
            await request.read_body()
        await self.handler(request, connection)
        return request.keeps_alive


def answers(status: int = 200, headers: Fields = (), body: bytes = b"ok") -> Handler:
    """The same response every time."""

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.respond(status, headers, body)

    return handle


def answers_chunked(*parts: bytes, headers: Fields = (), trailers: Fields = ()) -> Handler:
    """A chunked response, a chunk for each part."""

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.start_chunked(200, headers)
        for part in parts:
            await connection.chunk(part)
        await connection.end_chunked(trailers)

    return handle


def sends(data: bytes) -> Handler:
    """These bytes, and then an ordinary close: a response of one's own, or the first part of one."""

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.send_cut(data, len(data))

    return handle


def stalls() -> Handler:
    """No answer, ever."""

    async def handle(_request: Request, connection: Connection) -> None:
        await connection.stall()

    return handle


def resets(after: bytes = b"") -> Handler:
    """RST, after these bytes."""

    async def handle(_request: Request, connection: Connection) -> None:
        if after:
            await connection.send(after)
        connection.reset()

    return handle


def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {responses.get(status, 'Odd')}"
