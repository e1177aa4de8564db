"""One look at the store for all who ask: however many they are, the store and this thread do the work once."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.console.setting import Live
from sidecar.status import Status, UnreadableError, read_status

FRESH_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What stood in the store, also as `sidebeat status --json` has it, in one line; ``at`` is monotonic."""

    status: Status
    text: str
    at: float


class Look:
    """The latest look, as old as ``FRESH_S`` at most."""

    def __init__(self, live: Live, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = live
        self._clock = clock
        self._seen: Seen | None = None
        self._lock = asyncio.Lock()
        self._failure: tuple[float, UnreadableError] | None = None

    async def seen(self) -> Seen:
        """The latest, or a new one; a store that hangs is waited for once by all who ask meanwhile.

        Raises:
            UnreadableError: the store does not answer, or does not let us read.
        """
        asked = self._clock()
        async with self._lock:
            if self._failure is not None and self._failure[0] >= asked:
                raise self._failure[1]
            if self._seen is None or self._clock() - self._seen.at >= FRESH_S:
                self._seen = await self._read()
            return self._seen

    def forget(self) -> None:
        """Something was changed just now: who asks next is to see it."""
        self._seen = None

    async def _read(self) -> Seen:
        setting = self._live.setting
        began = self._clock()
        try:
            status = await read_status(setting.url, setting.namespace, setting.pools)
        except UnreadableError as error:
            self._failure = self._clock(), error
            raise
        return Seen(status=status, text=json.dumps(status.as_json(), separators=(",", ":")), at=began)
