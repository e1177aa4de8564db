"""What candidates weigh: as configured, and less while they start slowly."""

from collections.abc import Sequence
from typing import Final

from worker.pick.policy import REFRESH_S
from worker.view import Candidate

RAMP_FLOOR: Final = 0.1
"""What a backend gets at the start of its slow start (Envoy's minimum weight)."""


class Weighted:
    """Candidates and their weights as of a moment ago: what policies by weight have in common.

    They call ``refresh`` in a pick, once ``refresh_at`` has come.
    """

    def __init__(self, *, slow_start_s: float) -> None:
        """``slow_start_s``: over how long a backend that came back grows to its full weight; 0: at once."""
        self.slow_start_s = slow_start_s
        self.candidates: Sequence[Candidate] = ()
        self.weights: Sequence[float] = ()
        self.refresh_at = 0.0

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``."""
        self.candidates = candidates
        self.refresh(now)

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
