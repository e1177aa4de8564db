"""Where a body ends, and what of it has come: by length or by chunks, behind one face (RFC 9112 §6, §7.1).

Pure.
"""

import re

from worker.http1 import CHUNKED, STEERING, TOKEN, has_bare_line_end


class LengthReader:
    """A body of a known length; see ``ChunkedDecoder`` for what the members mean."""

    __slots__ = ("_left", "done", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = False
        self.rest = b""
        self.trailers = b""

    def feed(self, data: bytes) -> bytes:
        """The part of ``data`` that belongs to the body."""
        left = self._left - len(data)
        if left < 0:
            self.rest = data[left:]
            data = data[:left]
        self._left = max(left, 0)
        self.done = left <= 0
        return data


class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 §7.1): payload out, extensions dropped, trailers kept.

    Not all of them: what only a head may say is dropped, since a recipient might merge it (RFC 9110 §6.5.1).

    ``done`` once the last chunk and its trailers are in; ``trailers`` is then their block of fields, and ``rest``
    what followed. Every line end must be CRLF.
    """

    __slots__ = ("_held", "_in_trailers", "_left", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._in_trailers = False
        self.done = False
        self.trailers = b""
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``, joined; empty when there is none yet.

        Raises:
            ValueError: the framing is broken.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        parts: list[bytes] = []
        position = 0
        while not self.done and position < len(data):
            if self._in_trailers:
                self._read_trailers(data[position:])
                break
            position = self._read_payload(data, position, parts) if self._left else self._read_size(data, position)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_payload(self, data: bytes, position: int, parts: list[bytes]) -> int:
        """Take what there is of the current chunk, whose last two bytes must be CRLF."""
        end = position + self._left
        payload_end = min(end - 2, len(data))
        if position < payload_end:
            parts.append(data[position:payload_end])
        if end > len(data):
            taken = max(payload_end - position, 0)
            self._left -= taken
            self._held = data[position + taken :]
            if self._held and self._held != b"\r":
                raise ValueError("a chunk is longer than it said")
            return len(data)
        if data[end - 2 : end] != b"\r\n":
            raise ValueError("a chunk is longer than it said")
        self._left = 0
        return end

    def _read_size(self, data: bytes, position: int) -> int:
        """Read a chunk-size line, or hold it back until its end has come."""
        match = _CHUNK_SIZE.match(data, position, position + MAX_CHUNK_LINE)
        if match is None:
            held = data[position:]
            if len(held) >= MAX_CHUNK_LINE or not _CHUNK_SIZE_BEGUN.fullmatch(held):
                raise ValueError("bad chunk size")
            self._held = held
            return len(data)
        size = int(match[1], 16)
        if size == 0:
            self._in_trailers = True
        else:
            self._left = size + 2
        return match.end()

    def _read_trailers(self, data: bytes) -> None:
        """Read the trailer section: fields, then an empty line."""
        is_whole = data.startswith(b"\r\n") or b"\r\n\r\n" in data
        match = _TRAILER_SECTION.match(data, 0, MAX_TRAILERS) if is_whole else None
        if match is None:
            if is_whole or len(data) >= MAX_TRAILERS or has_bare_line_end(data):
                raise ValueError("bad trailers")
            self._held = data
            return
        block = match[1]
        self.trailers = _NOT_IN_TRAILERS.sub(b"", b"\r\n" + block[:-2]) if block else b""
        self.rest = data[match.end() :]
        self.done = True


MAX_CHUNK_LINE = 1_024
"""Longest chunk-size line with its extensions; unbounded ones were a denial of service in Go (CVE-2023-39326)."""
MAX_TRAILERS = 16_384
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSIONS = rb"(?:;" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?)*"
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})" + _EXTENSIONS + rb"\r\n")
_CHUNK_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,15}(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?")
_TRAILER_SECTION = re.compile(rb"((?:" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*)\r\n")
_NOT_IN_TRAILERS = re.compile(
    rb"\r\n(?i:" + STEERING + rb"|authorization|content-(?:encoding|range|type)|cookie|set-cookie|trailer):[^\r]*+"
)


def encode_chunk(payload: bytes) -> bytes:
    """One chunk; ``payload`` may not be empty, since an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def last_chunk(trailers: bytes) -> bytes:
    """The end of a chunked body, with trailers in the form ``ChunkedDecoder`` gives them."""
    return b"0" + trailers + b"\r\n\r\n"


def encode_chunks(payload: bytes, trailers: bytes, *, done: bool) -> bytes:
    """What there is of a body as chunks, with its end where it is ``done``."""
    chunk = encode_chunk(payload) if payload else b""
    return chunk + last_chunk(trailers) if done else chunk


BodyReader = LengthReader | ChunkedDecoder


def body_reader(length: int) -> BodyReader:
    """Who reads a body of this length, or in chunks."""
    return ChunkedDecoder() if length == CHUNKED else LengthReader(length)
