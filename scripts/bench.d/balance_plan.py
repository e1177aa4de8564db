"""What a run of ``balance`` sends and when: drawn before it, the same for every subject of a round. Pure."""

from dataclasses import dataclass
from random import Random

from balance_backends import Span, work_s

WARM_UP_S = 2.0
"""Not counted: connections open, and latencies of the run before are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request: when it is due, in seconds from the beginning of the run, and how much work it brings."""

    due_s: float
    work_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run. ``counted``: the span whose requests count; ``sick``: when one backend is slow."""

    arrivals: tuple[Arrival, ...]
    counted: Span
    sick: Span


def draw_plan(rate: float, seconds: float, seed: int) -> Plan:
    """Poisson arrivals at a rate per second, for the warm-up and so many seconds; sick in their middle third."""
    random = Random(seed)  # noqa: S311 - dice, not secrets
    arrivals = []
    due_s = random.expovariate(rate)
    while due_s < WARM_UP_S + seconds:
        arrivals.append(Arrival(due_s=due_s, work_s=work_s(random.gauss())))
        due_s += random.expovariate(rate)
    return Plan(
        arrivals=tuple(arrivals),
        counted=Span(since=WARM_UP_S, until=WARM_UP_S + seconds),
        sick=Span(since=WARM_UP_S + seconds / 3, until=WARM_UP_S + seconds * 2 / 3),
    )
