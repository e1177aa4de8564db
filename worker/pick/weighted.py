"""What candidates weigh: as configured, and less while they start slowly."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Final, Self

from worker.pick.policy import REFRESH_S, Draw
from worker.view import Candidate

RAMP_FLOOR: Final = 0.1
"""What a backend gets at the start of its slow start (Envoy's minimum weight)."""


class Weighted:
    """Candidates and their weights as of a moment ago: what policies by weight have in common.

    They call ``refresh`` in a pick, once ``refresh_at`` has come.
    """

    def __init__(self, draw: Draw, *, slow_start_s: float) -> None:
        """``slow_start_s``: over how long a backend that came back grows to its full weight; 0: at once."""
        self._draw = draw
        self.slow_start_s = slow_start_s
        self.candidates: Sequence[Candidate] = ()
        self.weights: Sequence[float] = ()
        self.refresh_at = 0.0

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``."""
        self.candidates = candidates
        self.refresh(now)

    def twin(self, draw: Draw | None = None) -> Self:
        """See ``Policy``; what is read anew is replaced, so that the two may share it until then."""
        twin = copy(self)
        twin._draw = draw or self._draw
        return twin

    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        """See ``Policy``."""
        if now >= self.refresh_at:
            self.refresh(now)
        pairs = zip(self.candidates, self.weights, strict=True)
        return {candidate.row: {"weight": weight} for candidate, weight in pairs}

    def refresh(self, now: float) -> None:
        """Bring up to date what a pick may take from a moment ago."""
        self.refresh_at = now + REFRESH_S
        self.weights = [candidate.weight * self._ramp(candidate, now) for candidate in self.candidates]

    def _ramp(self, candidate: Candidate, now: float) -> float:
        """Slow start: the share of its weight that a backend counts with, from ``RAMP_FLOOR`` to 1."""
        left_s = candidate.ramp_until - now
        if left_s <= 0 or self.slow_start_s <= 0:
            return 1.0
        return max(RAMP_FLOOR, 1.0 - left_s / self.slow_start_s)
