"""The access log of one process: which requests get a line, in which format, and where it goes."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from typing import Self

from sidecar.contract.config import Log
from worker.access.entry import Noted, is_trouble
from worker.access.formats import FORMATS, Format
from worker.access.sink import Sink

PAUSE_S = 0.1
"""How long an entry waits for others."""
BATCH = 64
"""So many are written at once, about 16 KiB: of more, the garbage collector would take notice."""


class AccessLog:
    """One line for each request that is told to it, but for those that the sample leaves out."""

    def __init__(
        self, form: Format, sink: Sink, sample: float, later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        """``sample``: the part of all requests that is logged; where there was trouble, all are.

        ``later`` calls a function after so many seconds.
        """
        self._format = form
        self._sink = sink
        self._sample = sample
        self._later = later
        self._entries: list[Noted] = []
        self._is_due = False

    @classmethod
    def of(cls, log: Log) -> Self | None:
        """As it is configured, on the running loop; None where there is to be none.

        Raises:
            OSError: its file cannot be opened.
        """
        if log.access == "off":
            return None
        later = asyncio.get_running_loop().call_later
        return cls(FORMATS[log.access](os.getpid()), Sink.open(log.file), log.sample, later)

    def add(self, noted: Noted) -> None:
        """Have it written down soon, or not."""
        if self._sample < 1.0 and not is_trouble(noted) and random.random() >= self._sample:  # noqa: S311 - no secret
            return
        entries = self._entries
        entries.append(noted)
        if len(entries) >= BATCH:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._later(PAUSE_S, self._flush_in_time)

    def _flush_in_time(self) -> None:
        self._is_due = False
        self.flush()
        if self._sink.is_behind:
            self._is_due = True
            self._later(PAUSE_S, self._flush_in_time)

    def flush(self) -> None:
        """Write what there is, as far as that goes without waiting."""
        entries, self._entries = self._entries, []
        offset_s = time.time() - time.monotonic()  # noqa: TID251 - for people; read each time, since it may be set
        self._sink.write(list(self._format(entries, offset_s)))

    def reopen(self) -> None:
        """Write to the file that has the name now: the one before was moved away."""
        self.flush()
        self._sink.reopen()

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._sink.close()
