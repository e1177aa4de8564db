"""The stream: the status each second and at once after an event, the events as they come (Server-Sent Events).

One reader for all listeners, which rests while there are none. What each has to be sent is bounded: a slow one gets
the latest status when it is ready for it.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi.sse import format_sse_event

from sidecar.console.listener import Listener
from sidecar.console.look import Look
from sidecar.console.setting import Live
from sidecar.contract.keys import PoolKeys
from sidecar.status import Happening, UnreadableError, in_order, newest, pool_names, since, store_at

MOST_LISTENERS = 64
EACH_S = 1.0
LOOK_S = 0.25
"""How often it is looked whether something has happened: with a probe each second, a backend that dies is on the page
within two."""


class CrowdedError(RuntimeError):
    """There are as many listeners as there may be."""


class Stream:
    """All listeners, and what they are told."""

    def __init__(self, live: Live, look: Look, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._look = look
        self._clock = clock
        self._listeners: set[Listener] = set()
        self._is_wanted = asyncio.Event()
        self._stood: dict[PoolKeys, str] = {}
        self._shown_at = 0.0
        self._frame = b""

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """A listener, until the end of the block; what was shown last is shown to it at once.

        Raises:
            CrowdedError: there is no room for one more.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            raise CrowdedError
        listener = Listener()
        if self._listeners:
            listener.show(self._frame)
        self._listeners.add(listener)
        self._is_wanted.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def run(self) -> None:
        """Read and tell, until cancelled; then every listener's stream ends."""
        try:
            while True:
                if not self._listeners:
                    await self._rest()
                await self._turn()
                await asyncio.sleep(LOOK_S)
        finally:
            for listener in self._listeners:
                listener.end()

    async def _rest(self) -> None:
        """Until somebody listens; what happened meanwhile is not news to them."""
        self._is_wanted.clear()
        self._stood.clear()
        self._shown_at = 0.0
        await self._is_wanted.wait()

    async def _turn(self) -> None:
        try:
            news = await self._news()
            if news or self._clock() - self._shown_at >= EACH_S - LOOK_S / 2:
                if news:
                    self._look.forget()
                self._show((await self._look.seen()).text, news)
        except UnreadableError as error:
            if self._clock() - self._shown_at >= EACH_S:
                self._shown_at = self._clock()
                self._all_see(_frame("trouble", {"error": str(error)}))

    async def _news(self) -> list[Happening]:
        """What came since the last look, in order; of a pool that is looked at for the first time, nothing."""
        setting, found = self._live.setting, list[Happening]()
        async with store_at(setting.url) as store:
            names = await pool_names(store, setting.namespace, setting.pools)
            for keys in (PoolKeys(setting.namespace, name) for name in names):
                if keys in self._stood:
                    fresh, self._stood[keys] = await since(store, keys, backend=None, after=self._stood[keys])
                    found += fresh
                else:
                    self._stood[keys] = await newest(store, keys)
        return in_order(found)

    def _show(self, status: str, news: list[Happening]) -> None:
        # After news, again with the next look: they come before what they bring.
        self._shown_at = -EACH_S if news else self._clock()
        for frame in [_frame("event", happening.as_json()) for happening in news]:
            for listener in self._listeners:
                listener.tell(frame)
        self._all_see(format_sse_event(event="status", data_str=status))

    def _all_see(self, frame: bytes) -> None:
        self._frame = frame
        for listener in self._listeners:
            listener.show(frame)


def _frame(event: str, fields: dict[str, object]) -> bytes:
    return format_sse_event(event=event, data_str=json.dumps(fields, separators=(",", ":")))
