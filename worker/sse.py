r"""Where the events of a ``text/event-stream`` end, read beside a body passed on as it comes (WHATWG HTML §9.2).

An event is over with the blank line behind it: a client throws away what comes after the last one. So a stream can be
ended without a loss wherever no field has been sent since. Only the end of each piece is looked at. Pure; for bodies
without a content coding.
"""

import re

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")
r"""The ends of two lines in a row. LF CR is not among them: the CR is taken for half of a line end whose LF is yet to
come, since a client that waits for that LF would lose the event, and no server is known to mix its line ends."""
_FIELD_BEGINS = re.compile(rb"[\r\n][^:\r\n]")


class EventTracker:
    """What of an event stream has passed.

    ``after_event``: it may end here and no client misses anything, since it ends with a whole event, with whole
    comments behind one, or has not begun. ``last_boundary``: after so many bytes of what was fed last it might have
    ended as well, 0 being before all of them; None where no event ends in there.
    """

    __slots__ = ("_is_pending", "_mark", "_tail", "after_event", "last_boundary")

    def __init__(self) -> None:
        self._mark = _BYTE_ORDER_MARK
        self._tail = b"\n"
        self._is_pending = False
        self.after_event = True
        self.last_boundary: int | None = 0

    def feed(self, data: bytes) -> None:
        """Look at what passes, in whatever pieces it comes."""
        if data.endswith(_BLANK_LINES) and not self._mark:  # whole events in one read, the usual case
            self._tail = data[-2:]
            self._is_pending = False
            self.after_event = True
            self.last_boundary = len(data)
            return
        skipped = self._skip_mark(data) if self._mark and data else 0
        text = data[skipped:]
        tail = self._tail
        end = _end_of_blank_line(text) or max(_end_of_blank_line(tail + text[:2]) - len(tail), 0)
        if end:
            self._is_pending = _begins_field(text, end - 1)
        elif not self._is_pending:
            self._is_pending = _begins_field(tail + text[:1]) or _begins_field(text)
        self._tail = (tail + text if len(text) < 2 else text)[-2:]
        boundary = skipped + end if end else 0 if self.after_event else None
        self.after_event = not self._is_pending and self._tail.endswith((b"\n", b"\r"))
        self.last_boundary = len(data) if self.after_event else boundary

    def _skip_mark(self, data: bytes) -> int:
        """How much of ``data`` is of the byte order mark that a stream may begin with."""
        size = min(len(self._mark), len(data))
        if data[:size] != self._mark[:size]:
            self._mark = b""
            return 0
        self._mark = self._mark[size:]
        self._is_pending = bool(self._mark)
        self._tail = b"" if self._mark else b"\n"
        return size


def _end_of_blank_line(data: bytes) -> int:
    """Where the last blank line ends; 0 where there is none."""
    if data.endswith(_BLANK_LINES):
        return len(data)
    last = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1  # far faster than looking for two bytes at once
    end = 0
    for ends in _BLANK_LINES:
        at = data.rfind(ends, max(end - 2, 0), last)
        if at >= 0:
            end = at + len(ends)
    return end


def _begins_field(data: bytes, start: int = 0) -> bool:
    """Whether some line that begins behind a line end from ``start`` on is neither blank nor a comment."""
    return _FIELD_BEGINS.search(data, start) is not None
