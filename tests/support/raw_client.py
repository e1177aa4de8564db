"""A client that sends exactly the bytes it is given and shows exactly the bytes that come back.

async with RawClient(port) as client:
    await client.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    response = await client.read_response()
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from backend import Fields
from ends import abort
from waiting import PATIENCE
from wire import BODYLESS, Headers, TruncatedError, WireReader, encode_head, is_chunked, values

Address = int | Path


@dataclass(slots=True, kw_only=True)
class Response:
    """A response as it came: `informational` are the 1xx before it, `raw` all its bytes without those."""

    version: bytes
    status: int
    reason: bytes
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    informational: list["Response"] = field(default_factory=list)
    raw: bytes = b""

    def header(self, name: str) -> bytes | None:
        """The first value of a header; None when it did not come."""
        return next(iter(values(self.headers, name)), None)

    def all(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        return values(self.headers, name)


class RawClient:
    """One connection to a loopback port or a unix socket; reading has a limit in seconds (TimeoutError)."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._reader: WireReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        if isinstance(self.address, int):
            stream, self._writer = await asyncio.open_connection("127.0.0.1", self.address)
        else:
            stream, self._writer = await asyncio.open_unix_connection(self.address)
        self._reader = WireReader(stream)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Bytes as they are; waits while the peer does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def request(
        self, method: str = "GET", target: str = "/", headers: Fields = (("host", "test"),), body: bytes = b""
    ) -> None:
        """A well-formed request; a body gets its Content-Length."""
        length = [("content-length", str(len(body)))] if body else []
        await self.send(encode_head(f"{method} {target} HTTP/1.1", [*headers, *length]) + body)

    async def read_head(self, *, within: float = 20.0) -> Response:
        """The head of the final response, with the 1xx before it; its body is left to be read.

        Raises:
            TruncatedError: The peer closed before the head was whole.
        """
        async with asyncio.timeout(within * PATIENCE):
            informational: list[Response] = []
            while (response := await self._head()).status < 200 and response.status != 101:
                informational.append(response)
            response.informational = informational
            return response

    async def read_response(self, *, method: str = "GET", within: float = 20.0) -> Response:
        """The next response to the end of its body; the method is needed because a HEAD has none.

        Raises:
            TruncatedError: The peer closed before the body was whole.
        """
        async with asyncio.timeout(within * PATIENCE):
            response = await self.read_head(within=within)
            body = bytearray()
            if method != "HEAD" and response.status >= 200 and response.status not in BODYLESS:
                await self._body(response, body)
            response.body, response.raw = bytes(body), bytes(self._reader.raw)
            return response

    async def read_some(self, *, within: float = 20.0) -> bytes:
        """What comes next, at least one byte; none when the peer has closed."""
        async with asyncio.timeout(within * PATIENCE):
            return await self._reader.some()

    async def read_exactly(self, size: int, *, within: float = 20.0) -> bytes:
        """So many bytes.

        Raises:
            TruncatedError: The peer closed before.
        """
        sink = bytearray()
        async with asyncio.timeout(within * PATIENCE):
            await self._reader.exactly(size, sink)
        return bytes(sink)

    async def read_until(self, mark: bytes, *, within: float = 20.0) -> bytes:
        """Everything up to and with a mark.

        Raises:
            TruncatedError: The peer closed before.
        """
        async with asyncio.timeout(within * PATIENCE):
            return await self._reader.until(mark)

    async def read_until_close(self, *, within: float = 20.0) -> bytes:
        """Everything that still comes; a reset raises ConnectionResetError."""
        sink = bytearray()
        async with asyncio.timeout(within * PATIENCE):
            await self._reader.rest(sink)
        return bytes(sink)

    def half_close(self) -> None:
        """Nothing more from us (FIN); answers are still read."""
        self._writer.write_eof()

    def close(self) -> None:
        """An ordinary close, in the middle of whatever is going on."""
        self._writer.close()

    def abort(self) -> None:
        """RST."""
        abort(self._writer)

    def pause_reading(self) -> None:
        """Take nothing more from the socket, so that the peer feels a client that does not read."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads, too

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above

    async def _head(self) -> Response:
        self._reader.raw = bytearray()
        head = await self._reader.head()
        if head is None:
            raise TruncatedError(b"")
        start, headers = head
        version, status, *reason = start.split(b" ", 2)
        return Response(version=version, status=int(status), reason=b"".join(reason), headers=headers)

    async def _body(self, response: Response, sink: bytearray) -> None:
        length = response.header("content-length")
        if is_chunked(response.headers):
            response.trailers = await self._reader.chunked(sink)
        elif length is not None:
            await self._reader.exactly(int(length), sink)
        else:
            await self._reader.rest(sink)


async def fetch(
    address: Address,
    target: str = "/",
    *,
    method: str = "GET",
    headers: Fields = (("host", "test"),),
    body: bytes = b"",
    within: float = 20.0,
) -> Response:
    """One request on a connection of its own."""
    async with RawClient(address) as client:
        await client.request(method, target, headers, body)
        return await client.read_response(method=method, within=within)
