"""``round_robin``: in turn, spread evenly by weight."""

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Self

from typing_extensions import override

from worker.pick.policy import Draw, untried
from worker.pick.weighted import Weighted
from worker.view import Candidate


class RoundRobin(Weighted):
    """Smooth weighted round robin, as nginx does it; one that starts slowly has fewer turns."""

    def __init__(self, draw: Draw, *, slow_start_s: float = 10.0) -> None:
        super().__init__(draw, slow_start_s=slow_start_s)
        self._credit: dict[int, float] = {}
        self._turns: Sequence[tuple[Candidate, float]] = ()

    @override
    def use(self, candidates: Sequence[Candidate], now: float) -> None:
        """See ``Policy``. Workers start at different turns, so that they do not all call on the same backend."""
        is_first = not self._credit
        super().use(candidates, now)
        self._credit = {candidate.row: self._credit.get(candidate.row, 0.0) for candidate in candidates}
        if is_first and candidates:
            for _ in range(self._draw(len(candidates))):
                self.pick((), now)

    def pick(self, tried: Collection[int], now: float, key: int = 0) -> Candidate | None:  # noqa: ARG002
        """See ``Policy``."""
        if now >= self.refresh_at:
            self.refresh(now)
        turns = self._turns
        if tried:
            turns = [turns[index] for index in untried(self.candidates, tried)]
        credit = self._credit
        best, most, total = None, -inf, 0.0
        for candidate, weight in turns:
            credit[candidate.row] = credits_now = credit[candidate.row] + weight
            total += weight
            if credits_now > most:
                best, most = candidate, credits_now
        if best is not None:
            credit[best.row] -= total
        return best

    @override
    def twin(self, draw: Draw | None = None) -> Self:
        twin = super().twin(draw)
        twin._credit = dict(self._credit)
        return twin

    @override
    def figures(self, now: float) -> Mapping[int, Mapping[str, float]]:
        return {row: {**known, "credit": self._credit[row]} for row, known in super().figures(now).items()}

    @override
    def refresh(self, now: float) -> None:
        super().refresh(now)
        self._turns = list(zip(self.candidates, self.weights, strict=True))
