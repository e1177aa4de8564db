"""What a checker's knowledge comes from: its own probes, or a view that others publish."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from typing_extensions import override

from sidecar.contract.events import Event
from worker.library.engine import Engine
from worker.pool import Pool
from worker.view import Knowledge


class Told(Knowledge):
    """A view, and what the latest probes took: ``times_ms`` by id, also where the beat does not say it."""

    __slots__ = ("times_ms",)

    def __init__(self) -> None:
        super().__init__()
        self.times_ms: Mapping[str, float] = {}

    @override
    def probe_s(self, backend_id: str) -> float | None:
        time_ms = self.times_ms.get(backend_id)
        return None if time_ms is None else time_ms / 1000


class Listener(Protocol):
    """Who wants to know."""

    def heard(self) -> None:
        """There is news."""


class Sight(Protocol):
    """Keeps ``knowledge`` up to date while it runs."""

    knowledge: Told

    @property
    def ids(self) -> Mapping[str, str]:
        """The ids by which ``knowledge`` has the backends, by their own."""

    async def run(self, begun: asyncio.Event) -> None:
        """Until cancelled; ``begun`` is set when what can be known at first is known."""

    async def look(self) -> None:
        """Find out what can be found out now; while it runs."""

    def aim(self, path: str) -> None:
        """Probe at this path, where it is for us to probe."""

    def serve(self, pool: Pool, engine: Engine) -> bool:
        """Requests go through this pool from now on, on its loop; whether its limits are leased here."""

    def release(self, pool: Pool) -> None:
        """No more do."""

    def suspect(self, pool: str, backend: str) -> None:
        """Traffic met nobody at a backend: look now, or have it looked at."""

    def tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        """This host EJECTED or READMITTED a backend."""
