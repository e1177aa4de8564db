"""The eight backends of ``balance``: how fast they are, and when each of their answers is due. Pure.

Four slots each, first come first served. Two take twice as long as the others, and one turns ten times slower for a
while. A request brings its own amount of work, so that every subject of a round is given the very same work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from math import exp, inf

SLOTS = 4
MEAN_S = 0.02
SIGMA = 0.8
"""Of the lognormal distribution of work: its p99 is 4.7 times its mean."""
SLOWNESS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0)
"""How many times its work a request takes, for each backend."""
SICK = 2
"""Which of them turns slow in mid-run: one that was as fast as most."""
SICKNESS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of time in seconds, its end not included."""

    since: float
    until: float

    def __contains__(self, at: float) -> bool:
        """Whether a moment lies within it."""
        return self.since <= at < self.until


NEVER = Span(since=inf, until=inf)


def capacity(slowness: Sequence[float] = SLOWNESS) -> float:
    """Requests per second that they can serve together."""
    return sum(SLOTS / (MEAN_S * each) for each in slowness)


def fair_share(number: int) -> float:
    """The share of all requests that keeps a healthy backend as busy as the others, from 0 to 1."""
    return SLOTS / (MEAN_S * SLOWNESS[number]) / capacity()


def work_s(normal: float) -> float:
    """Seconds of work, made from a standard normal deviate."""
    return MEAN_S * exp(SIGMA * normal - SIGMA * SIGMA / 2)


class Slots:
    """The slots of one backend. A request's turn and its end are known when it comes, since nothing overtakes.

    So no error of a timer adds up: each answer may be late by a timer's grain, the next one begins on time.
    """

    def __init__(self, slowness: float) -> None:
        self._slowness = slowness
        self.start_afresh(NEVER)

    def start_afresh(self, sick: Span) -> None:
        """Forget who is in line: a policy that herds leaves a backlog which is not the next one's; sick then."""
        self._free_at = [-inf] * SLOTS  # equal, and so a heap
        self._sick = sick

    def admit(self, now: float, work_s: float) -> float:
        """Put a request in line; when its answer is due."""
        begins = max(now, self._free_at[0])
        ends = begins + work_s * self._slowness * (SICKNESS if begins in self._sick else 1.0)
        heapreplace(self._free_at, ends)
        return ends
