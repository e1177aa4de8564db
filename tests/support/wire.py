"""HTTP/1.1 as bytes, for both ends of a test: it reads what is there, keeps it as it came, and tidies nothing."""

import asyncio
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

BODYLESS = frozenset({204, 304})


class TruncatedError(Exception):
    """The peer closed in the middle of a message; `got` is what had arrived of the part being read."""

    def __init__(self, got: bytes) -> None:
        self.got = got
        super().__init__(f"closed after {got[-200:]!r}")


class WireReader:
    """Reads from a stream and keeps every byte in `raw`; set `raw` anew where a message starts."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.raw = bytearray()
        self._stream = stream
        self._ahead = bytearray()

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with a mark.

        Raises:
            TruncatedError: The peer closed before the mark.
        """
        while (end := self._ahead.find(mark)) < 0:
            if not await self._fill():
                raise TruncatedError(self._take(len(self._ahead)))
        return self._take(end + len(mark))

    async def exactly(self, size: int, sink: bytearray) -> None:
        """So many bytes into the sink, as they arrive.

        Raises:
            TruncatedError: The peer closed before.
        """
        while size > 0:
            if not self._ahead and not await self._fill():
                raise TruncatedError(bytes(sink))
            part = self._take(min(size, len(self._ahead)))
            sink += part
            size -= len(part)

    async def some(self) -> bytes:
        """At least one byte; none when the peer has closed."""
        if not self._ahead:
            await self._fill()
        return self._take(len(self._ahead))

    async def rest(self, sink: bytearray) -> None:
        """Everything until the peer closes."""
        while part := await self.some():
            sink += part

    async def head(self) -> tuple[bytes, Headers] | None:
        """The next start line and its headers; None when the peer closed between two messages."""
        if not self._ahead and not await self._fill():
            return None
        return parse_head(await self.until(b"\r\n\r\n"))

    async def chunked(self, sink: bytearray) -> Headers:
        """A chunked body into the sink, and its trailers."""
        while size := int((await self.until(b"\r\n")).split(b";")[0], 16):
            await self.exactly(size, sink)
            await self.until(b"\r\n")
        trailers: Headers = []
        while (line := await self.until(b"\r\n")) != b"\r\n":
            trailers.append(parse_field(line[:-2]))
        return trailers

    async def _fill(self) -> bool:
        part = await self._stream.read(65536)
        self._ahead += part
        return bool(part)

    def _take(self, size: int) -> bytes:
        part = bytes(self._ahead[:size])
        del self._ahead[:size]
        self.raw += part
        return part


def parse_head(raw: bytes) -> tuple[bytes, Headers]:
    """The start line and the header pairs of a message head, in order, in their own case."""
    start, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return start, [parse_field(line) for line in lines]


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value of one header line."""
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")


def values(headers: Headers, name: str) -> list[bytes]:
    """Every value of a header, in order; names compare without case."""
    return [value for key, value in headers if key.lower() == name.lower().encode()]


def is_chunked(headers: Headers) -> bool:
    """Whether a body comes in chunks."""
    return any(b"chunked" in value.lower() for value in values(headers, "transfer-encoding"))


def encode_head(start: str, headers: Iterable[tuple[str | bytes, str | bytes]]) -> bytes:
    """A message head; nothing is added, ordered or checked."""
    lines = [start.encode("latin-1"), *(to_bytes(name) + b": " + to_bytes(value) for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def encode_chunk(data: bytes) -> bytes:
    """One chunk; an empty one would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: Iterable[tuple[str | bytes, str | bytes]] = ()) -> bytes:
    """The end of a chunked body."""
    fields = b"".join(to_bytes(name) + b": " + to_bytes(value) + b"\r\n" for name, value in trailers)
    return b"0\r\n" + fields + b"\r\n"


def to_bytes(text: str | bytes) -> bytes:
    """Header text as it goes over the wire."""
    return text if isinstance(text, bytes) else text.encode("latin-1")
