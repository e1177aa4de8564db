"""One pool under watch: each backend probed on its own timer, each result judged when it comes."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from random import SystemRandom

from sidecar.contract.events import Event, line
from sidecar.contract.model import Backend, Health, Reading
from sidecar.monitor.counted import Probes
from sidecar.monitor.gate import Gate
from sidecar.probe import ProbeResult
from sidecar.schedule import Pace, Schedule
from sidecar.verdict import Condition, Policy, judge

log = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[ProbeResult]]
draw = SystemRandom().random


class Watch:
    """The backends of one pool, what is known of them, and the probing of them.

    ``news`` is set when there is something to publish: a first result, another state or another weight. ``results``
    has the latest probe of each backend, ``judged`` the latest that counted; ``unreported`` says whose came since its
    reader last cleared it. ``counted`` has what was ever counted of a backend's probes, also of those that left.
    """

    def __init__(
        self,
        pool: str,
        members: Sequence[Backend],
        *,
        probes: Mapping[str, Probe],
        policy: Policy,
        schedule: Schedule,
        gate: Gate,
    ) -> None:
        self.pool = pool
        self.members = {backend.id: backend for backend in members}
        self.conditions = {name: Condition() for name in self.members}
        self.results: dict[str, ProbeResult] = {}
        self.judged: dict[str, ProbeResult] = {}
        self.unreported: set[str] = set()
        self.counted: defaultdict[str, Probes] = defaultdict(Probes)
        self.news = asyncio.Event()
        self._probes = probes
        self._policy = policy
        self._schedule = schedule
        self._gate = gate
        self._pokes = {name: asyncio.Event() for name in self.members}

    def change(
        self,
        members: Sequence[Backend],
        same: Collection[str],
        *,
        probes: Mapping[str, Probe],
        policy: Policy,
        schedule: Schedule,
    ) -> None:
        """Watch these from now on, in this way, all of them due; of those that are the ``same`` all is kept."""
        paused = [name for name in same if self._schedule.is_paused(name)]
        self.members = {backend.id: backend for backend in members}
        self.conditions = {name: self.conditions[name] if name in same else Condition() for name in self.members}
        self.results = {name: result for name, result in self.results.items() if name in same}
        self.judged = {name: result for name, result in self.judged.items() if name in same}
        self.unreported.intersection_update(same)
        self._probes, self._policy, self._schedule = probes, policy, schedule
        self._pokes = {name: self._pokes[name] if name in same else asyncio.Event() for name in self.members}
        for name in paused:
            schedule.pause(name)
        for poke in self._pokes.values():
            poke.set()

    async def keep_probing(self, name: str) -> None:
        """Probe one backend whenever it is due; runs until it is cancelled."""
        while True:
            await self._until_due(name)
            async with self._gate.place():
                self._schedule.begin(name, time.monotonic())
                result = await self._probes[name]()
            self._take(name, result)

    def suspect(self, name: str) -> None:
        """Probe this one now: somebody had trouble with it. A name that is not a member is ignored."""
        if name in self._pokes:
            self._schedule.suspect(name, time.monotonic())
            self._pokes[name].set()

    def pause(self, name: str, paused: bool) -> None:  # noqa: FBT001  # `pause(name, False)` reads as what it does
        """Stop probing this one, or begin again at once; meanwhile it keeps its state.

        A result that comes while it is paused is shown and not judged: it may have been taken down since. Saying it
        again changes nothing, and a name that is not a member is ignored.
        """
        if name not in self._pokes or paused == self._schedule.is_paused(name):
            return
        if paused:
            self._schedule.pause(name)
        else:
            self._schedule.resume(name, time.monotonic())
            self._pokes[name].set()

    def adopt(self, name: str, condition: Condition) -> None:
        """Go on from a condition that an earlier leader published; where ours was another, look at once.

        One that is paused keeps its own: nobody will look whether the published one still holds.
        """
        if self._schedule.is_paused(name):
            return
        own, self.conditions[name] = self.conditions[name], condition
        if own.is_known and own.state is not condition.state:
            self.suspect(name)

    def reading(self, name: str) -> Reading:
        """The figures of a backend's latest probes."""
        condition, result = self.conditions[name], self.results.get(name)
        return Reading(
            ok_streak=condition.ok_streak,
            fail_streak=condition.fail_streak,
            probe_ms=result.total_ms if result else None,
            ttfb_ms=result.ttfb_ms if result else None,
        )

    async def _until_due(self, name: str) -> None:
        poke = self._pokes[name]
        while (wait_s := self._schedule.wait_s(name, time.monotonic())) is None or wait_s > 0:
            poke.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await poke.wait()

    def _take(self, name: str, result: ProbeResult) -> None:
        now = time.monotonic()
        self.results[name] = result
        self.counted[name].add(result)
        self.unreported.add(name)
        if not result.is_void and not self._schedule.is_paused(name):
            self.judged[name] = result
            self._judge(name, result, now)
        self._schedule.end(name, now, pace=_pace(self.conditions[name]), draw=draw())

    def _judge(self, name: str, result: ProbeResult, now: float) -> None:
        before = self.conditions[name]
        judgement = judge(before, result, self._policy, now)
        condition = self.conditions[name] = judgement.condition
        if judgement.flipped:
            fields = {"backend": name, "from": before.state, "to": condition.state, "reason": condition.reason}
            log.info(line(Event.VERDICT, pool=self.pool, **fields))
        if judgement.flipped or not before.is_known or condition.advertised_weight != before.advertised_weight:
            self.news.set()


def _pace(condition: Condition) -> Pace:
    """How soon to look again."""
    if condition.is_in_doubt:
        return Pace.FAST
    return Pace.DOWN if condition.state is Health.UNHEALTHY else Pace.STEADY
