"""The monitor: simulated probes, judged by ``sidecar.verdict`` when ``sidecar.schedule`` says so, and told as views."""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Protocol

from sidecar.contract.config import Pool
from sidecar.contract.model import View
from sidecar.schedule import Pace, Schedule
from sidecar.verdict import Condition, Evidence, Policy, judge, verdict_of
from simulated.agenda import Agenda
from simulated.machine import Answer, Machine
from worker.failure import Failure
from worker.view import Beat

BEAT_S = 1.0
NEWS_S = (0.001, 0.1)
"""How long a view takes to a worker: a push, more often than not; measured on loopback it is 0.3 to 5 ms."""
STORE_ID = "simulated"


class Follower(Protocol):
    """Whoever is told."""

    def learn(self, view: View, published_at: float) -> None:
        """A view has come."""

    def hear(self, beat: Beat, sent_at: float) -> None:
        """A heartbeat has come."""


class Watch:
    """Probes every machine of a pool on its own timer, for ever."""

    def __init__(
        self, agenda: Agenda, chance: Random, config: Pool, machines: Sequence[Machine], followers: Sequence[Follower]
    ) -> None:
        self._agenda = agenda
        self._chance = chance
        self._members = {backend.id: backend for backend in config.members}
        self._machines = dict(zip(self._members, machines, strict=True))
        self._followers = followers
        check = config.health_check
        self._timeout_s = check.timeout_s
        self._policy = Policy(
            fall=check.fall,
            rise=check.rise,
            fast_interval_s=check.fast_interval_s,
            slow_start_s=config.balancing.slow_start_s,
        )
        self._schedule = Schedule(
            self._members, interval_s=check.interval_s, fast_interval_s=check.fast_interval_s, now=agenda.now
        )
        self._conditions = dict.fromkeys(self._members, Condition())
        self._tickets = dict.fromkeys(self._members, 0)  # whoever has an older one comes too late
        self._running: set[str] = set()
        self._probe_ms: dict[str, float] = {}
        self._epoch = self._seq = 0
        for name in self._members:
            self._arm(name)
        self._beat()

    def suspect(self, name: str) -> None:
        """A worker had trouble with this one."""
        self._schedule.suspect(name, self._agenda.now)
        if name not in self._running:
            self._arm(name)

    def _arm(self, name: str) -> None:
        wait_s = self._schedule.wait_s(name, self._agenda.now) or 0.0
        self._agenda.at(self._agenda.now + wait_s, self._probe, name, self._ticket(name))

    def _ticket(self, name: str) -> int:
        self._tickets[name] += 1
        return self._tickets[name]

    def _probe(self, name: str, ticket: int) -> None:
        if ticket != self._tickets[name]:
            return
        now = self._agenda.now
        self._schedule.begin(name, now)
        self._running.add(name)
        ends = partial(self._ended, name, self._ticket(name), now)
        self._machines[name].probe(ends)
        self._agenda.at(now + self._timeout_s, ends, Failure.RESPONSE_TIMEOUT)

    def _ended(self, name: str, ticket: int, began: float, answer: Answer) -> None:
        if ticket != self._tickets[name]:
            return
        now = self._agenda.now
        self._running.discard(name)
        before = self._conditions[name]
        judgement = judge(before, _evidence(answer), self._policy, now)
        self._conditions[name] = judgement.condition
        pace = Pace.FAST if judgement.condition.is_in_doubt else Pace.STEADY
        self._schedule.end(name, now, pace=pace, draw=self._chance.random())
        self._arm(name)
        self._probe_ms.pop(name, None)
        if judgement.condition.ok_streak:
            self._probe_ms[name] = (now - began) * 1000
        if judgement.flipped or not before.is_known:
            self._publish()

    def _publish(self) -> None:
        """Tell everybody what is known, each after a delay of its own."""
        now = self._agenda.now
        self._epoch = max(self._epoch + 1, int(now * 1000))
        backends = {
            name: verdict_of(self._members[name], condition, since_ms=int((condition.since or now) * 1000), now=now)
            for name, condition in self._conditions.items()
            if condition.is_known
        }
        view = View(epoch=self._epoch, token=1, store_id=STORE_ID, backends=backends)
        for follower in self._followers:
            self._agenda.at(self._arrival(), follower.learn, view, now)

    def _beat(self) -> None:
        now = self._agenda.now
        self._seq += 1
        beat = Beat(
            seq=self._seq,
            epoch=self._epoch,
            store_id=STORE_ID,
            redis_ms=int(now * 1000),
            probe_ms=dict(self._probe_ms),
        )
        for follower in self._followers:
            self._agenda.at(self._arrival(), follower.hear, beat, now)
        self._agenda.at(now + BEAT_S, self._beat)

    def _arrival(self) -> float:
        return self._agenda.now + self._chance.uniform(*NEWS_S)


def _evidence(answer: Answer) -> Evidence:
    if isinstance(answer, int):
        return Evidence(passed=True, reason=f"status {answer}", answered=True)
    return Evidence(passed=False, reason=answer.text, refused=answer is Failure.REFUSED)
