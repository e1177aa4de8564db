"""The monitor's own watch over backends, inside an app: its schedule, its probes, its verdicts."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import httpx
from typing_extensions import override

from sidecar.contract.config import HealthCheck, UpstreamTLS
from sidecar.contract.model import Backend, Verdict
from sidecar.monitor.gate import Gate
from sidecar.monitor.watch import Probe, Watch
from sidecar.probe import Prober, ProbeResult, TimedProbe
from sidecar.probe.http import HttpExchange, Question
from sidecar.schedule import Schedule
from sidecar.verdict import Condition, Policy, verdict_of
from worker.library.checker.client import ByClient


class Probing(Watch):
    """Probes these backends, each on its own timer; ``conditions`` outlive it and go on where they stood.

    Args:
        pool: how log lines name them.
        checks: how each is probed, by its id.
        client: what to send probes by; None: as the monitor does.
        conditions: what is known of them; changed in place.
        told: called with an id when a result of it has been judged.
    """

    def __init__(
        self,
        pool: str,
        members: Sequence[Backend],
        checks: Mapping[str, HealthCheck],
        *,
        prober: Prober,
        client: httpx.AsyncClient | None,
        conditions: dict[str, Condition],
        told: Callable[[str], None],
    ) -> None:
        self._checks = dict(checks)
        self._prober = prober
        self._client = client
        self._told = told
        self._locks = {backend.id: asyncio.Lock() for backend in members}
        self._timed = {backend.id: self._probe_of(backend) for backend in members}
        check = next(iter(checks.values()))
        super().__init__(
            pool,
            members,
            probes={backend.id: self._one_at_a_time(backend.id) for backend in members},
            policy=_policy(check),
            schedule=Schedule(
                [backend.id for backend in members],
                interval_s=check.interval_s,
                fast_interval_s=check.fast_interval_s,
                now=time.monotonic(),
            ),
            gate=Gate(),
        )
        self.conditions = conditions

    async def run(self) -> None:
        """Probe all of them, at once and for ever."""
        async with asyncio.TaskGroup() as tasks:
            for name in self.members:
                tasks.create_task(self.keep_probing(name), name=f"probe-{name}")

    async def probe_all(self) -> None:
        """One probe of each, beside the timers."""
        async with asyncio.TaskGroup() as tasks:
            for name in self.members:
                tasks.create_task(self._probe_now(name))

    def aim(self, checks: Mapping[str, HealthCheck]) -> None:
        """Probe in another way from the next probe on."""
        self._checks = dict(checks)
        self._timed = {name: self._probe_of(backend) for name, backend in self.members.items()}

    def verdicts(self, now: float) -> dict[str, Verdict]:
        """Of all that are known, as the monitor would publish them; nobody's clock but ours counts the times."""
        return {
            name: verdict_of(backend, condition, since_ms=round((condition.since or 0.0) * 1000), now=now)
            for name, backend in self.members.items()
            if (condition := self.conditions[name]).is_known
        }

    async def _probe_now(self, name: str) -> None:
        self._take(name, await self._probes[name]())

    @override
    def _take(self, name: str, result: ProbeResult) -> None:
        super()._take(name, result)
        self._told(name)

    def _one_at_a_time(self, name: str) -> Probe:
        """The probe of a backend, whichever it is by then; two that are asked for follow each other."""

        async def probe() -> ProbeResult:
            async with self._locks[name]:
                return await self._timed[name]()

        return probe

    def _probe_of(self, backend: Backend) -> TimedProbe:
        check = self._checks[backend.id]
        if self._client is None:
            return self._prober.probe(backend, check, UpstreamTLS())
        question = Question(backend, check, ByClient(self._client), server_name=None, accept="*/*")
        return TimedProbe(HttpExchange(question, check), backend.address, check.timeout_s)


def _policy(check: HealthCheck) -> Policy:
    """A backend of which one pass is enough is up with that pass: flapping is damped only where more are asked for."""
    doubt_s = check.fast_interval_s if check.rise > 1 else 0.0
    return Policy(fall=check.fall, rise=check.rise, fast_interval_s=doubt_s, slow_start_s=0.0)
