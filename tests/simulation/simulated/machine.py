"""A backend as a queueing system: a few slots, one queue, pauses to collect garbage, and days when it is not itself.

The numbers are a choice, of an ordinary application server; nobody measured them.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random

from simulated.agenda import Agenda
from worker.failure import Failure

SLOTS = 4
MEAN_S = 0.02
"""What a request takes on a backend of slowness 1 (mean, lognormal)."""
SIGMA = 0.8
PAUSE_S = (0.08, 0.25)
PAUSE_EVERY_S = 5.0
SLOWED = 10.0
HOLLOW_S = 0.001
"""How fast an error comes that no work was done for."""
REFUSED_S = 0.0002
PROBE_S = 0.001
"""What a probe takes on a backend of slowness 1: it asks for little."""

Answer = int | Failure
"""A status, or what came instead of one."""


class Ill(Enum):
    """What a backend can come down with."""

    SLOW = "slow"
    HOLLOW = "hollow"
    """It answers requests with an error at once, and passes its probes: a black hole."""
    DEAD = "dead"
    """Nobody listens, and what was under way is reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Illness:
    """What a backend has, and when: seconds after the traffic began.

    ``status`` is what a hollow one answers, to such a ``share`` of the requests; it serves the others as ever.
    """

    backend: int
    ill: Ill
    begins_s: float
    ends_s: float
    status: int = 503
    share: float = 1.0


class Job:
    """One attempt at a backend; ``work_s`` is what it takes on one of slowness 1. ``end`` is called once, or never."""

    __slots__ = ("done_at", "end", "is_given_up", "work_s")

    def __init__(self, work_s: float, end: Callable[["Job", Answer], None]) -> None:
        self.work_s = work_s
        self.end = end
        self.done_at = 0.0
        self.is_given_up = False


class Machine:
    """One backend. Serves first come, first served.

    A job that was given up is not begun any more, which is kinder to an overloaded backend than most of them are.
    """

    def __init__(
        self, agenda: Agenda, chance: Random, number: int, slowness: float, *, pause_every_s: float = PAUSE_EVERY_S
    ) -> None:
        """``slowness`` is how many times ``MEAN_S`` its requests take; 0 in ``pause_every_s``: no pauses."""
        self.number = number
        self._pause_every_s = pause_every_s
        self._agenda = agenda
        self._chance = chance
        self._pauses = Random(chance.random())  # of their own, or they would depend on how many requests came
        self._slowness = slowness
        self._serving: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._paused_until = 0.0
        self._illness: Illness | None = None
        self._pause_later()

    @property
    def capacity(self) -> float:
        """Requests per second when it is well and does not pause."""
        return SLOTS / (MEAN_S * self._slowness)

    @property
    def _ill(self) -> Ill | None:
        return self._illness.ill if self._illness else None

    def take(self, job: Job) -> None:
        """A request has come in."""
        now, illness = self._agenda.now, self._illness
        if illness and illness.ill is Ill.HOLLOW and self._chance.random() < illness.share:
            self._agenda.at(now + HOLLOW_S, job.end, job, illness.status)
        elif illness and illness.ill is Ill.DEAD:
            self._agenda.at(now + REFUSED_S, job.end, job, Failure.REFUSED)
        elif len(self._serving) < SLOTS:
            self._begin(job)
        else:
            self._waiting.append(job)

    def probe(self, end: Callable[[Answer], None]) -> None:
        """A probe has come in: it asks for little, is answered beside the requests, and waits for pauses only."""
        if self._ill is Ill.DEAD:
            self._agenda.at(self._agenda.now + REFUSED_S, end, Failure.REFUSED)
            return
        slowed = 1.0 if self._ill is Ill.HOLLOW else self._slowed
        takes_s = PROBE_S * slowed * self._chance.lognormvariate(0.0, 0.25)
        self._agenda.at(max(self._agenda.now, self._paused_until) + takes_s, end, 200)

    def fall_ill(self, illness: Illness) -> None:
        """From now on it is."""
        self._illness = illness
        if illness.ill is Ill.DEAD:
            lost = [*self._serving, *self._waiting]
            self._serving.clear()
            self._waiting.clear()
            for job in lost:
                job.end(job, Failure.RESET)

    def recover(self) -> None:
        """From now on it is well."""
        self._illness = None

    @property
    def _slowed(self) -> float:
        return self._slowness * (SLOWED if self._ill is Ill.SLOW else 1.0)

    def _begin(self, job: Job) -> None:
        self._serving.append(job)
        job.done_at = max(self._agenda.now, self._paused_until) + job.work_s * self._slowed
        self._agenda.at(job.done_at, self._finish, job)

    def _finish(self, job: Job) -> None:
        if job not in self._serving:
            return  # it was lost when the backend died
        if job.done_at > self._agenda.now:
            self._agenda.at(job.done_at, self._finish, job)  # a pause came in between
            return
        self._serving.remove(job)
        while self._waiting and len(self._serving) < SLOTS:
            following = self._waiting.popleft()
            if not following.is_given_up:
                self._begin(following)
        job.end(job, 200)

    def _pause_later(self) -> None:
        if self._pause_every_s:
            self._agenda.at(self._agenda.now + self._pauses.expovariate(1 / self._pause_every_s), self._pause)

    def _pause(self) -> None:
        pause_s = self._pauses.uniform(*PAUSE_S)
        self._paused_until = self._agenda.now + pause_s
        for job in self._serving:
            job.done_at += pause_s
        self._agenda.at(self._paused_until, self._pause_later)
