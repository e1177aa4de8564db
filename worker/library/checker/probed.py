"""What a checker sees by probing for itself."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from sidecar.contract.config import HealthCheck
from sidecar.contract.events import Event
from sidecar.contract.model import View
from sidecar.probe import Prober
from sidecar.verdict import Condition
from worker.library.checker.probing import Probing
from worker.library.checker.sight import Told
from worker.library.checker.targets import Watched
from worker.library.engine import Engine
from worker.pool import Pool
from worker.view import Beat

CONFIRM_S = 1.0
"""How often verdicts are stood by, as the monitor's heartbeat does it: between probes they do not age."""
HERE = "here"
"""For a store's id: these verdicts come from no store."""


class Probed:
    """The backends as this process finds them; what was found outlives each run.

    Args:
        pool: how log lines name them.
        watched: who they are.
        check: how to probe, but for the path, which each has for itself.
        client: what to probe by; None: as the monitor does.
        changed: called when there is news.
    """

    def __init__(
        self,
        pool: str,
        watched: Sequence[Watched],
        check: HealthCheck,
        *,
        client: httpx.AsyncClient | None,
        changed: Callable[[], None],
    ) -> None:
        self.knowledge = Told()
        self._pool = pool
        self._members = [one.backend for one in watched]
        self._check = check
        self._checks = {one.backend.id: self._at(one.path) for one in watched}
        self._client = client
        self._changed = changed
        self._conditions = {backend.id: Condition() for backend in self._members}
        self._times_ms: dict[str, float] = {}
        self._epoch = self._seq = 0
        self._probing: Probing | None = None

    @property
    def ids(self) -> Mapping[str, str]:
        """By which verdicts name the backends, by their ids."""
        return {backend.id: backend.id for backend in self._members}

    def aim(self, path: str) -> None:
        """Probe all of them at this path from now on."""
        self._checks = {backend.id: self._at(path) for backend in self._members}
        if self._probing is not None:
            self._probing.aim(self._checks)

    async def run(self, begun: asyncio.Event) -> None:
        """Probe all at once, then each on its own timer, for ever; ``begun`` is set when all have had a result."""
        missing = set(self._checks)

        def told(name: str) -> None:
            self._take(probing, name)
            missing.discard(name)
            if not missing:
                begun.set()

        async with Prober() as prober:
            probing = self._probing = Probing(
                self._pool,
                self._members,
                self._checks,
                prober=prober,
                client=self._client,
                conditions=self._conditions,
                told=told,
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(probing.run())
                    tasks.create_task(self._confirm())
            finally:
                self._probing = None

    async def look(self) -> None:
        """One probe of each, now; it runs."""
        if self._probing is not None:
            await self._probing.probe_all()

    def serve(self, pool: Pool, engine: Engine) -> bool:  # noqa: ARG002 - there is nobody to report to
        """See ``Sight``."""
        return False

    def release(self, pool: Pool) -> None:
        """See ``Sight``."""

    def suspect(self, pool: str, backend: str) -> None:  # noqa: ARG002 - there is but one
        """See ``Sight``."""
        if self._probing is not None:
            self._probing.suspect(backend)

    def tell(self, pool: str, backend: str, event: Event, reason: str) -> None:
        """See ``Sight``; the log has it already."""

    def _at(self, path: str) -> HealthCheck:
        return HealthCheck.model_validate({**self._check.model_dump(exclude={"headers"}), "path": path})

    def _take(self, probing: Probing, name: str) -> None:
        """A result: publish what follows, as the monitor would."""
        now = time.monotonic()
        judged = probing.judged.get(name)
        if judged is not None and judged.passed:
            self._times_ms[name] = judged.total_ms
        verdicts = probing.verdicts(now)
        view = self.knowledge.view
        if view is None or view.backends != verdicts:
            self._epoch += 1
            self.knowledge.offer(View(epoch=self._epoch, store_id=HERE, backends=verdicts), now, 0.0)
        self._stand_by(now)
        self._changed()

    async def _confirm(self) -> None:
        while True:
            await asyncio.sleep(CONFIRM_S)
            self._stand_by(time.monotonic())

    def _stand_by(self, now: float) -> None:
        self._seq += 1
        self.knowledge.times_ms = dict(self._times_ms)
        if self.knowledge.view is not None:
            self.knowledge.beat(Beat(seq=self._seq, epoch=self._epoch, store_id=HERE, redis_ms=0), now, 0.0)
