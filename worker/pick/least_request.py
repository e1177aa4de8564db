"""``least_request``: of a few backends drawn at random, the one with the fewest requests under way for its weight."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import ceil
from typing import Final

from typing_extensions import override

from worker.pick.policy import Draw, untried
from worker.pick.weighted import Weighted
from worker.view import Candidate

SHARE_DRAWN: Final = 0.4
"""Of eight, four: against three, real traffic had a tenth less at the 99th percentile (``bench balance``, 2026-11)."""


class LeastRequest(Weighted):
    """Of a few drawn at random, the one with the lowest ``(n + 1) / (weight * ramp)``.

    ``n`` is the in-flight count of all workers of this host, read at each pick. Drawing only a few bounds the damage of
    an undetected bad backend to d/M of the traffic, and keeps workers from all running to the same one. Envoy draws
    two where weights are equal, and where they are not, goes round by ``weight / (n + 1)``; here both are one rule.
    """

    def __init__(
        self, draw: Draw, *, in_flight: Callable[[int], Iterable[int]], choices: int = 0, slow_start_s: float = 10.0
    ) -> None:
        """Keep the source of load.

        Args:
            draw: chance.
            in_flight: as in ``Load``.
            choices: how many to draw; 0 for ``ceil(0.4 * M)`` within two to five.
            slow_start_s: as ``Weighted`` takes it.
        """
        super().__init__(draw, slow_start_s=slow_start_s)
        self._in_flight = in_flight
        self._choices = choices
        self._ways = 0
        self._others: Sequence[int] = ()
        self._prices: Sequence[float] = ()
        self._under_way: Sequence[Iterable[int]] = ()

    @override
    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        super().use(candidates, now)
        count = len(candidates)
        choices = min(count, self._choices or max(2, min(5, ceil(SHARE_DRAWN * count))))
        self._others = range(1, choices)
        # One draw, for the first and for how far it is from each to the next: two are any two, alike. Further ones may
        # come round to one before them, about as seldom as if each were drawn; where all are looked at, they must not.
        self._ways = count * (count - 1 if choices < count else 1)

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:  # noqa: ARG002
        """See ``Policy``."""
        candidates = self.candidates
        count = len(candidates)
        if count < 2:
            return candidates[0] if candidates else None
        if now >= self.refresh_at:
            self.refresh(now)
        if tried:
            return self._cheapest(untried(candidates, tried))
        prices, under_way = self._prices, self._under_way
        drawn = self._draw(self._ways)
        best = index = drawn % count
        stride = 1 + drawn // count
        lowest = prices[best] * (sum(under_way[best]) + 1)
        for _ in self._others:
            index = (index + stride) % count
            cost = prices[index] * (sum(under_way[index]) + 1)
            if cost < lowest:
                best, lowest = index, cost
        return candidates[best]

    def _cheapest(self, left: Sequence[int]) -> Candidate:
        """The cheapest of all that are left; ties go to whoever is drawn to be looked at first."""
        start = self._draw(len(left))
        return self.candidates[min([*left[start:], *left[:start]], key=self._cost)]

    def _cost(self, index: int) -> float:
        return self._prices[index] * (sum(self._under_way[index]) + 1)

    @override
    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        rows = enumerate(super().figures(now).items())
        return {row: {**known, "cost": self._cost(index)} for index, (row, known) in rows}

    @override
    def refresh(self, now: float) -> None:
        super().refresh(now)
        self._under_way = [self._in_flight(candidate.row) for candidate in self.candidates]
        self._prices = [seconds / weight for seconds, weight in zip(self.means(now), self.weights, strict=True)]

    def means(self, now: float) -> Sequence[float]:  # noqa: ARG002 - for those who know better
        """How long a request takes at each candidate, as far as it matters to the policy."""
        return [1.0] * len(self.candidates)
