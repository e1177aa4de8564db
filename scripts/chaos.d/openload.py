"""Open-loop load: GETs leave at a fixed rate whether or not earlier ones were answered, and each one is remembered.

Latency counts from when a request was due. Nothing is retried: what a client would see is what is counted.
"""

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

RATE = 600.0
GIVE_UP_S = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: chaos.test\r\n\r\n"


class LoadError(Exception):
    """The load could not be kept up, so that nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One GET: when it was due (monotonic), how long it took, what came. ``error`` empty: a 200, whole."""

    due: float
    took_s: float
    backend: str = ""
    error: str = ""


class Load:
    """GETs at a fixed rate for as long as the context lasts."""

    def __init__(self, port: int, *, rate: float = RATE) -> None:
        self.seen: list[Seen] = []
        self._port = port
        self._rate = rate
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._began = time.monotonic()
        self._pacer = self._tasks.create_task(self._pace())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = time.monotonic()
        self._pacer.cancel()
        await self._tasks.__aexit__(None, None, None)
        for _, writer in self._idle:
            writer.close()
        due = (ended - self._began) * self._rate
        if error is None and len(self.seen) < 0.8 * due:
            raise LoadError(f"only {len(self.seen)} of {due:.0f} GETs could be made")

    def between(self, since: float = 0.0, until: float = math.inf) -> list[Seen]:
        """Those that were due in a span of time."""
        return [seen for seen in self.seen if since <= seen.due < until]

    def errors(self, since: float = 0.0, until: float = math.inf) -> Counter[str]:
        """What went wrong, by kind."""
        return Counter(seen.error for seen in self.between(since, until) if seen.error)

    def lag(self) -> int:
        """How many are due and not answered yet, or were never sent: what ``errors`` cannot know of."""
        return int((time.monotonic() - self._began) * self._rate) - len(self.seen)

    def shares(self, since: float = 0.0, until: float = math.inf) -> Counter[str]:
        """How many each backend answered."""
        return Counter(seen.backend for seen in self.between(since, until) if seen.backend)

    def p99_ms(self, since: float = 0.0, until: float = math.inf) -> float:
        """The 99th percentile of their latencies; NaN where there were none."""
        ordered = sorted(seen.took_s for seen in self.between(since, until))
        return 1e3 * ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else math.nan

    async def _pace(self) -> None:
        began = time.monotonic()
        number = 0
        while True:
            due = began + number / self._rate
            if (left_s := due - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            self._tasks.create_task(self._get(due))
            number += 1

    async def _get(self, due: float) -> None:
        backend = error = ""
        try:
            async with asyncio.timeout(GIVE_UP_S):
                backend, error = await self._exchange()
        except (OSError, EOFError, ValueError, TimeoutError) as failure:
            error = type(failure).__name__
        self.seen.append(Seen(due=due, took_s=time.monotonic() - due, backend=backend, error=error))

    def _at_rest(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection that was used before and is still open: the proxy ends those that rest for 75 s."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _exchange(self) -> tuple[str, str]:
        """Which backend answered, and what was wrong with it, if anything."""
        reader, writer = self._at_rest() or await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(REQUEST)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head.split("\r\n")[1:]}
            body = await reader.readexactly(int(fields["content-length"]))
        except BaseException:
            writer.transport.abort()
            raise
        if fields.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        status = head.split(" ", 2)[1]
        error = "" if status == "200" else f"{status} {fields.get('x-sidebeat-error', '')}".strip()
        return body.decode(errors="replace") if not error else "", error
