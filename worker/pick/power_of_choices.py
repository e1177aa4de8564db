"""``p2c_ewma``: of a few backends drawn at random, the one that is likely to answer first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from typing_extensions import override

from worker.pick.least_request import LeastRequest
from worker.pick.policy import Draw

PRIOR_LATENCY_S: Final = 0.05
"""The mean latency assumed while nobody in the pool has answered yet."""
MAX_WEIGHT_OF_HISTORY: Final = 32.0
"""More samples than that count as so many: however much traffic there is, the prior stays one in 33."""


class PowerOfChoices(LeastRequest):
    """Of a few drawn at random, the one with the lowest ``L * (n + 1) / (weight * ramp)``.

    ``L`` is the decayed mean of time to response headers, with one prior sample at the pool's mean, so that an unused
    backend drifts back to it; all else is as in ``LeastRequest``.
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
        """``latency`` as in ``Load``; all else as ``LeastRequest`` takes it."""
        super().__init__(draw, in_flight=in_flight, choices=choices, slow_start_s=slow_start_s)
        self._latency = latency

    @override
    def means(self, now: float) -> Sequence[float]:
        readings = [self._latency(candidate.row, now) for candidate in self.candidates]
        weight = sum(reading[1] for reading in readings)
        prior = sum(reading[0] for reading in readings) / weight if weight > 0 else PRIOR_LATENCY_S
        return [_mean_latency(total, count, prior) for total, count in readings]

    @override
    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        rows = zip(super().figures(now).items(), self._prices, strict=True)
        return {row: {**known, "latency_s": price * known["weight"]} for (row, known), price in rows}


def _mean_latency(total: float, weight: float, prior: float) -> float:
    """The mean with one prior sample; history is capped, and so is the result, since clocks are mistrusted."""
    if weight > MAX_WEIGHT_OF_HISTORY:
        total *= MAX_WEIGHT_OF_HISTORY / weight
        weight = MAX_WEIGHT_OF_HISTORY
    return min(max((total + prior) / (weight + 1.0), 1e-4), 600.0)
