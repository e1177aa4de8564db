"""``fastest``: the rule of the package that this one grew from, for those who rely on it.

All traffic goes to whoever answered the latest probe fastest, which is harmless only while one backend can carry
everything.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from math import inf, isfinite
from typing import Self

from worker.pick.policy import REFRESH_S, Draw, untried
from worker.view import Candidate


class Fastest:
    """The lowest latest probe wins, those without one come last; weights and slow start do not matter."""

    def __init__(self, draw: Draw, *, probe_s: Callable[[int], float | None]) -> None:
        """``probe_s`` as in ``Load``."""
        self._draw = draw
        self._probe_s = probe_s
        self._candidates: Sequence[Candidate] = ()
        self._probes: Sequence[float] = ()
        self._refresh_at = 0.0

    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``."""
        self._candidates = candidates
        self._refresh(now)

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:  # noqa: ARG002
        """See ``Policy``."""
        candidates = self._candidates
        if not candidates:
            return None
        if now >= self._refresh_at:
            self._refresh(now)
        probes = self._probes
        left = untried(candidates, tried)
        lowest = min(probes[index] for index in left)
        ties = [index for index in left if not probes[index] > lowest]  # nothing is <= NaN, and then none would be left
        return candidates[ties[self._draw(len(ties))]]

    def twin(self, draw: Draw | None = None) -> Self:
        """See ``Policy``."""
        twin = copy(self)
        twin._draw = draw or self._draw
        return twin

    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        """See ``Policy``; those without a probe have none."""
        if now >= self._refresh_at:
            self._refresh(now)
        pairs = zip(self._candidates, self._probes, strict=True)
        return {candidate.row: {"probe_s": probe} if isfinite(probe) else {} for candidate, probe in pairs}

    def _refresh(self, now: float) -> None:
        self._refresh_at = now + REFRESH_S
        probes = [self._probe_s(candidate.row) for candidate in self._candidates]
        self._probes = [inf if probe is None else probe for probe in probes]
