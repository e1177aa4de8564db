"""Where a request's body ends, and what of it has come: by length or by chunks, behind one face.

Pure.
"""

from worker.http1 import CHUNKED, ChunkedDecoder


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


BodyReader = LengthReader | ChunkedDecoder


def body_reader(length: int) -> BodyReader:
    """Who reads a body of this length, or in chunks."""
    return ChunkedDecoder() if length == CHUNKED else LengthReader(length)
