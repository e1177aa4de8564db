"""``random``: whoever is drawn, by weight."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Final

from typing_extensions import override

from worker.pick.policy import Draw, untried
from worker.pick.weighted import Weighted
from worker.view import Candidate

_STEPS: Final = 1 << 32
"""How finely the weights are told apart: a thousand backends, one of which has a 256th of the others' weight."""


class Random(Weighted):
    """Each as often as it weighs, whatever came before."""

    def __init__(self, draw: Draw, *, slow_start_s: float = 10.0) -> None:
        super().__init__(draw, slow_start_s=slow_start_s)
        self._sums: Sequence[float] = ()

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:  # noqa: ARG002
        """See ``Policy``."""
        if now >= self.refresh_at:
            self.refresh(now)
        candidates, sums = self.candidates, self._sums
        if tried:
            left = untried(candidates, tried)
            candidates = [candidates[index] for index in left]
            sums = list(accumulate(self.weights[index] for index in left))
        if not candidates:
            return None
        return candidates[bisect_right(sums, sums[-1] * self._draw(_STEPS) / _STEPS)]

    @override
    def refresh(self, now: float) -> None:
        super().refresh(now)
        self._sums = list(accumulate(self.weights))
