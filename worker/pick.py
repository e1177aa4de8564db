"""Which of the eligible backends takes a request.

Pure. A policy is asked for one candidate, and asked again without those tried when the attempt fails. Load comes in
as functions of a row, chance as ``draw``; simulations and workers run the same code.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from math import ceil
from typing import Protocol

from worker.view import Candidate

PRIOR_LATENCY_S = 0.05
"""The mean latency assumed while nobody in the pool has answered yet."""
REFRESH_S = 0.02
"""How long a latency reading is good for: reading every slot's sums at each pick costs 5 to 21 µs (measured)."""
MAX_WEIGHT_OF_HISTORY = 32.0
"""Cap on decayed samples, so that a change of heart takes at most tau * ln 32."""
RAMP_FLOOR = 0.1
"""What a backend gets at the start of its slow start (Envoy's minimum weight)."""

Draw = Callable[[int], int]
"""``draw(n)`` is a whole number from 0 to n - 1, each as likely."""


class Policy(Protocol):
    """What a pool asks for a backend."""

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """Take over a new selection; called when eligibility changed, not for each request."""

    def pick(self, tried: Collection[int], now: float) -> Candidate | None:
        """One candidate whose row is not in ``tried``; one that is, where no other is left; None without any."""


class RoundRobin:
    """Smooth weighted round robin, as nginx does it: in turn, spread evenly by weight."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._credit: dict[int, float] = {}
        self._candidates: Sequence[Candidate] = ()

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``. Workers start at different turns, so that they do not all call on the same backend."""
        is_first = not self._credit
        self._candidates = candidates
        self._credit = {candidate.row: self._credit.get(candidate.row, 0.0) for candidate in candidates}
        if is_first and candidates:
            for _ in range(self._draw(len(candidates))):
                self.pick((), now)

    def pick(self, tried: Collection[int], now: float) -> Candidate | None:  # noqa: ARG002 - turns do not mind the clock
        """See ``Policy``."""
        candidates = _untried(self._candidates, tried)
        if not candidates:
            return None
        credit = self._credit
        for candidate in candidates:
            credit[candidate.row] += candidate.weight
        best = max(candidates, key=lambda candidate: credit[candidate.row])
        credit[best.row] -= sum(candidate.weight for candidate in candidates)
        return best


class PowerOfChoices:
    """``p2c_ewma``: of a few backends drawn at random, the one with the lowest ``L * (n + 1) / weight``.

    ``n`` is the in-flight count of all workers of this host, read at each pick; ``L`` the decayed mean of time to
    response headers, with one prior sample at the pool's mean, so that an unused backend drifts back to it. Drawing
    only a few bounds the damage of an undetected bad backend to d/M of the traffic.
    """

    def __init__(
        self,
        draw: Draw,
        *,
        in_flight: Callable[[int], Iterable[int]],
        latency: Callable[[int, float], tuple[float, float]],
        choices: int = 0,
        slow_start_s: float = 10.0,
    ) -> None:
        """Keep the sources of load.

        Args:
            draw: chance.
            in_flight: row to the requests under way on this host, one number for each worker; asked now and then,
                while the numbers themselves are read at each pick.
            latency: row and now to (sum of seconds, weight), decayed to now.
            choices: how many to draw; 0 for ``ceil(0.3 * M)`` within two to five.
            slow_start_s: over how long a backend that came back grows to its full weight.
        """
        self._draw = draw
        self._in_flight = in_flight
        self._latency = latency
        self._configured_choices = choices
        self._slow_start_s = slow_start_s
        self._candidates: Sequence[Candidate] = ()
        self._choices = 0
        self._costs: list[float] = []
        self._under_way: list[Iterable[int]] = []
        self._refresh_at = 0.0

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``."""
        self._candidates = candidates
        count = len(candidates)
        self._choices = min(count, self._configured_choices or max(2, min(5, ceil(0.3 * count))))
        self._refresh(now)

    def pick(self, tried: Collection[int], now: float) -> Candidate | None:
        """See ``Policy``."""
        candidates = self._candidates
        count = len(candidates)
        if count < 2:
            return candidates[0] if candidates else None
        if now >= self._refresh_at:
            self._refresh(now)
        if tried:
            return self._cheapest(_untried(candidates, tried))
        costs, under_way = self._costs, self._under_way
        drawn = self._draw(count * (count - 1))  # one draw for an ordered pair of different ones
        best = drawn % count
        index = (best + 1 + drawn // count) % count
        lowest = costs[best] * (sum(under_way[best]) + 1)
        for extra in range(1, self._choices):
            if extra > 1:
                index = self._draw(count)  # may repeat one of the pair, which costs no more than a look
            cost = costs[index] * (sum(under_way[index]) + 1)
            if cost < lowest:
                best, lowest = index, cost
        return candidates[best]

    def _cheapest(self, candidates: Sequence[Candidate]) -> Candidate:
        """The cheapest of all of them; ties go to whoever is drawn to be looked at first."""
        start = self._draw(len(candidates))
        rotated = [*candidates[start:], *candidates[:start]]
        costs = {candidate.row: cost for candidate, cost in zip(self._candidates, self._costs, strict=True)}
        return min(rotated, key=lambda candidate: costs[candidate.row] * (sum(self._in_flight(candidate.row)) + 1))

    def _refresh(self, now: float) -> None:
        """Read the latencies anew, at most every ``REFRESH_S``."""
        self._refresh_at = now + REFRESH_S
        self._under_way = [self._in_flight(candidate.row) for candidate in self._candidates]
        readings = [self._latency(candidate.row, now) for candidate in self._candidates]
        weight = sum(reading[1] for reading in readings)
        mean = sum(reading[0] for reading in readings) / weight if weight > 0 else PRIOR_LATENCY_S
        self._costs = [
            _mean_latency(total, count, mean) / (candidate.weight * self._ramp(candidate, now))
            for candidate, (total, count) in zip(self._candidates, readings, strict=True)
        ]

    def _ramp(self, candidate: Candidate, now: float) -> float:
        """Slow start: the share of its weight that a backend counts with, from ``RAMP_FLOOR`` to 1."""
        left_s = candidate.ramp_until - now
        if left_s <= 0 or self._slow_start_s <= 0:
            return 1.0
        return max(RAMP_FLOOR, 1.0 - left_s / self._slow_start_s)


def _mean_latency(total: float, weight: float, prior: float) -> float:
    """The mean with one prior sample; history is capped, and so is the result, since clocks are mistrusted."""
    if weight > MAX_WEIGHT_OF_HISTORY:
        total *= MAX_WEIGHT_OF_HISTORY / weight
        weight = MAX_WEIGHT_OF_HISTORY
    return min(max((total + prior) / (weight + 1.0), 1e-4), 600.0)


def _untried(candidates: Sequence[Candidate], tried: Collection[int]) -> Sequence[Candidate]:
    """Those whose rows were not tried, or all of them when every one was."""
    if not tried:
        return candidates
    return [candidate for candidate in candidates if candidate.row not in tried] or candidates
