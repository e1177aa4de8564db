"""What the default policy must be worth, at 70 % of what the backends can do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from simulated.contenders import DEFAULT, FASTEST, FASTEST_SEED, PEAK_EWMA
from simulated.figures import Figures

LOAD = 0.7
TO_PEAK_EWMA = 0.8
TO_FASTEST = 0.05
BUSIEST = 1.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A promise, what was found, and what it may be at most."""

    what: str
    found: float
    limit: float

    @property
    def is_met(self) -> bool:
        """Whether it was kept."""
        return self.found <= self.limit


def judge(found: Mapping[str, Figures]) -> Iterator[Judged]:
    """All the promises that can be judged by who was simulated, by their names; the default has to be among them."""
    ours = found[DEFAULT]
    for name, limit in ((PEAK_EWMA, TO_PEAK_EWMA), (FASTEST, TO_FASTEST), (FASTEST_SEED, TO_FASTEST)):
        if name in found:
            yield Judged(what=f"p99 to that of {name}", found=ours.p99_s / found[name].p99_s, limit=limit)
    yield Judged(what="errors with one retry", found=ours.errors, limit=0.0)
    yield Judged(what="busiest backend to its fair share", found=ours.busiest, limit=BUSIEST)
