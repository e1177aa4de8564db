"""Where lines go: many in one go, and never waited for.

Several processes write to the same place. A file is opened for appending, and one ``write`` of a batch goes behind
whatever the others wrote. A pipe keeps whole what is no longer than ``PIPE_BUF`` (POSIX), so a batch is cut between
lines to fit. It is opened anew through ``/proc``: to make the description non-blocking that we were given would make it
so for everybody who has it.

A full disk, or a reader that is gone or slow, costs lines and no request; the log says so once, and how many it cost.
"""

import logging
import os
import select
import socket
import stat
from contextlib import suppress
from typing import Self

from sidecar.contract.config.observe import STREAMS
from sidecar.contract.events import Event, line

logger = logging.getLogger(__name__)

BATCH_BYTES = 65_536
HELD_BYTES = 1_048_576
"""What waits for a reader that is slow; beyond it lines are dropped."""
MODE = 0o640
"""Of a file that we make: addresses of clients are nobody else's business."""


class Sink:
    """A place for lines."""

    def __init__(self, fd: int, place: str) -> None:
        """Take over a descriptor; ``place`` is for the log."""
        self._place = place
        self._batches: list[list[str]] = []
        self._dropped = 0
        self._is_troubled = False
        self._use(fd)

    @classmethod
    def open(cls, place: str) -> Self:
        """``stdout``, ``stderr`` or the path of a file.

        Raises:
            OSError: it cannot be opened.
        """
        return cls(_opened(place), place)

    def _use(self, fd: int) -> None:
        self._fd = fd
        self._is_torn = False
        kind = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(kind)
        self._socket = socket.socket(fileno=fd) if stat.S_ISSOCK(kind) else None
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    @property
    def is_behind(self) -> bool:
        """Whether a reader is slow: what waits for it is written with the next lines."""
        return bool(self._batches)

    def write(self, lines: list[str]) -> None:
        """Write lines, each with its end and all of them ASCII, and what waited before them."""
        size = sum(map(len, lines))
        if size + sum(sum(map(len, batch)) for batch in self._batches) > HELD_BYTES:
            self._dropped += len(lines)
        else:
            limit = BATCH_BYTES if self._is_file else select.PIPE_BUF
            self._batches += _batches(lines, limit) if size > limit else [lines] if lines else []
        trouble = None
        while self._batches and trouble is None:
            try:
                self._send("".join(self._batches[0]).encode())
            except BlockingIOError:
                break
            except OSError as error:
                trouble = error.strerror or str(error)
                self._dropped += sum(map(len, self._batches))
                self._batches = []
            else:
                del self._batches[0]
        self._tell(trouble)

    def _send(self, data: bytes) -> None:
        """One batch; what is not taken of it is lost.

        Raises:
            BlockingIOError: the reader is slow, and has taken nothing.
            OSError: it cannot be written.
        """
        if self._is_torn:
            data = b"\n" + data
        if self._socket is not None:
            written = self._socket.send(data, socket.MSG_DONTWAIT)
        elif self._is_file or self._poll.poll(0):
            written = os.write(self._fd, data)
        else:
            raise BlockingIOError
        if written:
            self._is_torn = not data.endswith(b"\n", 0, written)
        self._dropped += data.count(b"\n", written)

    def _tell(self, trouble: str | None) -> None:
        """Say when it begins to fail, and when it is over; not each time."""
        if self._dropped and not self._is_troubled:
            self._is_troubled = True
            logger.error(line(Event.ACCESS_LOG_LOST, to=self._place, reason=trouble or "too slow"))
        elif self._is_troubled and trouble is None and not self._batches:
            self._is_troubled = False
            dropped, self._dropped = self._dropped, 0
            logger.warning(line(Event.ACCESS_LOG_BACK, to=self._place, dropped=dropped))

    def reopen(self) -> None:
        """Go on in the file that has the name now; where it cannot be opened, in the one before."""
        try:
            fd = _opened(self._place)
        except OSError as error:
            reason = f"it could not be opened again, and goes on where it was: {error.strerror}"
            logger.warning(line(Event.ACCESS_LOG_LOST, to=self._place, reason=reason))
            return
        self.close()
        self._use(fd)

    def close(self) -> None:
        """Give the descriptor back."""
        with suppress(OSError):
            os.close(self._fd if self._socket is None else self._socket.detach())


def _opened(place: str) -> int:
    """A descriptor of our own."""
    if place not in STREAMS:
        return os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, MODE)
    stream = STREAMS[place]
    kind = os.fstat(stream).st_mode
    if stat.S_ISSOCK(kind) or stat.S_ISREG(kind):
        # The one cannot be opened, and each ``send`` says that it does not wait. In the other, those who write through
        # the description that we share go on from where it is, and would write over what was appended through another.
        return os.dup(stream)
    try:
        return os.open(f"/proc/self/fd/{stream}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # another user's terminal, or no /proc
        return os.dup(stream)


def _batches(lines: list[str], limit: int) -> list[list[str]]:
    """The same lines in groups of at most so many bytes."""
    batches: list[list[str]] = []
    room = 0
    for each in lines:
        if len(each) > room:
            batches.append([])
            room = limit
        batches[-1].append(each)
        room -= len(each)
    return batches
